// Bins on whole pixels: RoIPool (Girshick 2015) and position-sensitive RoI pooling (Dai et al. 2016). One axis at a
// time.
#pragma once

#include "fastmrcnn/geometry/roi.h"

namespace fastmrcnn::geometry {

// One axis of a RoI, rounded to whole feature-map pixels and divided into bins. A RoI that holds a NaN or an infinity
// is not valid and has no pixels.
template <class T>
struct PixelBins {
  std::int64_t start = 0;
  T bin = 0;
  bool valid = false;
};

// RoIPool counts the end pixel as part of the RoI. The position-sensitive form does not, and its bins end before the
// map's last pixel, as published implementations have it.
template <class T>
struct Quantised {
  T spatial_scale;
  bool end_inclusive;
};

// The value as an integer; what does not fit becomes a number far outside every map, yet safe to add.
template <class T>
FM_HD std::int64_t to_integer(T value) {
  constexpr T kMost = T(1e15);  // in float too: most GPUs do double at a small part of its rate
  return static_cast<std::int64_t>(max_of(-kMost, min_of(kMost, value)));
}

template <class T>
FM_HD std::int64_t floor_to_integer(T value) {
  const std::int64_t truncated = to_integer(value);
  return static_cast<T>(truncated) > value ? truncated - 1 : truncated;
}

template <class T>
FM_HD std::int64_t ceil_to_integer(T value) {
  return -floor_to_integer(-value);
}

// To the nearest integer, halves away from zero.
template <class T>
FM_HD std::int64_t round_to_integer(T value) {
  const std::int64_t below = floor_to_integer(value);
  const T fraction = value - static_cast<T>(below);
  return fraction > T(0.5) || (fraction == T(0.5) && value > T(0)) ? below + 1 : below;
}

template <class T>
FM_HD PixelBins<T> pixel_bins(T low, T high, std::int64_t bins, const Quantised<T>& rule) {
  const T scaled_low = low * rule.spatial_scale, scaled_high = high * rule.spatial_scale;
  if (!is_finite(scaled_low) || !is_finite(scaled_high)) return {};
  const std::int64_t start = round_to_integer(scaled_low), end = round_to_integer(scaled_high);
  const std::int64_t size = max_of<std::int64_t>(end - start + (rule.end_inclusive ? 1 : 0), 1);
  return {start, static_cast<T>(size) / static_cast<T>(bins), true};
}

// The pixels of one bin that lie on a map of `size` pixels. Neighbouring bins may share a pixel.
template <class T>
FM_HD PixelRange pixels_of_bin(const PixelBins<T>& bins, std::int64_t bin, std::int64_t size,
                               const Quantised<T>& rule) {
  if (!bins.valid) return {};
  const std::int64_t last = max_of<std::int64_t>(rule.end_inclusive ? size : size - 1, 0);
  const std::int64_t begin = bins.start + floor_to_integer(static_cast<T>(bin) * bins.bin);
  const std::int64_t end = bins.start + ceil_to_integer(static_cast<T>(bin + 1) * bins.bin);
  return {min_of(max_of<std::int64_t>(begin, 0), last), min_of(max_of<std::int64_t>(end, 0), last)};
}

}  // namespace fastmrcnn::geometry
