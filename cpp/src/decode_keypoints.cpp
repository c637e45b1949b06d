// One task a box. A row of points is interpolated along y first and read along x then, but only where the cells that it
// blends allow it to hold the peak: the search begins at the highest cell, so that a heatmap that knows where its
// keypoint is costs little more than a look at its cells.
#include "fastmrcnn/ops/decode_keypoints.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/geometry/exponential.h"
#include "fastmrcnn/geometry/heatmap.h"
#include "fastmrcnn/parallel.h"

namespace fastmrcnn::cpu {
namespace {

using geometry::Box;
using geometry::CubicTaps;
using geometry::Peak;
using geometry::PointRow;

template <class T>
std::vector<CubicTaps<T>> taps_of(const PointRow<T>& row, std::int32_t cells) {
  std::vector<CubicTaps<T>> taps(row.points);
  for (std::int32_t p = 0; p < row.points; ++p) taps[p] = geometry::cubic_taps<T>(p, row.points, cells);
  return taps;
}

template <class T>
struct Range {
  T low = std::numeric_limits<T>::infinity(), high = -std::numeric_limits<T>::infinity();

  void include(T value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }

  // What no blend of values in the range exceeds whose negative weights sum to `negative`, whatever the rounding.
  T bound(double negative) const {
    return high + T(negative) * (high - low) + T(1e-5) * std::max(std::abs(low), std::abs(high));
  }
};

constexpr double kNegative = 0.1875;  // of the four weights of a point, at most
constexpr double kNegativeOfBoth = ((1 + 2 * kNegative) * (1 + 2 * kNegative) - 1) / 2;  // of its sixteen

// Finds the highest point of one heatmap after another over the same box.
template <class T>
class PeakFinder {
 public:
  PeakFinder(const PointRow<T>& y, const PointRow<T>& x, std::int32_t height, std::int32_t width)
      : rows_(taps_of(y, height)), columns_(taps_of(x, width)), ranges_(height), values_(width) {}

  Peak<T> find(const T* map) {
    const auto width = static_cast<std::int32_t>(values_.size());
    const auto rows = static_cast<std::int32_t>(rows_.size()), points = static_cast<std::int32_t>(columns_.size());
    Peak<T> peak = begin(map);
    for (std::int32_t r = 0; r < rows; ++r) {
      const CubicTaps<T>& taps = rows_[r];
      Range<T> range;
      for (const std::int32_t cell : taps.cell) {
        range.include(ranges_[cell].low);
        range.include(ranges_[cell].high);
      }
      if (range.bound(kNegativeOfBoth) < peak.value) continue;
      range = {};
      for (std::int32_t x = 0; x < width; ++x) {
        values_[x] = geometry::blend_cubic(taps, [&](int k) { return map[taps.cell[k] * width + x]; });
      }
      for (const T value : values_) range.include(value);
      if (range.bound(kNegative) < peak.value) continue;
      for (std::int32_t c = 0; c < points; ++c) {
        const T value = geometry::blend_cubic(columns_[c], [&](int k) { return values_[columns_[c].cell[k]]; });
        if (value >= peak.value) peak = geometry::higher(peak, {value, r * points + c});
      }
    }
    return peak;
  }

  // The share of a cell of this height in the softmax over the heatmap.
  T probability(T height, const T* map) {
    double sum = 0;
    for (std::size_t y = 0; y < ranges_.size(); ++y, map += values_.size()) {
      for (std::size_t x = 0; x < values_.size(); ++x) values_[x] = geometry::exponential(map[x] - height);
      for (const T value : values_) sum += value;
    }
    return static_cast<T>(1 / sum);
  }

 private:
  // The point over the highest cell, and the ranges of the cells in each row; no point where that is no number.
  Peak<T> begin(const T* map) {
    const std::size_t height = ranges_.size(), width = values_.size();
    std::size_t top = 0;
    for (std::size_t y = 0; y < height; ++y) {
      ranges_[y] = {};
      for (std::size_t x = 0; x < width; ++x) ranges_[y].include(map[y * width + x]);
      if (ranges_[y].high > ranges_[top].high) top = y;
    }
    const T* row = map + top * width;
    const std::size_t left = std::max_element(row, row + width) - row;
    const std::size_t r = (2 * top + 1) * rows_.size() / (2 * height);
    const std::size_t c = (2 * left + 1) * columns_.size() / (2 * width);
    const T value = geometry::blend_cubic(columns_[c], [&](int i) {
      return geometry::blend_cubic(rows_[r],
                                   [&](int j) { return map[rows_[r].cell[j] * width + columns_[c].cell[i]]; });
    });
    if (!(value == value)) return {-std::numeric_limits<T>::infinity(), -1};
    return {value, static_cast<std::int32_t>(r * columns_.size() + c)};
  }

  std::vector<CubicTaps<T>> rows_, columns_;  // what each row and each column of points blends
  std::vector<Range<T>> ranges_;              // of the cells in each row
  std::vector<T> values_;                     // one row of cells
};

}  // namespace

void decode_keypoints(const Context& context, const TensorView& heatmaps, const TensorView& boxes,
                      const TensorView& keypoints) {
  check_decode_keypoints(heatmaps, boxes, keypoints);
  const std::int64_t count = heatmaps.shape[1];
  const auto height = static_cast<std::int32_t>(heatmaps.shape[2]),
             width = static_cast<std::int32_t>(heatmaps.shape[3]);
  const std::int64_t cells = std::int64_t{height} * width;
  if (count == 0) return;
  dispatch_floating("decode_keypoints", "heatmaps", heatmaps.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto* box = boxes.as<const Box<T>>();
    parallel_for(limit_threads(context, 5 * heatmaps.numel()), heatmaps.shape[0], [&](std::int64_t n) {
      const PointRow<T> x = geometry::points_along(box[n].x1, box[n].x2);
      const PointRow<T> y = geometry::points_along(box[n].y1, box[n].y2);
      PeakFinder<T> finder(y, x, height, width);
      for (std::int64_t k = n * count; k < (n + 1) * count; ++k) {
        const T* map = heatmaps.as<const T>() + k * cells;
        T* found = keypoints.as<T>() + 4 * k;
        const Peak<T> peak = finder.find(map);
        if (peak.place < 0) {
          std::fill_n(found, 4, std::numeric_limits<T>::quiet_NaN());
          continue;
        }
        found[0] = geometry::point_at(x, peak.place % x.points);
        found[1] = geometry::point_at(y, peak.place / x.points);
        found[2] = peak.value;
        found[3] = finder.probability(peak.value, map);
      }
    });
  });
}

}  // namespace fastmrcnn::cpu
