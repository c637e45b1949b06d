// What RoIs add to the gradient of one tile.
#pragma once

#include "roi_align_tiles.cuh"

namespace fastmrcnn::cuda {

constexpr int kTileBins = 16;  // along either axis, of a RoI at once

// A RoI's bins in squares of at most 16 x 16: a single one for the grids of boxes and masks.
struct TileParts {
  template <class S>
  __device__ static TileParts of(const RoiAlignCall<S>& call) {
    return {(call.bins_y + kTileBins - 1) / kTileBins, (call.bins_x + kTileBins - 1) / kTileBins};
  }

  __device__ int count() const { return rows * columns; }
  __device__ std::int32_t bin_y(int part) const { return part / columns * kTileBins; }
  __device__ std::int32_t bin_x(int part) const { return part % columns * kTileBins; }

  int rows, columns;
};

// The weights of one part of a RoI's bins on the pixels of a tile, along both axes: of rows of bins on rows of pixels,
// then of columns on columns. A bit for each says which bins have any: rows in the lower half of a word.
template <class T>
struct TileWeights {
  Pack<T, kTileSide> weights[2 * kTileBins];
  std::uint32_t of_pixel[kTileSide];
  std::uint32_t anywhere;
  std::int64_t roi;
  std::int32_t bin_y, bin_x;  // the first

  __device__ std::uint32_t rows_at(int y) const { return of_pixel[y] & 0xffffu; }
  __device__ std::uint32_t columns_at(int x) const { return of_pixel[x] >> 16; }
  __device__ std::uint32_t columns() const { return anywhere >> 16; }
  __device__ T of_row(int bin, int y) const { return weights[bin].values[y]; }
  __device__ const Pack<T, kTileSide>& of_column(int bin) const { return weights[kTileBins + bin]; }
};

// By one warp: a lane for each bin of either axis.
template <class S, class T>
__device__ void weigh(const RoiAlignCall<S>& call, const Tile& tile, std::int64_t k, const TileParts& parts, int part,
                      TileWeights<T>& result) {
  constexpr unsigned kAll = 0xffffffffu;
  const int lane = threadIdx.x % 32;
  const bool vertical = lane < kTileBins;
  const std::int32_t bin_y = parts.bin_y(part), bin_x = parts.bin_x(part);
  const std::int32_t bin = (vertical ? bin_y : bin_x) + lane % kTileBins;
  const FeatureMaps<S>& level = call.levels[tile.level];
  const std::int64_t first = vertical ? tile.y : tile.x;
  T* const weights = result.weights[lane].values;
#pragma unroll
  for (int i = 0; i < kTileSide; ++i) weights[i] = 0;
  if (bin < (vertical ? call.bins_y : call.bins_x)) {
    const auto axis = axis_of(call, call.rois[k], RoiPlace{tile.level, tile.image}, vertical);
    geometry::for_each_tap(axis, bin, vertical ? level.height : level.width, {first, first + kTileSide},
                           [&](std::int32_t pixel, T weight) { weights[pixel - first] = weight; });
  }
  bool any = false;
#pragma unroll
  for (int i = 0; i < kTileSide; ++i) {
    any = any || weights[i] != T(0);
    const std::uint32_t bins = __ballot_sync(kAll, weights[i] != T(0));
    if (lane == i) result.of_pixel[i] = bins;
  }
  const std::uint32_t anywhere = __ballot_sync(kAll, any);
  if (lane == 0) {
    result.anywhere = anywhere;
    result.roi = k;
    result.bin_y = bin_y;
    result.bin_x = bin_x;
  }
}

// What a thread has summed up rests in shared memory while the next weights are computed, which takes its registers.
template <class T, int kCount>
struct RestingSums {
  T values[kCount][kTileThreads];

  __device__ void clear() {
    for (int i = 0; i < kCount; ++i) values[i][threadIdx.x] = 0;
  }
  __device__ T of(int i) const { return values[i][threadIdx.x]; }
  __device__ T& of(int i) { return values[i][threadIdx.x]; }
};

// Sums of channels-last gradients. A warp has a row of the tile, a lane a pack of channels at its eight pixels: every
// pack of pooled gradients that it reads serves all of them.
template <class S, int kWidth>
class PixelSums {
 public:
  using T = Accumulator<S>;
  static constexpr int kChannels = 32 * kWidth, kCount = kTileSide * kWidth;
  using Resting = RestingSums<T, kCount>;
  static constexpr int kBlocksPerSm = sizeof(T) == 4 ? 3 : 2;

  __device__ PixelSums(const RoiAlignCall<S>& call, const Tile& tile)
      : call_(call), tile_(tile), channel_(tile.channel + threadIdx.x % 32 * kWidth) {}

  __device__ void add(const TileWeights<T>& weights) {
    const std::uint32_t columns = weights.columns();
    if (channel_ >= call_.channels || columns == 0) return;
    const int begin = __ffs(columns) - 1, end = 32 - __clz(columns);
    for (std::uint32_t rows = weights.rows_at(row()); rows != 0; rows &= rows - 1) {
      const int bin = __ffs(rows) - 1;
      const std::int64_t line = (weights.roi * call_.bins_y + weights.bin_y + bin) * call_.bins_x + weights.bin_x;
      add_line(call_.pooled + line * call_.channels + channel_, weights.of_row(bin, row()), weights, begin, end);
    }
  }

  __device__ void take(const Resting& resting) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums_[i / kWidth].values[i % kWidth] = resting.of(i);
  }
  __device__ void leave(Resting& resting) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) resting.of(i) = sums_[i / kWidth].values[i % kWidth];
  }

  __device__ void write(const Resting& resting) const {
    const FeatureMaps<S>& level = call_.levels[tile_.level];
    const std::int32_t y = tile_.y + row(), width = min(level.width - tile_.x, kTileSide);
    if (channel_ >= call_.channels || y >= level.height) return;
    S* const first = level.data + tile_.image * call_.image_size(level) +
                     (std::int64_t{y} * level.width + tile_.x) * call_.channels + channel_;
#pragma unroll 1
    for (int x = 0; x < width; ++x) {
      Sums<S, kWidth> sums;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sums.values[i] = resting.of(x * kWidth + i);
      stream_pack(first + x * call_.channels, sums.stored());
    }
  }

 private:
  __device__ static int row() { return threadIdx.x / 32; }

  // Columns [begin, end) of a row of bins, several on their way at once.
  __device__ __forceinline__ void add_line(const S* line, T weight, const TileWeights<T>& weights, int begin, int end) {
    constexpr int kAtOnce = 3;
    for (int bin = begin; bin < end; bin += kAtOnce) {
      Pack<S, kWidth> packs[kAtOnce];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        if (bin + k < end) packs[k] = load_pack<kWidth>(line + (bin + k) * call_.channels);
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        if (bin + k < end) spread(weight, weights.of_column(bin + k), packs[k]);
      }
    }
  }

  // Pixels without weight are passed over: a gradient that is not finite must not reach them.
  __device__ __forceinline__ void spread(T weight, const Pack<T, kTileSide>& columns, const Pack<S, kWidth>& pack) {
    T scaled[kWidth];
#pragma unroll
    for (int i = 0; i < kWidth; ++i) scaled[i] = weight * widened(pack.values[i]);
#pragma unroll
    for (int x = 0; x < kTileSide; ++x) {
      if (columns.values[x] == T(0)) continue;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        sums_[x].values[i] = fused(columns.values[x], scaled[i], sums_[x].values[i]);
      }
    }
  }

  const RoiAlignCall<S>& call_;
  const Tile& tile_;
  const std::int64_t channel_;
  Sums<S, kWidth> sums_[kTileSide];
};

// Sums of contiguous gradients. A thread has one pixel of the tile in several planes: bins are neighbours in memory, so
// the lanes of a warp, four rows of pixels, read a few sectors of each plane.
template <class S>
class PlaneSums {
 public:
  using T = Accumulator<S>;
  static constexpr int kPixels = kTileSide * kTileSide;
  static constexpr int kCount = sizeof(T) == 4 ? 32 : 8;  // planes of a thread
  static constexpr int kChannels = kTileThreads / kPixels * kCount;
  using Resting = RestingSums<T, kCount>;
  static constexpr int kBlocksPerSm = sizeof(T) == 4 ? 3 : 2;

  __device__ PlaneSums(const RoiAlignCall<S>& call, const Tile& tile)
      : call_(call), tile_(tile), channel_(tile.channel + threadIdx.x / kPixels * kCount) {}

  __device__ void add(const TileWeights<T>& weights) {
    const std::int64_t grid = std::int64_t{call_.bins_y} * call_.bins_x;
    const S* const bins = call_.pooled + (weights.roi * call_.channels + channel_) * grid +
                          std::int64_t{weights.bin_y} * call_.bins_x + weights.bin_x;
    for (std::uint32_t rows = weights.rows_at(y()); rows != 0; rows &= rows - 1) {
      const int row = __ffs(rows) - 1;
      for (std::uint32_t columns = weights.columns_at(x()); columns != 0; columns &= columns - 1) {
        const int column = __ffs(columns) - 1;
        const T weight = weights.of_row(row, y()) * weights.of_column(column).values[x()];
        add_bin(bins + std::int64_t{row} * call_.bins_x + column, grid, weight);
      }
    }
  }

  __device__ void take(const Resting& resting) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums_[i].values[0] = resting.of(i);
  }
  __device__ void leave(Resting& resting) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) resting.of(i) = sums_[i].values[0];
  }

  __device__ void write(const Resting& resting) const {
    const FeatureMaps<S>& level = call_.levels[tile_.level];
    if (tile_.y + y() >= level.height || tile_.x + x() >= level.width) return;
    const std::int64_t plane = std::int64_t{level.height} * level.width;
    S* const first = level.data + (tile_.image * call_.channels + channel_) * plane +
                     std::int64_t{tile_.y + y()} * level.width + tile_.x + x();
#pragma unroll 1
    for (int i = 0; i < kCount && channel_ + i < call_.channels; ++i) {
      stream_pack(first + i * plane, Sums<S, 1>(resting.of(i)).stored());
    }
  }

 private:
  __device__ static int y() { return threadIdx.x % kPixels / kTileSide; }
  __device__ static int x() { return threadIdx.x % kTileSide; }

  __device__ __forceinline__ void add_bin(const S* bin, std::int64_t grid, T weight) {
    constexpr int kAtOnce = 4;
#pragma unroll
    for (int i = 0; i < kCount; i += kAtOnce) {
      Pack<S, 1> values[kAtOnce];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k, bin += grid) {
        if (channel_ + i + k < call_.channels) values[k] = load_pack<1>(bin);
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        if (channel_ + i + k < call_.channels) sums_[i + k].add(weight, values[k]);
      }
    }
  }

  const RoiAlignCall<S>& call_;
  const Tile& tile_;
  const std::int64_t channel_;
  Sums<S, 1> sums_[kCount];
};

}  // namespace fastmrcnn::cuda
