// What both ways of pasting read on the device: masks with their border of zeros, and the taps of an axis.
#pragma once

#include "fastmrcnn/geometry/mask_placement.h"
#include "fastmrcnn/ops/paste_masks.h"

namespace fastmrcnn::cuda {

using geometry::Placement;
using geometry::Tap;

// The inputs of a call. `BoxT` is the boxes' dtype: torchvision's rule grows a box in it.
template <class T, class BoxT>
struct PasteInputs {
  const T* masks;  // [N, size, size]
  const geometry::Box<BoxT>* boxes;
  std::int64_t size, height, width;
  PasteOptions options;

  __device__ Placement<T> place(std::int64_t n) const {
    return geometry::place_mask<T>(boxes[n], size, height, width, options.method, options.fused_position);
  }
};

// One mask as if it were stored with its padding (geometry::kMaskPadding). It is read where it lies: at 28 x 28 it
// stays in the first-level cache.
template <class T>
struct PaddedMask {
  const T* values;
  std::uint32_t size;

  __device__ T at(std::int32_t row, std::int32_t column) const {
    const auto i = static_cast<std::uint32_t>(row - 1), j = static_cast<std::uint32_t>(column - 1);
    return i < size && j < size ? __ldg(values + std::int64_t{i} * size + j) : T(0);
  }

  __device__ geometry::Corners<T> corners(std::int32_t row, std::int32_t column) const {
    return {at(row, column), at(row, column + 1), at(row + 1, column), at(row + 1, column + 1)};
  }
};

// The taps of one axis: those of its first pixels wait in shared memory, those beyond are computed when asked for.
template <class T>
class TapTable {
 public:
  // By all threads of the block; a barrier must follow.
  __device__ void fill(geometry::PasteRule rule, const geometry::PasteAxis<T>& axis, std::int64_t mask_size) {
    const std::int64_t count = geometry::min_of(axis.span.size(), std::int64_t{kKept});
    for (std::int64_t k = threadIdx.x; k < count; k += blockDim.x) {
      const Tap<T> tap = geometry::tap_of(rule, axis, k, mask_size);
      index_[k] = tap.index;
      near_[k] = tap.near;
      far_[k] = tap.far;
    }
  }

  __device__ Tap<T> at(geometry::PasteRule rule, const geometry::PasteAxis<T>& axis, std::int64_t k,
                       std::int64_t mask_size) const {
    if (k < kKept) return {index_[k], near_[k], far_[k]};
    return geometry::tap_of(rule, axis, k, mask_size);
  }

 private:
  static constexpr int kKept = 1024;

  std::int32_t index_[kKept];
  T near_[kKept], far_[kKept];
};

}  // namespace fastmrcnn::cuda
