// How a pasted pixel is computed from the four values of the mask around it. The order of operations decides the last
// bit, hence pixels at the threshold.
#pragma once

#include "fastmrcnn/geometry/mask_paste.h"

namespace fastmrcnn::geometry {

// How a value is computed from its four neighbours, and when it belongs to the mask.
enum class PasteRule {
  exact,           // torch's grid sampling: a chain over the four corners; value >= threshold
  resized,         // torch's resizing to a large output: rows, then columns; fma(a, wa, b * wb); value > threshold
  resized_corners  // torch's resizing to a small output: a chain over the four corners; value > threshold
};

// Values of the mask around a pixel.
template <class T>
struct Corners {
  T upper_left, upper_right, lower_left, lower_right;
};

// PasteRule::exact.
template <class T>
FM_HD bool is_inside_sampled(const Tap<T>& y, const Tap<T>& x, const Corners<T>& corners, T threshold) {
  T value = corners.upper_left * (y.near * x.near);
  value = fused(corners.upper_right, y.near * x.far, value);
  value = fused(corners.lower_left, y.far * x.near, value);
  return fused(corners.lower_right, y.far * x.far, value) >= threshold;
}

// PasteRule::resized, for the two directions one after the other.
template <class T>
FM_HD T blend_resized(T a, T weight_a, T b, T weight_b) {
  return fused(a, weight_a, b * weight_b);
}

// The upper and the lower corners, blended along x.
template <class T>
struct BlendedCorners {
  T upper, lower;
};

template <class T>
FM_HD BlendedCorners<T> blend_corners(const Tap<T>& x, const Corners<T>& corners) {
  return {blend_resized(corners.upper_left, x.near, corners.upper_right, x.far),
          blend_resized(corners.lower_left, x.near, corners.lower_right, x.far)};
}

// PasteRule::resized_corners.
template <class T>
FM_HD bool is_inside_resized(const Tap<T>& y, const Tap<T>& x, const Corners<T>& corners, T threshold) {
  T value = fused(y.near * x.near, corners.upper_left, (y.near * x.far) * corners.upper_right);
  value = fused(y.far * x.near, corners.lower_left, value);
  return fused(y.far * x.far, corners.lower_right, value) > threshold;
}

template <class T>
FM_HD bool is_inside(PasteRule rule, const Tap<T>& y, const Tap<T>& x, const Corners<T>& corners, T threshold) {
  if (rule == PasteRule::exact) return is_inside_sampled(y, x, corners, threshold);
  if (rule == PasteRule::resized_corners) return is_inside_resized(y, x, corners, threshold);
  const BlendedCorners<T> blended = blend_corners(x, corners);
  return blend_resized(blended.upper, y.near, blended.lower, y.far) > threshold;
}

template <class T>
FM_HD T magnitude(T value) {
  return value < 0 ? -value : value;
}

// +1 or -1 when every blend of the corners with weights that sum to one lies inside or outside, whatever the order of
// its operations; 0 when the pixels decide.
template <class T>
FM_HD int side_of(const BlendedCorners<T>& blended, const Corners<T>& corners, T threshold) {
  const T margin = T(1e-6) * (magnitude(corners.upper_left) + magnitude(corners.upper_right) +
                              magnitude(corners.lower_left) + magnitude(corners.lower_right));
  const T high = threshold + margin, low = threshold - margin;
  if (blended.upper > high && blended.lower > high) return 1;
  return blended.upper < low && blended.lower < low ? -1 : 0;
}

}  // namespace fastmrcnn::geometry
