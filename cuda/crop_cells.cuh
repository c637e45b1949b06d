// Mask targets from pixels, whatever holds them: RoIAlign's sums of bitmaps and of bits.
//
// A block makes 8 x 32 cells of one target. It puts the taps of their rows and columns into shared memory, merged as on
// the CPU; then eight lanes share a cell, each adding up the column of pixels of one tap along x, and add their columns
// in the order of the taps: the CPU's sums, to the last bit. Neighbouring lanes read neighbouring pixels.
#pragma once

#include <cub/block/block_scan.cuh>

#include "fastmrcnn/geometry/box.h"
#include "fastmrcnn/geometry/roi.h"
#include "launch.cuh"

namespace fastmrcnn::cuda {

constexpr int kCropThreads = 256;
constexpr int kCellLanes = 8;
constexpr int kTileRows = 8, kTileColumns = 32;  // of cells
constexpr int kKeptTaps = 4096;

// `Pixels` gives the float value of a pixel: pixels.column(object, column).at(row).
template <class Pixels>
struct CropCall {
  Pixels pixels;
  const geometry::Box<float>* boxes;
  const std::int64_t* matched;
  std::int64_t objects, height, width;
  std::int64_t size;  // cells on a side
  bool aligned, binary;
  float* cropped;  // [P, size, size]
};

// The cells of a block.
struct CropTile {
  std::int64_t first_row, first_column;
  int rows, columns;

  __device__ static CropTile of(std::int64_t tile, std::int64_t size) {
    const std::int64_t across = (size + kTileColumns - 1) / kTileColumns;
    const std::int64_t row = tile / across * kTileRows, column = tile % across * kTileColumns;
    return {row, column, static_cast<int>(geometry::min_of(size - row, std::int64_t{kTileRows})),
            static_cast<int>(geometry::min_of(size - column, std::int64_t{kTileColumns}))};
  }
};

inline std::int64_t crop_tiles(std::int64_t size) {
  return (size + kTileColumns - 1) / kTileColumns * ((size + kTileRows - 1) / kTileRows);
}

// Both axes of a RoI. Without samples along one it has none.
struct CropAxes {
  geometry::AxisBins<float> y, x;

  __device__ static CropAxes of(const geometry::Box<float>& box, std::int64_t size, bool aligned) {
    const geometry::Sampling<float> sampling{1.0f, 0, aligned};
    const CropAxes axes{geometry::axis_bins(box.y1, box.y2, size, sampling),
                        geometry::axis_bins(box.x1, box.x2, size, sampling)};
    return axes.y.samples == 0 || axes.x.samples == 0 ? CropAxes{} : axes;
  }
};

// The taps of a tile's bins in shared memory, those of its rows first.
class TileTaps {
 public:
  // By all threads, which are in step afterwards. False where there are too many, as for a box of thousands of pixels.
  __device__ bool fill(const CropAxes& axes, const CropTile& tile, std::int64_t height, std::int64_t width) {
    const int bin = static_cast<int>(threadIdx.x), bins = tile.rows + tile.columns;
    const bool vertical = bin < tile.rows;
    const geometry::AxisBins<float> axis = vertical ? axes.y : axes.x;
    const std::int64_t first = vertical ? tile.first_row : tile.first_column - tile.rows;
    const std::int64_t side = vertical ? height : width;
    const auto visit_taps = [&](const auto& visit) {
      if (bin < bins) geometry::for_each_tap(axis, first + bin, side, {0, side}, visit);
    };
    int count = 0, begin, total;
    visit_taps([&](std::int32_t, float) { ++count; });
    cub::BlockScan<int, kCropThreads>(scan_).ExclusiveSum(count, begin, total);
    if (bin < bins) begin_[bin] = begin;
    if (bin == 0) begin_[bins] = total;
    const bool fits = total <= kKeptTaps;
    if (fits) {
      visit_taps([&](std::int32_t pixel, float weight) {
        pixel_[begin] = pixel;
        weight_[begin++] = weight;
      });
    }
    __syncthreads();
    return fits;
  }

  // The share of a cell that the object covers, for all lanes of the cell.
  template <class Pixels>
  __device__ float share(const Pixels& pixels, std::int64_t object, int row, int column) const {
    const int lane = static_cast<int>(threadIdx.x) % kCellLanes;
    const unsigned lanes = ((1u << kCellLanes) - 1) << (threadIdx.x % warpSize / kCellLanes * kCellLanes);
    float sum = 0;
    for (int first = begin_[column]; first < begin_[column + 1]; first += kCellLanes) {
      const int tap = first + lane;
      const float part =
          tap < begin_[column + 1] ? column_sum(pixels.column(object, pixel_[tap]), row) * weight_[tap] : 0;
#pragma unroll
      for (int k = 0; k < kCellLanes; ++k) sum += __shfl_sync(lanes, part, k, kCellLanes);
    }
    return sum;
  }

 private:
  template <class Column>
  __device__ float column_sum(Column&& pixels, int row) const {
    float sum = 0;
#pragma unroll 4
    for (int tap = begin_[row]; tap < begin_[row + 1]; ++tap) sum += pixels.at(pixel_[tap]) * weight_[tap];
    return sum;
  }

  std::int32_t pixel_[kKeptTaps];
  float weight_[kKeptTaps];
  int begin_[kTileRows + kTileColumns + 1];
  cub::BlockScan<int, kCropThreads>::TempStorage scan_;
};

// The same share without a table: the taps are found anew for every column.
template <class Pixels>
__device__ float share_without_table(const CropCall<Pixels>& call, const CropAxes& axes, std::int64_t object,
                                     std::int64_t row, std::int64_t column) {
  float share = 0;
  geometry::for_each_tap(axes.x, column, call.width, {0, call.width}, [&](std::int32_t x, float weight_x) {
    auto pixels = call.pixels.column(object, x);
    float sum = 0;
    geometry::for_each_tap(axes.y, row, call.height, {0, call.height},
                           [&](std::int32_t y, float weight_y) { sum += pixels.at(y) * weight_y; });
    share += sum * weight_x;
  });
  return share;
}

template <class Pixels>
__global__ void __launch_bounds__(kCropThreads, 2) crop_cells(CropCall<Pixels> call, std::int64_t tiles) {
  __shared__ TileTaps taps;
  const std::int64_t p = blockIdx.x / tiles, object = call.matched[p];
  const CropTile tile = CropTile::of(blockIdx.x % tiles, call.size);
  float* const target = call.cropped + (p * call.size + tile.first_row) * call.size + tile.first_column;
  const bool known = object >= 0 && object < call.objects;
  if (known && call.pixels.is_drawn_elsewhere(object)) return;
  const CropAxes axes = known ? CropAxes::of(call.boxes[p], call.size, call.aligned) : CropAxes{};
  const bool kept = taps.fill(axes, tile, call.height, call.width);
  const int first = static_cast<int>(threadIdx.x) / kCellLanes;
  for (int cell = first; cell < tile.rows * tile.columns; cell += kCropThreads / kCellLanes) {
    const int row = cell / tile.columns, column = cell % tile.columns;
    float share = kept ? taps.share(call.pixels, object, row, tile.rows + column)
                       : share_without_table(call, axes, object, tile.first_row + row, tile.first_column + column);
    if (call.binary) share = share >= 0.5f ? 1.0f : 0.0f;
    if (threadIdx.x % kCellLanes == 0) target[row * call.size + column] = known ? share : NAN;
  }
}

template <class Pixels>
void launch_crop(const Context& context, const CropCall<Pixels>& call, std::int64_t count) {
  const std::int64_t tiles = crop_tiles(call.size);
  launch("crop_masks", context, crop_cells<Pixels>, {all_blocks("crop_masks", count * tiles), kCropThreads}, call,
         tiles);
}

}  // namespace fastmrcnn::cuda
