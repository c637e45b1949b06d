// Regions of interest, their bins along one axis, and the bilinear samples inside a bin. Both axes are alike and
// independent of each other, so everything here is one-dimensional.
#pragma once

#include <cstdint>

#include "fastmrcnn/geometry/host_device.h"

namespace fastmrcnn::geometry {

// A row of rois [K, 5]: batch index and box corners in image pixels.
template <class T>
struct Roi {
  T batch, x1, y1, x2, y2;
};

// The image that a RoI lies in: its batch index, or -1 where that is NaN or not in [0, images).
template <class T>
FM_HD std::int64_t image_of(const Roi<T>& roi, std::int64_t images) {
  return roi.batch >= T(0) && roi.batch < static_cast<T>(images) ? static_cast<std::int64_t>(roi.batch) : -1;
}

template <class T>
FM_HD bool is_finite(T value) {
  return value - value == T(0);
}

// One axis of a RoI in feature-map coordinates, divided into equal bins: bin i begins at start + i * bin and is sampled
// at `samples` equidistant points. No samples (a RoI that holds a NaN or an infinity, or that adaptive sampling finds
// empty) means that the RoI pools to zero.
template <class T>
struct AxisBins {
  T start = 0;
  T bin = 0;
  std::int64_t samples = 0;
};

// How RoIAlign lays its samples (He et al. 2017, section 3).
template <class T>
struct Sampling {
  T spatial_scale;              // feature-map pixels per image pixel
  std::int64_t sampling_ratio;  // samples per bin and axis; <= 0: one per feature-map pixel, rounded up
  bool aligned;                 // continuous coordinates (pixel centres at .5) and no minimum size
};

template <class T>
FM_HD AxisBins<T> axis_bins(T low, T high, std::int64_t bins, const Sampling<T>& sampling) {
  const T offset = sampling.aligned ? T(0.5) : T(0);
  const T start = low * sampling.spatial_scale - offset;
  const T end = high * sampling.spatial_scale - offset;
  T size = end - start;
  if (!is_finite(start) || !is_finite(size)) return {};
  if (!sampling.aligned) size = max_of(size, T(1));
  const T bin = size / static_cast<T>(bins);
  if (sampling.sampling_ratio > 0) return {start, bin, sampling.sampling_ratio};
  if (!(bin > T(0))) return {};
  constexpr T kMost = T(std::int64_t{1} << 62);
  const std::int64_t whole = static_cast<std::int64_t>(min_of(bin, kMost));
  return {start, bin, static_cast<T>(whole) < bin && bin < kMost ? whole + 1 : whole};
}

template <class T>
FM_HD T sample_position(const AxisBins<T>& bins, std::int64_t bin, std::int64_t sample) {
  return bins.start + static_cast<T>(bin) * bins.bin +
         (static_cast<T>(sample) + T(0.5)) * bins.bin / static_cast<T>(bins.samples);
}

// Half-open range of samples of one bin.
struct SampleRange {
  std::int64_t begin, end;
};

// Half-open range of pixels of a map.
struct PixelRange {
  std::int64_t begin = 0, end = 0;
};

// The samples of a bin that can weigh on these pixels: all of a small grid, and of a large one (an adaptive grid over a
// huge RoI) a superset with a pixel and a sample to spare against rounding.
template <class T>
FM_HD SampleRange samples_near(const AxisBins<T>& bins, std::int64_t bin, const PixelRange& pixels) {
  constexpr std::int64_t kSmallGrid = 16;
  if (bins.samples <= kSmallGrid || bins.bin == T(0)) return {0, bins.samples};
  const double count = static_cast<double>(bins.samples);
  const double step = static_cast<double>(bins.bin) / count;
  const double origin = static_cast<double>(bins.start) + static_cast<double>(bin) * static_cast<double>(bins.bin);
  const double at_low = (static_cast<double>(pixels.begin) - 2.0 - origin) / step;
  const double at_high = (static_cast<double>(pixels.end) + 1.0 - origin) / step;
  const double first = min_of(at_low, at_high) - 2.0, last = max_of(at_low, at_high) + 2.0;
  return {first > 0.0 ? static_cast<std::int64_t>(min_of(first, count)) : 0,
          last < count ? static_cast<std::int64_t>(max_of(last, 0.0)) : bins.samples};
}

// Linear interpolation at one position: weights of two neighbouring pixels.
template <class T>
struct LinearTaps {
  std::int32_t low = 0, high = 0;
  T weight_low = 0, weight_high = 0;
};

// Positions count pixels from 0 at the first pixel's sample. Up to one pixel beyond the map the border value extends;
// farther away (and for NaN) the weights are zero.
template <class T>
FM_HD LinearTaps<T> linear_taps(T position, std::int64_t size) {
  if (!(position >= T(-1) && position <= static_cast<T>(size)) || size <= 0) return {};
  const T inside = max_of(T(0), position);
  const std::int64_t low = static_cast<std::int64_t>(inside);
  const std::int32_t last = static_cast<std::int32_t>(size - 1);
  if (low >= size - 1) return {last, last, T(1), T(0)};
  const T fraction = inside - static_cast<T>(low);
  return {static_cast<std::int32_t>(low), static_cast<std::int32_t>(low + 1), T(1) - fraction, fraction};
}

// The pixels from the first to the last that the samples of `bins` bins weigh on.
template <class T>
FM_HD PixelRange pixels_of(const AxisBins<T>& axis, std::int64_t bins, std::int64_t size) {
  if (axis.samples == 0 || size <= 0) return {};
  const T first = sample_position(axis, 0, 0), last = sample_position(axis, bins - 1, axis.samples - 1);
  const T low = min_of(first, last), high = max_of(first, last), end = static_cast<T>(size - 1);
  if (!(high >= T(-1) && low <= static_cast<T>(size))) return {};
  return {static_cast<std::int64_t>(min_of(end, max_of(T(0), low))),
          min_of(size, static_cast<std::int64_t>(min_of(end, max_of(T(0), high))) + 2)};
}

// Calls visit(pixel, weight) for the pixels among `pixels` that a bin averages on a map of `size` of them: ascending,
// each once with its share of the bin, samples that meet in a pixel added up in order.
template <class T, class Visit>
FM_HD void for_each_tap(const AxisBins<T>& axis, std::int64_t bin, std::int64_t size, const PixelRange& pixels,
                        const Visit& visit) {
  struct Tap {
    std::int32_t pixel = -1;
    T weight = 0;
  } older, newer;  // positions ascend, so a pixel that was met before is one of the last two
  const T samples = static_cast<T>(axis.samples);
  const auto leave = [&](const Tap& tap) {
    if (tap.pixel >= pixels.begin && tap.pixel < pixels.end) visit(tap.pixel, tap.weight / samples);
  };
  const auto meet = [&](std::int32_t pixel, T weight) {
    if (weight == T(0)) return;
    if (pixel == newer.pixel) {
      newer.weight += weight;
    } else if (pixel == older.pixel) {
      older.weight += weight;
    } else {
      leave(older);
      older = newer;
      newer = {pixel, weight};
    }
  };
  const SampleRange range = samples_near(axis, bin, pixels);
  for (std::int64_t k = range.begin; k < range.end; ++k) {
    // Ascending positions, also where a reversed RoI has negative bins.
    const std::int64_t sample = axis.bin < T(0) ? range.begin + range.end - 1 - k : k;
    const LinearTaps<T> taps = linear_taps(sample_position(axis, bin, sample), size);
    meet(taps.low, taps.weight_low);
    meet(taps.high, taps.weight_high);
  }
  leave(older);
  leave(newer);
}

}  // namespace fastmrcnn::geometry
