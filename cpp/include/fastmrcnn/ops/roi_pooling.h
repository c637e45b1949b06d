// What the contracts of the pooling operators share.
//
// features [N, C, H, W] float32, float64, or, where the operator's header says so, float16 or bfloat16; dense in NCHW
// or NHWC order: the input, or its gradient; rois [K, 5] batch index, x1, y1, x2, y2 in image pixels, in the dtype of
// the features, or float32 for half features; pooled [K, channels, height, width], in the dtype of the features and
// dense in their order: the output, or its gradient.
//
// A RoI with a NaN or an infinity pools to zeros and passes no gradient. A batch index that is NaN or outside [0, N)
// is an error; on CUDA, which cannot look without waiting, such a RoI pools to NaN and passes no gradient.
// Results are deterministic and independent of the number of threads and of the instruction set. Sums are in the dtype
// of rois; those of half features are rounded once, to the nearest, ties to even.
#pragma once

#include <limits>

#include "fastmrcnn/check.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

struct NamedTensor {
  const char* name;
  const TensorView& tensor;
};

inline void check_same_order(const char* op, const NamedTensor& a, const NamedTensor& b) {
  check((a.tensor.is_contiguous() && b.tensor.is_contiguous()) ||
            (a.tensor.is_channels_last() && b.tensor.is_channels_last()),
        op, ": ", a.name, " and ", b.name, " must both be contiguous or both channels-last");
}

// Keeps the taps along one axis, at most a side of the map and four for each bin, below 2^31.
constexpr std::int64_t kMostSide = std::int64_t{1} << 28;

inline void check_output_size(const char* op, const TensorView& pooled) {
  const std::int64_t height = pooled.shape[2], width = pooled.shape[3];
  check(height > 0 && width > 0 && height < kMostSide && width < kMostSide, op,
        ": output_size must be positive and below 2^28; got [", height, ", ", width, "]");
}

// Samples are visited one by one.
inline void check_sampling_ratio(const char* op, std::int64_t sampling_ratio) {
  constexpr std::int64_t kMostSamples = 4096;
  check(sampling_ratio <= kMostSamples, op, ": sampling_ratio must be at most ", kMostSamples, "; got ",
        sampling_ratio);
}

inline void check_roi_pooling(const char* op, const NamedTensor& features, const TensorView& rois,
                              const NamedTensor& pooled, std::int64_t channels) {
  const TensorView &map = features.tensor, &bins = pooled.tensor;
  check(map.shape[2] < kMostSide && map.shape[3] < kMostSide, op, ": ", features.name,
        " must have sides below 2^28 pixels; got ", shape_of(map));
  check_shape(op, "rois", rois, {-1, 5}, "[K, 5]");
  check_dtype(op, "rois", rois, accumulator_of(map.dtype));
  check_contiguous(op, "rois", rois);
  check_shape(op, pooled.name, bins, {rois.shape[0], channels, -1, -1}, "[K, channels, height, width] for K rois");
  check_dtype(op, pooled.name, bins, map.dtype);
  check_output_size(op, bins);
  check_same_order(op, features, pooled);
}

// Pooling that keeps the channels.
inline void check_roi_pooling(const char* op, const NamedTensor& features, const TensorView& rois,
                              const NamedTensor& pooled) {
  check_shape(op, features.name, features.tensor, {-1, -1, -1, -1}, "[N, C, H, W]");
  check_roi_pooling(op, features, rois, pooled, features.tensor.shape[1]);
}

// Position-sensitive pooling: each bin has channels of its own.
inline void check_position_sensitive(const char* op, const NamedTensor& features, const TensorView& rois,
                                     const NamedTensor& pooled) {
  check_shape(op, features.name, features.tensor, {-1, -1, -1, -1}, "[N, C, H, W]");
  check_shape(op, pooled.name, pooled.tensor, {-1, -1, -1, -1}, "[K, channels, height, width]");
  check_output_size(op, pooled.tensor);
  const std::int64_t bins = pooled.tensor.shape[2] * pooled.tensor.shape[3];
  const std::int64_t channels = features.tensor.shape[1] / bins;
  check(channels * bins == features.tensor.shape[1], op, ": ", features.name, " must have a multiple of ",
        pooled.tensor.shape[2], " x ", pooled.tensor.shape[3], " channels; got ", shape_of(features.tensor));
  check_roi_pooling(op, features, rois, pooled, channels);
}

}  // namespace fastmrcnn
