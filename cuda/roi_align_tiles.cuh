// Tiles of feature maps, and which RoIs reach into which: so that a block can own a tile of the gradient.
#pragma once

#include <climits>

#include "roi_align_call.cuh"

namespace fastmrcnn::cuda {

constexpr int kTileSide = 8;
constexpr int kTileThreads = 256;

// A rectangle of tiles. Rows are counted through all levels of an image and through all images, so that a row belongs
// to one map.
struct alignas(16) TileRange {
  std::int32_t row_begin, row_end, column_begin, column_end;

  static __device__ TileRange none() { return {INT_MAX, INT_MIN, INT_MAX, INT_MIN}; }

  // In one load; comparisons would make up to four of it, each of which waits for the one before.
  static __device__ TileRange at(const TileRange* place) {
    const Pack<std::int32_t, 4> range = load_pack<4>(&place->row_begin);
    return {range.values[0], range.values[1], range.values[2], range.values[3]};
  }

  __device__ bool holds(std::int32_t row, std::int32_t column) const {
    return row >= row_begin && row < row_end && column >= column_begin && column < column_end;
  }
};

struct Tile {
  std::int32_t level;
  std::int64_t image;
  std::int32_t y, x;         // of its first pixel
  std::int32_t row, column;  // as in a TileRange
  std::int64_t channel;      // the first that a block takes
};

// All tiles, images outermost, levels from fine to coarse within.
struct TileGrid {
  std::int32_t first_row[geometry::kMostLevels];  // of each level in an image
  std::int64_t first_tile[geometry::kMostLevels];
  std::int32_t level_count;
  std::int64_t image_rows = 0, image_tiles = 0, images;

  template <class S>
  explicit TileGrid(const RoiAlignCall<S>& call) : level_count(call.level_count), images(call.images) {
    for (int level = 0; level < level_count; ++level) {
      first_row[level] = static_cast<std::int32_t>(image_rows);
      first_tile[level] = image_tiles;
      const std::int64_t rows = tiles_along(call.levels[level].height);
      image_rows += rows;
      image_tiles += rows * tiles_along(call.levels[level].width);
    }
  }

  static __host__ __device__ std::int32_t tiles_along(std::int32_t pixels) {
    return (pixels + kTileSide - 1) / kTileSide;
  }

  // Whether rows can be counted as a TileRange does.
  bool fits() const { return images == 0 || image_rows <= INT_MAX / images; }
  __host__ __device__ std::int64_t size() const { return images * image_tiles; }

  template <class S>
  __device__ Tile tile(const RoiAlignCall<S>& call, std::int64_t index, std::int64_t channel) const {
    const std::int64_t image = index / image_tiles, place = index % image_tiles;
    int level = level_count - 1;
    while (first_tile[level] > place) --level;
    const std::int32_t columns = tiles_along(call.levels[level].width);
    const auto in_level = static_cast<std::int32_t>(place - first_tile[level]);
    const std::int32_t row = in_level / columns, column = in_level % columns;
    return {level, image, row * kTileSide, column * kTileSide, row_of(level, image) + row, column, channel};
  }

  __device__ std::int32_t row_of(std::int32_t level, std::int64_t image) const {
    return static_cast<std::int32_t>(image * image_rows) + first_row[level];
  }
};

// Where each RoI reaches, and where those of each chunk of them do: left by one launch to the next.
struct TileRanges {
  static constexpr int kChunk = kTileThreads;

  TileRange* rois;
  TileRange* chunks;
  std::int32_t chunk_count;
};

template <class S>
__device__ TileRange tiles_of(const RoiAlignCall<S>& call, const TileGrid& grid, std::int64_t k) {
  const auto roi = call.rois[k];
  const RoiPlace place = place_of(call, roi);
  const FeatureMaps<S>& level = call.levels[place.level];
  const auto y = geometry::pixels_of(axis_of(call, roi, place, true), call.bins_y, level.height);
  const auto x = geometry::pixels_of(axis_of(call, roi, place, false), call.bins_x, level.width);
  if (y.begin == y.end || x.begin == x.end) return TileRange::none();
  const std::int32_t row = grid.row_of(place.level, place.image);
  const auto tile_end = [](std::int64_t end) { return static_cast<std::int32_t>((end - 1) / kTileSide) + 1; };
  return {row + static_cast<std::int32_t>(y.begin / kTileSide), row + tile_end(y.end),
          static_cast<std::int32_t>(x.begin / kTileSide), tile_end(x.end)};
}

// A thread for each RoI, a block for each chunk.
template <class S>
__global__ void __launch_bounds__(kTileThreads)
    roi_align_ranges(const __grid_constant__ RoiAlignCall<S> call, const __grid_constant__ TileGrid grid,
                     const TileRanges ranges) {
  __shared__ TileRange all;
  const std::int64_t k = std::int64_t{blockIdx.x} * kTileThreads + threadIdx.x;
  if (threadIdx.x == 0) all = TileRange::none();
  __syncthreads();
  if (k < call.roi_count) {
    const TileRange range = tiles_of(call, grid, k);
    ranges.rois[k] = range;
    atomicMin(&all.row_begin, range.row_begin);
    atomicMax(&all.row_end, range.row_end);
    atomicMin(&all.column_begin, range.column_begin);
    atomicMax(&all.column_end, range.column_end);
  }
  __syncthreads();
  if (threadIdx.x == 0) ranges.chunks[blockIdx.x] = all;
}

// Goes through the RoIs that reach into a tile, in order, some at a time, however many there are; by all threads of a
// block, which are in step afterwards.
class ReachingRois {
 public:
  static constexpr int kChunksAtOnce = 4, kWarps = kTileThreads / 32;

  struct Memory {
    std::int32_t rois[kChunksAtOnce * TileRanges::kChunk];  // ascending, counted from the first chunk looked at
    std::int32_t hits[kChunksAtOnce * kWarps];              // of each warp in each chunk
  };

  __device__ ReachingRois(const TileRanges& ranges, std::int64_t roi_count, const Tile& tile, Memory& memory)
      : ranges_(ranges), roi_count_(roi_count), tile_(tile), memory_(memory) {}

  // How many were found next, perhaps none; -1 at the end.
  __device__ int next() {
    while (chunks_ == 0) {
      first_chunk_ += 32;
      if (first_chunk_ >= ranges_.chunk_count) return -1;
      const int chunk = first_chunk_ + static_cast<int>(threadIdx.x) % 32;
      chunks_ = __ballot_sync(
          kAll, chunk < ranges_.chunk_count && TileRange::at(ranges_.chunks + chunk).holds(tile_.row, tile_.column));
    }
    return list_hits();
  }

  __device__ std::int64_t roi(int i) const { return std::int64_t{first_chunk_} * TileRanges::kChunk + memory_.rois[i]; }

 private:
  static constexpr unsigned kAll = 0xffffffffu;

  // Of the next few chunks that reach into the tile.
  __device__ int list_hits() {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    std::int32_t rois[kChunksAtOnce];
    TileRange reached[kChunksAtOnce];
#pragma unroll
    for (int i = 0; i < kChunksAtOnce; ++i, chunks_ &= chunks_ - 1) {
      rois[i] = (__ffs(chunks_) - 1) * TileRanges::kChunk + static_cast<int>(threadIdx.x);
      const std::int64_t k = std::int64_t{first_chunk_} * TileRanges::kChunk + rois[i];
      reached[i] = chunks_ != 0 && k < roi_count_ ? TileRange::at(ranges_.rois + k) : TileRange::none();
    }
    unsigned hits[kChunksAtOnce];
#pragma unroll
    for (int i = 0; i < kChunksAtOnce; ++i) {
      hits[i] = __ballot_sync(kAll, reached[i].holds(tile_.row, tile_.column));
      if (lane == 0) memory_.hits[i * kWarps + warp] = __popc(hits[i]);
    }
    __syncthreads();
    const int sum = sum_until(memory_.hits[lane], lane);
#pragma unroll
    for (int i = 0; i < kChunksAtOnce; ++i) {
      const int end = __shfl_sync(kAll, sum, i * kWarps + warp);
      const unsigned from_here = hits[i] >> lane;
      if (from_here & 1u) memory_.rois[end - __popc(from_here)] = rois[i];
    }
    __syncthreads();
    return __shfl_sync(kAll, sum, 31);
  }

  // Of the values of a warp's lanes up to this one.
  __device__ static int sum_until(int value, int lane) {
    static_assert(kChunksAtOnce * kWarps == 32, "a lane for each number of hits");
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const int before = __shfl_up_sync(kAll, value, distance);
      if (lane >= distance) value += before;
    }
    return value;
  }

  const TileRanges& ranges_;
  const std::int64_t roi_count_;
  const Tile& tile_;
  Memory& memory_;
  std::int32_t first_chunk_ = -32;
  unsigned chunks_ = 0;  // from first_chunk_ on, not looked at yet
};

}  // namespace fastmrcnn::cuda
