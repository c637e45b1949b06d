// What position-sensitive pooling is told of a call, and which pixels a bin averages under either of its rules.
#pragma once

#include "fastmrcnn/geometry/quantised_roi.h"
#include "fastmrcnn/geometry/roi.h"
#include "fastmrcnn/ops/position_sensitive.h"

namespace fastmrcnn::cuda {

// `Rule` is geometry::Sampling<T> or geometry::Quantised<T>. Features and pooled values are read by the one direction
// and written by the other, and both are passed as what can be written.
template <class T, class Rule>
struct PositionSensitiveCall {
  T* features;
  const geometry::Roi<T>* rois;
  T* pooled;
  Rule rule;
  std::int64_t roi_count, images, channels;  // channels of the pooled tensor
  std::int64_t height, width, bins_y, bins_x;
  bool channels_last;

  PositionSensitiveCall(const TensorView& map, const TensorView& regions, const TensorView& bins, const Rule& how)
      : features(map.as<T>()),
        rois(regions.as<const geometry::Roi<T>>()),
        pooled(bins.as<T>()),
        rule(how),
        roi_count(regions.shape[0]),
        images(map.shape[0]),
        channels(bins.shape[1]),
        height(map.shape[2]),
        width(map.shape[3]),
        bins_y(bins.shape[2]),
        bins_x(bins.shape[3]),
        channels_last(!(map.is_contiguous() && bins.is_contiguous())) {}

  __device__ std::int64_t bins() const { return bins_y * bins_x; }

  // Where bin `bin` of channel c of RoI k lies in the pooled tensor.
  __device__ std::int64_t pooled_place(std::int64_t k, std::int64_t c, std::int64_t bin) const {
    return channels_last ? (k * bins() + bin) * channels + c : (k * channels + c) * bins() + bin;
  }

  // Where the pixel lies that this bin reads of channels c x bins + bin.
  __device__ std::int64_t feature_place(std::int64_t image, std::int64_t c, std::int64_t bin, std::int64_t y,
                                        std::int64_t x) const {
    const std::int64_t all = channels * bins(), channel = c * bins() + bin;
    return channels_last ? ((image * height + y) * width + x) * all + channel
                         : ((image * all + channel) * height + y) * width + x;
  }
};

template <class T>
__device__ geometry::AxisBins<T> axis_of(T low, T high, std::int64_t bins, const geometry::Sampling<T>& rule) {
  return geometry::axis_bins(low, high, bins, rule);
}
template <class T>
__device__ geometry::PixelBins<T> axis_of(T low, T high, std::int64_t bins, const geometry::Quantised<T>& rule) {
  return geometry::pixel_bins(low, high, bins, rule);
}

// Calls visit(pixel, weight) for the pixels among `pixels` that a bin averages along one axis of `size` of them.
template <class T, class Visit>
__device__ void for_each_weight(const geometry::AxisBins<T>& axis, const geometry::Sampling<T>&, std::int64_t bin,
                                std::int64_t size, const geometry::PixelRange& pixels, const Visit& visit) {
  geometry::for_each_tap(axis, bin, size, pixels, visit);
}
template <class T, class Visit>
__device__ void for_each_weight(const geometry::PixelBins<T>& axis, const geometry::Quantised<T>& rule,
                                std::int64_t bin, std::int64_t size, const geometry::PixelRange& pixels,
                                const Visit& visit) {
  const geometry::PixelRange all = geometry::pixels_of_bin(axis, bin, size, rule);
  const T weight = T(1) / static_cast<T>(all.end - all.begin);
  const std::int64_t end = geometry::min_of(all.end, pixels.end);
  for (std::int64_t pixel = geometry::max_of(all.begin, pixels.begin); pixel < end; ++pixel) {
    visit(static_cast<std::int32_t>(pixel), weight);
  }
}

}  // namespace fastmrcnn::cuda
