// One task a box. Rows of points are interpolated along y first, then read along x; a row whose highest cell lies too
// low for any point of it to be the peak is not read, which leaves a few rows of a heatmap that knows where its
// keypoint is.
#include "fastmrcnn/ops/decode_keypoints.h"

#include <algorithm>
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

// What no point read from these values exceeds, whatever the rounding: negative weights of a blend sum to 0.1875 at
// most.
template <class T>
T bound_of(const std::vector<T>& values) {
  T low = std::numeric_limits<T>::infinity(), high = -low;
  for (const T value : values) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  return high + T(0.1875) * (high - low) + T(1e-5) * std::max(std::abs(low), std::abs(high));
}

// The highest point of one heatmap; `values` is memory for one row of cells.
template <class T>
Peak<T> find_peak(const T* map, const std::vector<CubicTaps<T>>& rows, const std::vector<CubicTaps<T>>& columns,
                  std::vector<T>& values) {
  const auto width = static_cast<std::int32_t>(values.size()), points = static_cast<std::int32_t>(columns.size());
  Peak<T> peak{0, -1};
  for (std::int32_t r = 0; r < static_cast<std::int32_t>(rows.size()); ++r) {
    for (std::int32_t x = 0; x < width; ++x) {
      values[x] = geometry::blend_cubic(rows[r], [&](int k) { return map[rows[r].cell[k] * width + x]; });
    }
    if (peak.place >= 0 && bound_of(values) < peak.value) continue;
    for (std::int32_t c = 0; c < points; ++c) {
      const T value = geometry::blend_cubic(columns[c], [&](int k) { return values[columns[c].cell[k]]; });
      if (peak.place < 0 ? value == value : value > peak.value) peak = {value, r * points + c};
    }
  }
  return peak;
}

template <class T>
T probability_of(T height, const T* map, std::int64_t cells) {
  double sum = 0;
  for (std::int64_t k = 0; k < cells; ++k) sum += geometry::exponential(map[k] - height);
  return static_cast<T>(1 / sum);
}

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
    parallel_for(limit_threads(context, 2 * heatmaps.numel()), heatmaps.shape[0], [&](std::int64_t n) {
      const PointRow<T> x = geometry::points_along(box[n].x1, box[n].x2);
      const PointRow<T> y = geometry::points_along(box[n].y1, box[n].y2);
      const auto rows = taps_of(y, height), columns = taps_of(x, width);
      std::vector<T> values(width);
      for (std::int64_t k = n * count; k < (n + 1) * count; ++k) {
        const T* map = heatmaps.as<const T>() + k * cells;
        T* found = keypoints.as<T>() + 4 * k;
        const Peak<T> peak = find_peak(map, rows, columns, values);
        if (peak.place < 0) {
          std::fill_n(found, 4, std::numeric_limits<T>::quiet_NaN());
          continue;
        }
        found[0] = geometry::point_at(x, peak.place % x.points);
        found[1] = geometry::point_at(y, peak.place / x.points);
        found[2] = peak.value;
        found[3] = probability_of(peak.value, map, cells);
      }
    });
  });
}

}  // namespace fastmrcnn::cpu
