// RoIAlign (He et al. 2017, section 3): the mean of bilinear samples in each bin of a region of interest.
#pragma once

#include <limits>

#include "fastmrcnn/check.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

// Shapes that every pooling operator shares; `features` is the input, or its gradient, `pooled` the output, or its
// gradient, with `channels` channels.
inline void check_roi_pooling(const char* op, const char* features_name, const TensorView& features,
                              const TensorView& rois, const char* pooled_name, const TensorView& pooled,
                              std::int64_t channels) {
  constexpr std::int64_t kMostPixels = std::numeric_limits<std::int32_t>::max();
  check_shape(op, features_name, features, {-1, -1, -1, -1}, "[N, C, H, W]");
  check_shape(op, "rois", rois, {-1, 5}, "[K, 5]");
  check_dtype(op, "rois", rois, features.dtype);
  check_contiguous(op, "rois", rois);
  check_shape(op, pooled_name, pooled, {rois.shape[0], channels, -1, -1}, "[K, channels, height, width] for K rois");
  check_dtype(op, pooled_name, pooled, features.dtype);
  check(features.shape[2] < kMostPixels && features.shape[3] < kMostPixels, op, ": ", features_name,
        " must have sides below 2^31 pixels; got ", shape_of(features));
  check(pooled.shape[2] > 0 && pooled.shape[3] > 0, op, ": output_size must be positive; got [", pooled.shape[2], ", ",
        pooled.shape[3], "]");
}

// input [N, C, H, W] float32 or float64, dense in NCHW or NHWC order,
// rois [K, 5] batch index, x1, y1, x2, y2 in image pixels (the input's dtype),
// spatial_scale: feature-map pixels per image pixel,
// sampling_ratio: samples per bin and axis; <= 0: ceil(RoI size / number of bins),
// aligned: shift by half a pixel, and no minimum RoI size of one feature-map pixel,
// output [K, C, height, width] out, stored in the input's order; the bins are height x width.
//
// A RoI with a NaN or an infinity pools to zeros and passes no gradient. A batch index outside [0, N) is an error.
// Accumulates in the input's dtype. Deterministic, and independent of the number of threads.
inline void check_roi_align(const char* op, const char* features_name, const TensorView& features,
                            const TensorView& rois, const char* pooled_name, const TensorView& pooled) {
  check_roi_pooling(op, features_name, features, rois, pooled_name, pooled, features.shape[1]);
  const bool same_order = (features.is_contiguous() && pooled.is_contiguous()) ||
                          (features.is_channels_last() && pooled.is_channels_last());
  check(same_order, op, ": ", features_name, " and ", pooled_name, " must both be contiguous or both channels-last");
}

namespace cpu {
void roi_align(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
               std::int64_t sampling_ratio, bool aligned, const TensorView& output);

// grad_output [K, C, height, width] -> grad_input [N, C, H, W], overwritten; the adjoint of roi_align.
void roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                        double spatial_scale, std::int64_t sampling_ratio, bool aligned, const TensorView& grad_input);
}  // namespace cpu

}  // namespace fastmrcnn
