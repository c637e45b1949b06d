#pragma once

#include "fastmrcnn/geometry/float_order.h"
#include "kernels/kernel.h"

namespace fastmrcnn {

// Writes the positions of the values whose key is at most `limit` to `positions`, ascending, and returns how many they
// are. `positions` must have room for `count`.
FASTMRCNN_DECLARE_KERNEL(int64_t find_leading_u16(const uint16_t* values, int64_t count,
                                                  const geometry::FloatOrder<uint16_t>& order, uint16_t limit,
                                                  int32_t* positions))
FASTMRCNN_DECLARE_KERNEL(int64_t find_leading_u32(const uint32_t* values, int64_t count,
                                                  const geometry::FloatOrder<uint32_t>& order, uint32_t limit,
                                                  int32_t* positions))
FASTMRCNN_DECLARE_KERNEL(int64_t find_leading_u64(const uint64_t* values, int64_t count,
                                                  const geometry::FloatOrder<uint64_t>& order, uint64_t limit,
                                                  int32_t* positions))

}  // namespace fastmrcnn
