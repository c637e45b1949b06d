// A keypoint's heatmap read at the resolution of its box (He et al. 2017, section 5): bicubic interpolation with
// Keys's kernel (1981) at a = -0.75 and the border repeated, as torch.nn.functional.interpolate has it.
#pragma once

#include <cstdint>

#include "fastmrcnn/geometry/box.h"

namespace fastmrcnn::geometry {

// Points that a box is read at along one side: as many as it has pixels. The bound is far beyond the images that such
// networks read; it keeps a box that went astray from taking for ever.
constexpr std::int32_t kMostPoints = 4096;

// One side of a box and the points on it: first + (p + 0.5) * spacing for p in [0, points).
template <class T>
struct PointRow {
  T first, spacing;  // pixels
  std::int32_t points;
};

// `first` and `last` are the box's corners along the side. Shorter ones than a pixel, and reversed ones, count as one
// pixel; where a corner is NaN the points are too.
template <class T>
FM_HD PointRow<T> points_along(T first, T last) {
  const T side = last - first, length = side < 1 ? T(1) : side;
  std::int32_t points = length > T(kMostPoints) ? kMostPoints : 1;
  if (length <= T(kMostPoints)) {  // NaN is not, and becomes no integer
    points = static_cast<std::int32_t>(length);
    if (static_cast<T>(points) < length) ++points;
  }
  return {first, length / static_cast<T>(points), points};
}

template <class T>
FM_HD T point_at(const PointRow<T>& row, std::int32_t point) {
  return (static_cast<T>(point) + T(0.5)) * row.spacing + row.first;
}

// The cells of a heatmap that one of the points reads, with their weights, along one direction.
template <class T>
struct CubicTaps {
  std::int32_t cell[4];
  T weight[4];
};

// |distance| <= 1
template <class T>
FM_HD T cubic_near(T distance) {
  return ((T(1.25) * distance - T(2.25)) * distance) * distance + 1;
}

// 1 <= |distance| <= 2
template <class T>
FM_HD T cubic_far(T distance) {
  return ((T(-0.75) * distance + T(3.75)) * distance - T(6)) * distance + 3;
}

// For point `point` of `points` over `cells` cells.
template <class T>
FM_HD CubicTaps<T> cubic_taps(std::int32_t point, std::int32_t points, std::int32_t cells) {
  const T at = (static_cast<T>(cells) / static_cast<T>(points)) * (static_cast<T>(point) + T(0.5)) - T(0.5);
  const std::int32_t below = at < 0 ? -1 : static_cast<std::int32_t>(at);  // at >= -0.5
  const T t = at - static_cast<T>(below);
  CubicTaps<T> taps{{}, {cubic_far(t + 1), cubic_near(t), cubic_near(1 - t), cubic_far(2 - t)}};
  for (int k = 0; k < 4; ++k) {
    const std::int32_t cell = below - 1 + k;
    taps.cell[k] = cell < 0 ? 0 : cell < cells ? cell : cells - 1;
  }
  return taps;
}

// The blend of four values, each of which `value(k)` gives.
template <class T, class Value>
FM_HD T blend_cubic(const CubicTaps<T>& taps, const Value& value) {
  return ((taps.weight[0] * value(0) + taps.weight[1] * value(1)) + taps.weight[2] * value(2)) +
         taps.weight[3] * value(3);
}

// The highest of the values seen, and the first place of that height.
template <class T>
struct Peak {
  T value;
  std::int32_t place;  // row-major among the points; -1 before any number was seen
};

// NaN is never the highest.
template <class T>
FM_HD Peak<T> higher(const Peak<T>& a, const Peak<T>& b) {
  if (b.place < 0) return a;
  if (a.place < 0) return b;
  if (b.value > a.value || (b.value == a.value && b.place < a.place)) return b;
  return a;
}

}  // namespace fastmrcnn::geometry
