#pragma once

#include "kernels/kernel.h"

namespace fastmrcnn {

// Between memory and accumulators.
template <class S>
struct StorageKernels {
  void (*round)(const Accumulator<S>* values, S* stored, int64_t count);
};

FASTMRCNN_DECLARE_KERNEL(extern const PerStorage<StorageKernels> storage_kernels)

}  // namespace fastmrcnn
