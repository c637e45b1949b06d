#pragma once

#include "fastmrcnn/geometry/box.h"
#include "kernels/kernel.h"

namespace fastmrcnn {

// The boxes kept so far, as a structure of arrays padded to a multiple of kNmsBlock with boxes that overlap nothing.
template <class T>
struct KeptBoxes {
  T *x1, *y1, *x2, *y2, *area;
};

constexpr int64_t kNmsBlock = 32;

// True when the IoU of `box` with one of the first `padded_count` kept boxes is greater than `threshold`.
FASTMRCNN_DECLARE_KERNEL(bool overlaps_kept_f32(const KeptBoxes<float>& kept, int64_t padded_count,
                                                const geometry::Box<float>& box, float threshold))
FASTMRCNN_DECLARE_KERNEL(bool overlaps_kept_f64(const KeptBoxes<double>& kept, int64_t padded_count,
                                                const geometry::Box<double>& box, double threshold))

}  // namespace fastmrcnn
