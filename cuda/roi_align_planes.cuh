// RoIAlign of contiguous features: lanes along the columns of planes.
#pragma once

#include "roi_align_taps.cuh"

namespace fastmrcnn::cuda {

// The columns of a plane that a RoI reads: all of its span, or where bins lie apart only those with a tap.
template <class T>
class RoiColumns {
 public:
  __device__ RoiColumns(const TapTables<T>& tables, int bins) {
    std::int32_t first = kMostSide, last = -1;
    for (int bin = 0; bin < bins; ++bin) {
      const BinTaps<T> taps = tables.column(bin);
      if (taps.count == 0) continue;
      first = min(first, taps.pixels[0]);
      last = max(last, taps.pixels[taps.count - 1]);
      most_ = max(most_, taps.count);
    }
    const std::int32_t span = max(last - first + 1, 0);
    dense_ = span <= bins * most_;
    first_ = first;
    count_ = dense_ ? span : bins * most_;
  }

  __device__ int count() const { return count_; }

  // The pixel of the j-th; -1 where that one stands empty.
  __device__ std::int32_t pixel(const TapTables<T>& tables, int j) const {
    if (dense_) return first_ + j;
    const BinTaps<T> taps = tables.column(j / most_);
    return j % most_ < taps.count ? taps.pixels[j % most_] : -1;
  }

  // Which one holds a bin's tap.
  __device__ int of(const BinTaps<T>& taps, int bin, int tap) const {
    return dense_ ? taps.pixels[tap] - first_ : bin * most_ + tap;
  }

 private:
  std::int32_t first_;
  int count_, most_ = 0;
  bool dense_;
};

// The mean over one bin's rows at one column. So many values are on their way at once.
template <class S, class T>
__device__ __forceinline__ T blend_rows(const S* column, std::int32_t width, const BinTaps<T>& taps) {
  constexpr int kAtOnce = 4;
  T sum = 0;
  for (int i = 0; i < taps.count; i += kAtOnce) {
    S values[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      if (i + k < taps.count) values[k] = load_pack<1>(column + std::int64_t{taps.pixels[i + k]} * width).values[0];
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      if (i + k < taps.count) sum = fused(taps.weights[i + k], widened(values[k]), sum);
    }
  }
  return sum;
}

constexpr int kPlaneThreads = 7 * 32;
constexpr std::int64_t kPlanesPerBlock = 64;

// Values of averaged rows that a block holds.
template <class T>
constexpr int kBlended = (16 << 10) / sizeof(T);

// Averages the rows of bins [first_row, first_row + rows) of neighbouring planes: blended[plane][row][column].
template <class S, class T>
__device__ void blend_planes(const S* first, std::int64_t plane_size, std::int32_t width, const TapTables<T>& tables,
                             const RoiColumns<T>& columns, int planes, int first_row, int rows, T* blended) {
  for (int i = threadIdx.x; i < planes * columns.count(); i += kPlaneThreads) {
    const int plane = i / columns.count(), j = i % columns.count();
    const std::int32_t pixel = columns.pixel(tables, j);
    if (pixel < 0) continue;
    T* const line = blended + plane * rows * columns.count() + j;
    for (int row = 0; row < rows; ++row) {
      line[row * columns.count()] = blend_rows(first + plane * plane_size + pixel, width, tables.row(first_row + row));
    }
  }
}

// Averages the columns of `lines` rows of bins, which are neighbours in `pooled`.
template <class S, class T>
__device__ void pick_bins(const T* blended, const TapTables<T>& tables, const RoiColumns<T>& columns, T start,
                          int lines, int bins_x, S* pooled) {
  for (int i = threadIdx.x; i < lines * bins_x; i += kPlaneThreads) {
    const int bin = i % bins_x;
    const T* const line = blended + i / bins_x * columns.count();
    const BinTaps<T> taps = tables.column(bin);
    Sums<S, 1> sum(start);
    for (int tap = 0; tap < taps.count; ++tap) {
      sum.values[0] = fused(taps.weights[tap], line[columns.of(taps, bin, tap)], sum.values[0]);
    }
    stream_pack(pooled + i, sum.stored());
  }
}

// A block takes kPlanesPerBlock channels of a RoI, as many planes and rows of bins at once as there is room for.
template <class S>
__global__ void __launch_bounds__(kPlaneThreads, kBlocksPerSm<Accumulator<S>>)
    roi_align_planes(const __grid_constant__ RoiAlignCall<S> call, const __grid_constant__ TableShape shape) {
  using T = Accumulator<S>;
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ T blended[kBlended<T>];
  const TapTables<T> tables(memory, shape);
  const std::int64_t groups = (call.channels + kPlanesPerBlock - 1) / kPlanesPerBlock;
  for (std::int64_t work = blockIdx.x; work < call.roi_count * groups; work += gridDim.x) {
    const std::int64_t k = work / groups;
    const geometry::Roi<T> roi = call.rois[k];
    const RoiPlace place = place_of(call, roi);
    tables.fill(call, roi, place, 0);
    const RoiColumns<T> columns(tables, call.bins_x);

    const FeatureMaps<S>& level = call.levels[place.level];
    const std::int64_t plane_size = std::int64_t{level.height} * level.width;
    const S* const image = level.data + place.image * call.image_size(level);
    const int lines = kBlended<T> / max(columns.count(), 1);
    const int most_rows = min(lines, call.bins_y), most_planes = max(lines / call.bins_y, 1);
    const std::int64_t end = min((work % groups + 1) * kPlanesPerBlock, call.channels);
    for (std::int64_t c = work % groups * kPlanesPerBlock; c < end; c += most_planes) {
      const int planes = static_cast<int>(min(end - c, std::int64_t{most_planes}));
      for (int first_row = 0; first_row < call.bins_y; first_row += most_rows) {
        const int rows = min(most_rows, call.bins_y - first_row);
        blend_planes(image + c * plane_size, plane_size, level.width, tables, columns, planes, first_row, rows,
                     blended);
        __syncthreads();
        S* const pooled = call.pooled + ((k * call.channels + c) * call.bins_y + first_row) * call.bins_x;
        pick_bins(blended, tables, columns, start_of<T>(place), planes * rows, call.bins_x, pooled);
        __syncthreads();  // before the lines are blended, or the tables filled, anew
      }
    }
  }
}

}  // namespace fastmrcnn::cuda
