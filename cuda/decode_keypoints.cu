// The highest point of each heatmap at the resolution of its box, one block a heatmap: warps take rows of points, lanes
// the points of a row, and the block keeps the highest. Each point blends its sixteen cells itself, in the order of the
// CPU, whose positions and logits these are, to the bit.
//
// Memory: the cells of a heatmap (12.5 KB of 56 x 56 float32) come once from memory and then from the L1 cache; 16
// bytes are written. A hundred people with 17 keypoints are 21 MB, 5 us on an H200 (4.3 TB/s). Instructions decide:
// some 80 a point, 8e9 for boxes of 200 x 300 pixels, predicted 0.3 ms. One launch, no workspace. Deterministic; the
// sum of exponentials is of double precision, in another order than the CPU's.
#include "fastmrcnn/ops/decode_keypoints.h"

#include <limits>

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/geometry/exponential.h"
#include "fastmrcnn/geometry/heatmap.h"
#include "launch.cuh"
#include "warp.cuh"

namespace fastmrcnn::cuda {
namespace {

using geometry::Box;
using geometry::CubicTaps;
using geometry::Peak;
using geometry::PointRow;

constexpr int kWarps = 8, kThreads = kWarps * kWarp;

// Known to every lane.
template <class T>
__device__ Peak<T> peak_of_warp(Peak<T> peak) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    peak = geometry::higher(
        peak, {__shfl_xor_sync(kAllLanes, peak.value, distance), __shfl_xor_sync(kAllLanes, peak.place, distance)});
  }
  return peak;
}

// The highest point in the rows of this warp.
template <class T>
__device__ Peak<T> peak_of_rows(const T* __restrict__ map, std::int32_t height, std::int32_t width, std::int32_t rows,
                                std::int32_t points) {
  Peak<T> peak{0, -1};
  for (std::int32_t r = threadIdx.x / kWarp; r < rows; r += kWarps) {
    const CubicTaps<T> y = geometry::cubic_taps<T>(r, rows, height);
    for (std::int32_t c = threadIdx.x % kWarp; c < points; c += kWarp) {
      const CubicTaps<T> x = geometry::cubic_taps<T>(c, points, width);
      const T value = geometry::blend_cubic(x, [&](int i) {
        return geometry::blend_cubic(y, [&](int j) { return map[y.cell[j] * width + x.cell[i]]; });
      });
      if (value == value) peak = geometry::higher(peak, {value, r * points + c});
    }
  }
  return peak;
}

template <class T>
__global__ void find_peaks(const T* __restrict__ maps, const Box<T>* __restrict__ boxes, std::int64_t count,
                           std::int32_t height, std::int32_t width, T* __restrict__ keypoints) {
  __shared__ Peak<T> peaks[kWarps];
  __shared__ double sums[kWarps];
  const std::int64_t k = blockIdx.x, cells = std::int64_t{height} * width;
  const T* map = maps + k * cells;
  const Box<T> box = boxes[k / count];
  const PointRow<T> x = geometry::points_along(box.x1, box.x2), y = geometry::points_along(box.y1, box.y2);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;

  const Peak<T> own = peak_of_warp(peak_of_rows(map, height, width, y.points, x.points));
  if (lane == 0) peaks[warp] = own;
  __syncthreads();
  Peak<T> peak = peaks[0];
  for (int other = 1; other < kWarps; ++other) peak = geometry::higher(peak, peaks[other]);

  double sum = 0;
  for (std::int64_t cell = threadIdx.x; cell < cells; cell += kThreads) {
    sum += geometry::exponential(map[cell] - peak.value);
  }
  sum = sum_of_warp(sum);
  if (lane == 0) sums[warp] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int other = 1; other < kWarps; ++other) sum += sums[other];
  T* found = keypoints + 4 * k;
  const bool none = peak.place < 0;
  const T nan = std::numeric_limits<T>::quiet_NaN();
  found[0] = none ? nan : geometry::point_at(x, peak.place % x.points);
  found[1] = none ? nan : geometry::point_at(y, peak.place / x.points);
  found[2] = none ? nan : peak.value;
  found[3] = none ? nan : static_cast<T>(1 / sum);
}

}  // namespace

void decode_keypoints(const Context& context, const TensorView& heatmaps, const TensorView& boxes,
                      const TensorView& keypoints) {
  check_decode_keypoints(heatmaps, boxes, keypoints);
  const std::int64_t count = heatmaps.shape[1], maps = heatmaps.shape[0] * count;
  if (maps == 0) return;
  const auto height = static_cast<std::int32_t>(heatmaps.shape[2]),
             width = static_cast<std::int32_t>(heatmaps.shape[3]);
  dispatch_floating("decode_keypoints", "heatmaps", heatmaps.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch("decode_keypoints", context, find_peaks<T>, {all_blocks("decode_keypoints", maps), kThreads},
           heatmaps.as<const T>(), boxes.as<const Box<T>>(), count, height, width, keypoints.as<T>());
  });
}

}  // namespace fastmrcnn::cuda
