// How large an image may be whose masks are run lengths.
#pragma once

#include "fastmrcnn/check.h"

namespace fastmrcnn {

// Decoders keep counts in 32 bits, and the kernels rows in 31.
inline void check_mask_size(const char* op, std::int64_t height, std::int64_t width) {
  constexpr std::int64_t kMostPixels = 0xffffffff;
  check(height >= 0 && width >= 0 && height < 0x7fffffff && width <= kMostPixels / (height > 0 ? height : 1), op,
        ": the image must have fewer than 2^32 pixels and 2^31 - 1 rows; got [", height, ", ", width, "]");
}

}  // namespace fastmrcnn
