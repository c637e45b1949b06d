// RoIAlign of channels-last features: lanes along the channels.
#pragma once

#include "launch.cuh"
#include "roi_align_taps.cuh"

namespace fastmrcnn::cuda {

// Adds up a bin's taps for the channels that begin at `features`. So many packs of a row are on their way at once.
template <class S, int kWidth, class T>
__device__ __forceinline__ void add_bin(const S* features, std::int64_t row_step, std::int64_t channels,
                                        const BinTaps<T>& y, const BinTaps<T>& x, Sums<S, kWidth>& sums) {
  constexpr int kAtOnce = 4;
  for (int i = 0; i < y.count; ++i) {
    const S* const row = features + y.pixels[i] * row_step;
    for (int j = 0; j < x.count; j += kAtOnce) {
      Pack<S, kWidth> packs[kAtOnce];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        if (j + k < x.count) packs[k] = load_pack<kWidth>(row + x.pixels[j + k] * channels);
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        if (j + k < x.count) sums.add(y.weights[i] * x.weights[j + k], packs[k]);
      }
    }
  }
}

// Seven warps: the grids of Mask R-CNN are 7 x 7 and 14 x 14.
constexpr int kPixelThreads = 7 * 32;

// A block takes shape.rows rows of a RoI's bins. Threads: x along packs of channels, y along bins.
template <class S, int kWidth>
__global__ void __launch_bounds__(kPixelThreads, kBlocksPerSm<Accumulator<S>>)
    roi_align_pixels(const __grid_constant__ RoiAlignCall<S> call, const __grid_constant__ TableShape shape) {
  using T = Accumulator<S>;
  extern __shared__ __align__(16) unsigned char memory[];
  const TapTables<T> tables(memory, shape);
  const std::int32_t slabs = (call.bins_y + shape.rows - 1) / shape.rows;
  for (std::int64_t work = blockIdx.x; work < call.roi_count * slabs; work += gridDim.x) {
    const std::int64_t k = work / slabs;
    const std::int32_t first_row = static_cast<std::int32_t>(work % slabs) * shape.rows;
    const geometry::Roi<T> roi = call.rois[k];
    const RoiPlace place = place_of(call, roi);
    tables.fill(call, roi, place, first_row);

    const FeatureMaps<S>& level = call.levels[place.level];
    const std::int64_t row_step = level.width * call.channels;
    const S* const image = level.data + place.image * call.image_size(level);
    S* const pooled = call.pooled + (k * call.bins_y + first_row) * call.bins_x * call.channels;
    const std::int32_t bins = min(shape.rows, call.bins_y - first_row) * call.bins_x;
    for (std::int32_t bin = threadIdx.y; bin < bins; bin += blockDim.y) {
      const BinTaps<T> y = tables.row(bin / call.bins_x), x = tables.column(bin % call.bins_x);
      for (std::int64_t c = threadIdx.x * kWidth; c < call.channels; c += blockDim.x * kWidth) {
        Sums<S, kWidth> sums(start_of<T>(place));
        add_bin(image + c, row_step, call.channels, y, x, sums);
        stream_pack(pooled + bin * call.channels + c, sums.stored());
      }
    }
    __syncthreads();  // before the tables are filled anew
  }
}

struct PixelLaunch {
  TableShape tables;
  dim3 grid, block;
};

// As many lanes as a pixel has packs, a warp at most; as many rows of bins as give each thread several packs to sum up
// and the device enough blocks for a hundred RoIs.
template <int kWidth, class S>
PixelLaunch pixel_launch(const RoiAlignCall<S>& call) {
  constexpr std::int64_t kPacksPerBlock = 8 * kPixelThreads;
  const std::int64_t packs = (call.channels + kWidth - 1) / kWidth;
  unsigned lanes = 1;
  while (lanes < packs && lanes < 32) lanes *= 2;
  const std::int64_t most_rows = std::max<std::int64_t>(kPacksPerBlock / packs / call.bins_x, 1);
  const std::int64_t slabs = (call.bins_y + most_rows - 1) / most_rows;
  const auto rows = static_cast<std::int32_t>((call.bins_y + slabs - 1) / slabs);
  return {TableShape::of(call, rows), blocks_for(call.roi_count * slabs, 1), dim3(lanes, kPixelThreads / lanes)};
}

}  // namespace fastmrcnn::cuda
