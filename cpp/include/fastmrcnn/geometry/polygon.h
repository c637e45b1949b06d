// Polygons on the pixel grid by COCO's rule.
//
// Vertices are rounded to a grid five times as fine as the pixels. An edge visits one grid point per step along its
// longer axis, as Bresenham's lines do. Where it passes from grid column 5k + 2 to 5k + 3, the middle of pixel column
// k, the mask changes between outside and inside at the pixel row nearest to the higher (smaller y) of the two points.
// A closed outline crosses each pixel column an even number of times, so the rows of its crossings, sorted and taken in
// pairs, are the runs of the column.
//
// Only crossings are computed here, not the points between them: the cost of an edge is the pixel columns that it
// crosses, and an edge far longer than the image costs no more than the image is wide.
#pragma once

#include <stdint.h>

#include "fastmrcnn/geometry/host_device.h"

namespace fastmrcnn::geometry {

constexpr int64_t kSubpixels = 5;

// A row of points [V, 2], in pixels; pixel i covers i to i + 1.
struct Point {
  double x, y;
};

struct SubpixelPoint {
  int64_t x, y;
};

// False for NaN, which has no place on the grid.
FM_HD bool is_drawable(const Point& point) {
  return point.x == point.x && point.y == point.y;
}

// Rounded half up, towards zero below it. Beyond 2^40 pixels a coordinate stays there: the sums of an edge are exact.
FM_HD int64_t to_subpixels(double coordinate) {
  constexpr double kMost = double(int64_t{1} << 40);
  return static_cast<int64_t>(double(kSubpixels) * max_of(-kMost, min_of(coordinate, kMost)) + 0.5);
}

FM_HD SubpixelPoint to_subpixels(const Point& point) {
  return {to_subpixels(point.x), to_subpixels(point.y)};
}

// From the end with the smaller coordinate along the longer axis (y where `steep`), `length` steps of one along that
// axis and of `slope` along the other.
struct PolygonEdge {
  int64_t x, y, length;
  double slope;
  bool steep;
};

FM_HD PolygonEdge polygon_edge(const SubpixelPoint& a, const SubpixelPoint& b) {
  const int64_t width = b.x > a.x ? b.x - a.x : a.x - b.x, height = b.y > a.y ? b.y - a.y : a.y - b.y;
  const bool steep = width < height;
  const int64_t length = steep ? height : width;
  const bool forward = steep ? a.y <= b.y : a.x <= b.x;
  const SubpixelPoint start = forward ? a : b, end = forward ? b : a;
  const int64_t rise = steep ? end.x - start.x : end.y - start.y;
  return {start.x, start.y, length, length > 0 ? double(rise) / double(length) : 0.0, steep};
}

// Along the shorter axis, after `steps`.
FM_HD int64_t offset_point(int64_t start, double slope, int64_t steps) {
  return static_cast<int64_t>(double(start) + slope * double(steps) + 0.5);
}

// Half-open range of pixel columns.
struct ColumnSpan {
  int64_t begin, end;
};

// The columns within `columns`, none of them negative, that the edge crosses.
FM_HD ColumnSpan crossed_columns(const PolygonEdge& edge, const ColumnSpan& columns) {
  const int64_t start = edge.steep ? offset_point(edge.x, edge.slope, 0) : edge.x;
  const int64_t end = edge.steep ? offset_point(edge.x, edge.slope, edge.length) : edge.x + edge.length;
  const int64_t low = min_of(start, end), high = max_of(start, end);
  const int64_t first = low <= 2 ? 0 : (low - 2 + kSubpixels - 1) / kSubpixels;
  const int64_t last = high < 3 ? -1 : (high - 3) / kSubpixels;
  return {max_of(first, columns.begin), min_of(last + 1, columns.end)};
}

// The row, 0..height, at which the mask changes in a column that the edge crosses.
FM_HD int64_t crossing_row(const PolygonEdge& edge, int64_t column, int64_t height) {
  const int64_t middle = kSubpixels * column + 2;
  int64_t y;
  if (edge.steep) {
    const bool rising = edge.slope > 0.0;
    const auto beyond = [&](int64_t steps) { return (offset_point(edge.x, edge.slope, steps) > middle) == rising; };
    // The first step beyond the middle; the division is at most a rounding away from it.
    const double estimate = (double(middle) + 0.5 - double(edge.x)) / edge.slope;
    auto steps = static_cast<int64_t>(max_of(1.0, min_of(estimate, double(edge.length))));
    while (steps > 1 && beyond(steps - 1)) --steps;
    while (steps < edge.length && !beyond(steps)) ++steps;
    y = edge.y + steps - 1;
  } else {
    const int64_t steps = middle - edge.x;
    y = min_of(offset_point(edge.y, edge.slope, steps), offset_point(edge.y, edge.slope, steps + 1));
  }
  return max_of(int64_t{0}, min_of((y + 2) / kSubpixels, height));  // row r changes above its middle, 5r + 2
}

// detectron2's binary targets: cells per pixel where a side of a box in pixels becomes `cells`.
FM_HD double frame_scale(float side, int64_t cells) {
  if (side < 0.1f) return double(cells) / 0.1;
  return double(static_cast<float>(cells) / side);
}

}  // namespace fastmrcnn::geometry
