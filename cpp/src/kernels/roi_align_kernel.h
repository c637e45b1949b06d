#pragma once

#include "kernels/kernel.h"

namespace fastmrcnn {

// One axis of one RoI as weighted pixels: bin i is the sum over t in [begin[i], begin[i + 1]) of weight[t] times pixel
// index[t]. The weights hold the division by the number of samples; samples that fall on the same pixel are merged.
template <class T>
struct AxisTaps {
  const int32_t* begin;
  const int32_t* index;
  const T* weight;
  int32_t bins;
  int32_t first, last;  // range of index; last < first where there are no taps
};

template <class T>
struct RoiTaps {
  int64_t roi;  // row of rois and of the pooled tensor
  AxisTaps<T> y, x;
};

// The RoIs of one image, pooled from `channels` of its planes [H, W] that lie `plane_stride` apart. Row `roi` of the
// pooled tensor begins at pooled + roi * roi_stride and holds [channels, bins].
template <class T>
struct Planes {
  T* features;
  T* pooled;
  int64_t channels, height, width;
  int64_t roi_stride;
};

// The same for pixels of `channels` neighbouring values; the pooled tensor is [rois, bins, channels]. The backward pass
// adds to the rows [row_begin, row_end) only.
template <class T>
struct Pixels {
  T* features;
  T* pooled;
  int64_t channels, width;
  int64_t row_begin, row_end;
};

// A planes kernel needs scratch for this many elements beyond the wider of a plane's row and a RoI's taps along x.
constexpr int64_t kPlaneScratchPadding = 16;

FASTMRCNN_DECLARE_KERNEL(void roi_align_planes_f32(const Planes<float>&, const RoiTaps<float>*, int64_t count,
                                                   float* scratch))
FASTMRCNN_DECLARE_KERNEL(void roi_align_planes_f64(const Planes<double>&, const RoiTaps<double>*, int64_t count,
                                                   double* scratch))
FASTMRCNN_DECLARE_KERNEL(void roi_align_pixels_f32(const Pixels<float>&, const RoiTaps<float>*, int64_t count))
FASTMRCNN_DECLARE_KERNEL(void roi_align_pixels_f64(const Pixels<double>&, const RoiTaps<double>*, int64_t count))

// The adjoints add to `features`.
FASTMRCNN_DECLARE_KERNEL(void roi_align_planes_backward_f32(const Planes<float>&, const RoiTaps<float>*, int64_t count,
                                                            float* scratch))
FASTMRCNN_DECLARE_KERNEL(void roi_align_planes_backward_f64(const Planes<double>&, const RoiTaps<double>*,
                                                            int64_t count, double* scratch))
FASTMRCNN_DECLARE_KERNEL(void roi_align_pixels_backward_f32(const Pixels<float>&, const RoiTaps<float>*, int64_t count))
FASTMRCNN_DECLARE_KERNEL(void roi_align_pixels_backward_f64(const Pixels<double>&, const RoiTaps<double>*,
                                                            int64_t count))

}  // namespace fastmrcnn
