// Anchor boxes of one feature map cell, centred on the origin, and their place on the grid.
#pragma once

#include <cmath>
#include <vector>

#include "fastmrcnn/geometry/box.h"

namespace fastmrcnn::geometry {

// torchvision's arithmetic, step for step: single precision, corners rounded to whole pixels (half to even).
// `ratio` is height / width, `size` the square root of the area in pixels.
FM_HD Box<float> rounded_anchor(float size, float ratio) {
  const float height_factor = ::sqrtf(ratio), width_factor = 1.0f / height_factor;
  const float half_width = width_factor * size / 2.0f, half_height = height_factor * size / 2.0f;
  return {::nearbyintf(-half_width), ::nearbyintf(-half_height), ::nearbyintf(half_width), ::nearbyintf(half_height)};
}

// detectron2's: double precision, then single, not rounded to pixels.
FM_HD Box<float> exact_anchor(double size, double ratio) {
  const double width = ::sqrt(size * size / ratio), height = ratio * width;
  return {float(-width / 2.0), float(-height / 2.0), float(width / 2.0), float(height / 2.0)};
}

// All of one cell, in their order: sizes run inside ratios, or outside with `sizes_first`. On the host, once a call.
std::vector<Box<float>> cell_anchors(const std::vector<double>& sizes, const std::vector<double>& aspect_ratios,
                                     bool rounded, bool sizes_first);

template <class T>
FM_HD Box<T> shifted(const Box<float>& box, T x, T y) {
  return {x + T(box.x1), y + T(box.y1), x + T(box.x2), y + T(box.y2)};
}

}  // namespace fastmrcnn::geometry
