// Boxes as offsets from a reference box (Girshick et al. 2014, appendix C): shifts of the centre in units of the
// reference's sides, logarithms of the ratio of the sides, all times a weight.
#pragma once

#include "fastmrcnn/geometry/box.h"
#include "fastmrcnn/geometry/exponential.h"

namespace fastmrcnn::geometry {

template <class T>
struct Deltas {
  T dx, dy, dw, dh;
};

// `max_log_size` bounds dw and dh after division by their weights, so that the exponential stays finite.
template <class T>
struct BoxCoding {
  Deltas<T> weights;
  T max_log_size;
};

// NaN in a delta or in the reference gives NaN coordinates.
template <class T>
FM_HD Box<T> decode(const Deltas<T>& deltas, const Box<T>& reference, const BoxCoding<T>& coding) {
  const T width = reference.x2 - reference.x1, height = reference.y2 - reference.y1;
  const T center_x = deltas.dx / coding.weights.dx * width + (reference.x1 + T(0.5) * width);
  const T center_y = deltas.dy / coding.weights.dy * height + (reference.y1 + T(0.5) * height);
  const T half_width = T(0.5) * (exponential(min_of(deltas.dw / coding.weights.dw, coding.max_log_size)) * width);
  const T half_height = T(0.5) * (exponential(min_of(deltas.dh / coding.weights.dh, coding.max_log_size)) * height);
  return {center_x - half_width, center_y - half_height, center_x + half_width, center_y + half_height};
}

// Coordinates within [0, size]; NaN stays NaN.
template <class T>
FM_HD Box<T> clip(const Box<T>& box, T width, T height) {
  return {max_of(min_of(box.x1, width), T(0)), max_of(min_of(box.y1, height), T(0)),
          max_of(min_of(box.x2, width), T(0)), max_of(min_of(box.y2, height), T(0))};
}

}  // namespace fastmrcnn::geometry
