// Boxes: corners in continuous pixel coordinates, x to the right, y down.
#pragma once

#include "fastmrcnn/geometry/host_device.h"

namespace fastmrcnn::geometry {

template <class T>
struct Box {
  T x1, y1, x2, y2;
};

template <class T>
FM_HD T area(const Box<T>& box) {
  return (box.x2 - box.x1) * (box.y2 - box.y1);
}

// T{} rather than T(0): a CPU kernel's T may be a whole vector of coordinates.
template <class T>
FM_HD T intersection(const Box<T>& a, const Box<T>& b) {
  const T width = max_of(T{}, min_of(a.x2, b.x2) - max_of(a.x1, b.x1));
  const T height = max_of(T{}, min_of(a.y2, b.y2) - max_of(a.y1, b.y1));
  return width * height;
}

// False only where `a` overlaps no box inside of `b`: the intersection with each is zero or NaN.
template <class T>
FM_HD bool touches(const Box<T>& a, const Box<T>& b) {
  return a.x1 < b.x2 && b.x1 < a.x2 && a.y1 < b.y2 && b.y1 < a.y2;
}

// Intersection over union. NaN for boxes that hold a NaN and for two boxes of zero area: neither exceeds a threshold.
template <class T>
FM_HD T iou(const Box<T>& a, T area_a, const Box<T>& b, T area_b) {
  const T overlap = intersection(a, b);
  return overlap / (area_a + area_b - overlap);
}

}  // namespace fastmrcnn::geometry
