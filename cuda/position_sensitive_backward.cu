// The gradients of position-sensitive pooling, without atomics: a block owns a tile of 8 x 16 pixels, a thread each, in
// the channels that one bin reads for up to eight output channels.
//
// The block looks at all RoIs, as many at a time as it has threads: each finds what its RoI's bin weighs along the
// tile's rows and columns, in shared memory, and the RoIs that weigh anything are listed in their order. Then each
// thread adds up its pixel, for its channels in registers. Everything is written once; no memory is filled before.
//
// Memory: writes the gradient once; gradients of pooled values are the same for all threads and come from L1. 300 RoIs
// of R-FCN, 7 x 7 bins, 21 channels, on a map of 38 x 63: 9.9 MB written by 2,940 blocks that look at 300 RoIs each,
// about 5 million instructions of a warp: predicted 15 us on an H200, bound by these. One launch, no workspace; 13 KB
// of shared memory in float32 and up to 80 registers hold six blocks of four warps to a multiprocessor at the least.
//
// Deterministic: sums run in the order of RoIs, in float32, or float64 for float64.
#include "block_rank.cuh"
#include "fastmrcnn/dtype.h"
#include "launch.cuh"
#include "position_sensitive.cuh"

namespace fastmrcnn::cuda {
namespace {

using geometry::Quantised;
using geometry::Sampling;

constexpr int kRows = 8, kColumns = 16, kThreads = kRows * kColumns, kWarps = kThreads / 32;
constexpr int kChannels = 8;  // of the pooled tensor, for a block

// What the bins of as many RoIs as a block has threads weigh on its tile, and which of them do.
template <class T>
struct Weights {
  T row[kThreads][kRows];
  T column[kThreads][kColumns];
  std::int32_t listed[kThreads];
};

// One block's share of the gradient.
struct Share {
  std::int64_t image, bin, top, left, first_channel;
};

template <class T, class Rule>
__device__ Share share_of(const PositionSensitiveCall<T, Rule>& call, std::int64_t block) {
  const std::int64_t tiles_x = (call.width + kColumns - 1) / kColumns, tiles_y = (call.height + kRows - 1) / kRows;
  const std::int64_t groups = (call.channels + kChannels - 1) / kChannels;
  const std::int64_t left = block % tiles_x * kColumns, top = block / tiles_x % tiles_y * kRows;
  const std::int64_t rest = block / (tiles_x * tiles_y);
  const std::int64_t group = rest % groups, bin = rest / groups % call.bins(), image = rest / groups / call.bins();
  return {image, bin, top, left, group * kChannels};
}

// Writes what the bin of one RoI weighs along a side of the tile that begins at pixel `from`, and says whether it does.
template <int kSide, class T, class Axis, class Rule>
__device__ bool weigh(const Axis& axis, const Rule& rule, std::int64_t bin, std::int64_t size, std::int64_t from,
                      T (&weights)[kSide]) {
  for (int n = 0; n < kSide; ++n) weights[n] = 0;
  bool any = false;
  for_each_weight(axis, rule, bin, size, {from, from + kSide}, [&](std::int32_t pixel, T weight) {
    weights[pixel - from] = weight;
    any = true;
  });
  return any;
}

template <class T, class Rule>
__device__ bool weigh_roi(const PositionSensitiveCall<T, Rule>& call, std::int64_t k, const Share& share,
                          T (&rows)[kRows], T (&columns)[kColumns]) {
  if (k >= call.roi_count) return false;
  const geometry::Roi<T> roi = call.rois[k];
  if (geometry::image_of(roi, call.images) != share.image) return false;
  const auto y_axis = axis_of(roi.y1, roi.y2, call.bins_y, call.rule);
  const auto x_axis = axis_of(roi.x1, roi.x2, call.bins_x, call.rule);
  return weigh(y_axis, call.rule, share.bin / call.bins_x, call.height, share.top, rows) &&
         weigh(x_axis, call.rule, share.bin % call.bins_x, call.width, share.left, columns);
}

// Adds what RoI k gives to a pixel, for the block's channels.
template <class T, class Rule>
__device__ void add_roi(const PositionSensitiveCall<T, Rule>& call, std::int64_t k, const Share& share, T weight,
                        T (&sums)[kChannels]) {
  if (weight == T(0)) return;  // not among the bin's pixels
#pragma unroll
  for (int n = 0; n < kChannels; ++n) {
    const std::int64_t c = share.first_channel + n;
    if (c < call.channels) sums[n] += call.pooled[call.pooled_place(k, c, share.bin)] * weight;
  }
}

template <class T, class Rule>
__global__ void __launch_bounds__(kThreads, 4)
    gather_position_sensitive(const __grid_constant__ PositionSensitiveCall<T, Rule> call, std::int64_t blocks) {
  __shared__ Weights<T> weights;
  const int row = static_cast<int>(threadIdx.x) / kColumns, column = static_cast<int>(threadIdx.x) % kColumns;
  for (std::int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const Share share = share_of(call, block);
    T sums[kChannels] = {};
    for (std::int64_t first = 0; first < call.roi_count; first += kThreads) {
      const bool weighs =
          weigh_roi(call, first + threadIdx.x, share, weights.row[threadIdx.x], weights.column[threadIdx.x]);
      const Rank rank = rank_in_block<kWarps>(weighs);
      if (weighs) weights.listed[rank.before] = static_cast<std::int32_t>(threadIdx.x);
      __syncthreads();
      for (int n = 0; n < rank.total; ++n) {
        const std::int32_t slot = weights.listed[n];
        add_roi(call, first + slot, share, weights.row[slot][row] * weights.column[slot][column], sums);
      }
      __syncthreads();
    }
    const std::int64_t y = share.top + row, x = share.left + column;
    if (y >= call.height || x >= call.width) continue;
#pragma unroll
    for (int n = 0; n < kChannels; ++n) {
      const std::int64_t c = share.first_channel + n;
      if (c < call.channels) call.features[call.feature_place(share.image, c, share.bin, y, x)] = sums[n];
    }
  }
}

template <class T, class Rule>
void gather(const char* op, const Context& context, const TensorView& grad_output, const TensorView& rois,
            const TensorView& grad_input, const Rule& rule) {
  if (grad_input.numel() == 0) return;
  const PositionSensitiveCall<T, Rule> call(grad_input, rois, grad_output, rule);
  const auto parts = [](std::int64_t items, std::int64_t size) { return (items + size - 1) / size; };
  const std::int64_t tiles = parts(call.height, kRows) * parts(call.width, kColumns);
  const std::int64_t blocks = call.images * tiles * call.bins_y * call.bins_x * parts(call.channels, kChannels);
  launch(op, context, gather_position_sensitive<T, Rule>, {blocks_for(blocks, 1), kThreads}, call, blocks);
}

}  // namespace

void ps_roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                           double spatial_scale, std::int64_t sampling_ratio, const TensorView& grad_input) {
  constexpr const char* op = "ps_roi_align_backward";
  check_position_sensitive(op, {"grad_input", grad_input}, rois, {"grad_output", grad_output});
  check_writable(op, "grad_input", grad_input);
  check_sampling_ratio(op, sampling_ratio);
  dispatch_floating(op, "grad_input", grad_input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr bool kAligned = true;
    const Sampling<T> rule{static_cast<T>(spatial_scale), sampling_ratio, kAligned};
    gather<T>(op, context, grad_output, rois, grad_input, rule);
  });
}

void ps_roi_pool_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                          double spatial_scale, const TensorView& grad_input) {
  constexpr const char* op = "ps_roi_pool_backward";
  check_position_sensitive(op, {"grad_input", grad_input}, rois, {"grad_output", grad_output});
  check_writable(op, "grad_input", grad_input);
  dispatch_floating(op, "grad_input", grad_input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr bool kEndInclusive = false;
    gather<T>(op, context, grad_output, rois, grad_input, Quantised<T>{static_cast<T>(spatial_scale), kEndInclusive});
  });
}

}  // namespace fastmrcnn::cuda
