// The gradient of RoIPool, without atomics: a block owns a tile of 8 x 8 pixels in some channels of one image, and sums
// what reaches it in shared memory. Each warp has 32 channels of its own, a lane each, so no two threads write one sum.
//
// The block looks at all RoIs, a block's worth of threads at a time, and lists those of its image that have bins on the
// tile, in their order. Its warps then go through the bins of each listed RoI that reach the tile, and add the
// gradients of those whose maximum lies on it. The tile is written once; no memory is filled before.
//
// Memory: each gradient and its argmax once for every tile that its bin reaches, about 1.5 of them, and every pixel
// written once. 1000 RoIs of 7 x 7 bins on two maps of 50 x 84 x 256: 150 MB of float32 and int32 read, of which L2 has
// a third, and 9 MB written: predicted 60 us on an H200 (4.3 TB/s), bound by issue as much as by memory. Looking at the
// RoIs is 5 MB from L2. On NCHW a lane reads its channel's own line, of which neighbouring bins use the rest from L1.
// One launch, no workspace; 37 KB of shared memory hold six blocks of four warps to a multiprocessor.
//
// Deterministic: sums run in the order of RoIs, then bins, in float32 (float64 for float64), and are rounded once.
#include "block_rank.cuh"
#include "fastmrcnn/dtype.h"
#include "fastmrcnn/geometry/quantised_roi.h"
#include "fastmrcnn/ops/roi_pool.h"
#include "launch.cuh"
#include "pack.cuh"

namespace fastmrcnn::cuda {
namespace {

using geometry::PixelBins;
using geometry::Quantised;
using geometry::Roi;

constexpr bool kEndInclusive = true;
constexpr int kSide = 8, kPixels = kSide * kSide;  // of a tile
constexpr int kLanes = 32;

// Wider sums, fewer warps in the shared memory of a block.
template <class T>
constexpr int kWarps = 16 / sizeof(T);

template <class S>
struct Call {
  using T = Accumulator<S>;

  const S* gradient;
  const Roi<T>* rois;
  const std::int32_t* argmax;
  S* grad_input;
  Quantised<T> rule;
  std::int64_t count, channels, height, width, bins_y, bins_x, images;
  std::int64_t tiles_y, tiles_x;
};

struct Tile {
  std::int64_t image, top, left;
};

// The bins of RoI k that reach a tile: rows [top, bottom) and columns [left, right) of its grid.
struct ReachingBins {
  std::int64_t k;
  std::int32_t top, bottom, left, right;
};

// Half-open range of bins.
struct BinRange {
  std::int32_t begin, end;
};

// The first of [0, bins) for which `holds`, which stays true from there on; else `bins`.
template <class Predicate>
__device__ std::int32_t first_bin(std::int64_t bins, const Predicate& holds) {
  std::int64_t low = 0, high = bins;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (holds(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return static_cast<std::int32_t>(low);
}

// Along one axis: the bins with a pixel in [from, from + kSide). The pixels of the bins of a RoI ascend.
template <class T>
__device__ BinRange bins_reaching(const PixelBins<T>& axis, std::int64_t bins, std::int64_t size, std::int64_t from,
                                  const Quantised<T>& rule) {
  const auto pixels = [&](std::int64_t bin) { return geometry::pixels_of_bin(axis, bin, size, rule); };
  if (pixels(0).begin >= from + kSide || pixels(bins - 1).end <= from) return {0, 0};
  return {first_bin(bins, [&](std::int64_t bin) { return pixels(bin).end > from; }),
          first_bin(bins, [&](std::int64_t bin) { return pixels(bin).begin >= from + kSide; })};
}

template <class S>
__device__ ReachingBins bins_of_roi(const Call<S>& call, std::int64_t k, const Tile& tile) {
  ReachingBins bins{k, 0, 0, 0, 0};
  if (k >= call.count) return bins;
  const auto roi = call.rois[k];
  if (geometry::image_of(roi, call.images) != tile.image) return bins;
  const auto y = geometry::pixel_bins(roi.y1, roi.y2, call.bins_y, call.rule);
  const auto x = geometry::pixel_bins(roi.x1, roi.x2, call.bins_x, call.rule);
  if (!y.valid || !x.valid) return bins;
  const BinRange rows = bins_reaching(y, call.bins_y, call.height, tile.top, call.rule);
  const BinRange columns = bins_reaching(x, call.bins_x, call.width, tile.left, call.rule);
  return {k, rows.begin, rows.end, columns.begin, columns.end};
}

// Distances between neighbours in the pooled tensor, and in a warp's sums. On NCHW a warp writes pixels of one channel
// at a time, which an odd distance keeps in different banks.
template <bool channels_last>
struct Layout {
  static constexpr int kPixelStep = channels_last ? kLanes : kLanes + 1;
  std::int64_t bins, channels;

  __device__ std::int64_t pooled(std::int64_t k, std::int64_t channel, std::int64_t bin) const {
    return channels_last ? (k * bins + bin) * channels + channel : (k * channels + channel) * bins + bin;
  }
};

// Adds the gradients of one channel that reach the tile from one RoI to the sums of its pixels.
template <bool channels_last, class S>
__device__ void add_roi(const Call<S>& call, const ReachingBins& bins, const Tile& tile, std::int64_t channel,
                        Accumulator<S>* sums) {
  const Layout<channels_last> layout{call.bins_y * call.bins_x, call.channels};
  const auto width = static_cast<std::int32_t>(call.width);
  const auto top = static_cast<std::int32_t>(tile.top), left = static_cast<std::int32_t>(tile.left);
  constexpr int kAhead = 4;  // bins whose loads are under way at once
  for (std::int64_t row = bins.top; row < bins.bottom; ++row) {
    for (std::int32_t column = bins.left; column < bins.right; column += kAhead) {
      std::int32_t place[kAhead];
      Accumulator<S> gradient[kAhead];
#pragma unroll
      for (int n = 0; n < kAhead; ++n) {
        const bool reaches = column + n < bins.right;
        const std::int64_t source = layout.pooled(bins.k, channel, row * call.bins_x + column + n);
        place[n] = reaches ? call.argmax[source] : -1;
        gradient[n] = reaches ? widened(call.gradient[source]) : 0;
      }
#pragma unroll
      for (int n = 0; n < kAhead; ++n) {
        const std::int32_t y = place[n] / width - top, x = place[n] % width - left;
        const bool on_tile = place[n] >= 0 && y >= 0 && y < kSide && x >= 0 && x < kSide;
        if (on_tile) sums[(y * kSide + x) * Layout<channels_last>::kPixelStep] += gradient[n];
      }
    }
  }
}

// Writes a warp's sums: neighbouring lanes have neighbouring channels, or neighbouring pixels of a row.
template <bool channels_last, class S>
__device__ void store_tile(const Call<S>& call, const Tile& tile, std::int64_t first_channel,
                           const Accumulator<S>* sums) {
  constexpr int kStep = Layout<channels_last>::kPixelStep;
  for (int item = static_cast<int>(threadIdx.x) % kLanes; item < kPixels * kLanes; item += kLanes) {
    const int pixel = channels_last ? item / kLanes : item % kPixels,
              lane = channels_last ? item % kLanes : item / kPixels;
    const std::int64_t y = tile.top + pixel / kSide, x = tile.left + pixel % kSide, channel = first_channel + lane;
    if (y >= call.height || x >= call.width || channel >= call.channels) continue;
    const std::int64_t target = channels_last
                                    ? ((tile.image * call.height + y) * call.width + x) * call.channels + channel
                                    : ((tile.image * call.channels + channel) * call.height + y) * call.width + x;
    narrow(call.grad_input[target], sums[pixel * kStep + lane]);
  }
}

// Grid: tiles of all images, then groups of channels.
template <bool channels_last, class S>
__global__ void __launch_bounds__(kWarps<Accumulator<S>>* kLanes) gather_maxima(const __grid_constant__ Call<S> call) {
  using T = Accumulator<S>;
  constexpr int kThreads = kWarps<T> * kLanes, kStep = Layout<channels_last>::kPixelStep;
  __shared__ T sums[kWarps<T>][kPixels * kStep];
  __shared__ ReachingBins listed[kThreads];

  const int lane = static_cast<int>(threadIdx.x) % kLanes, warp = static_cast<int>(threadIdx.x) / kLanes;
  const std::int64_t tiles = call.tiles_y * call.tiles_x, number = blockIdx.x % (call.images * tiles);
  const Tile tile{number / tiles, number % tiles / call.tiles_x * kSide, number % call.tiles_x * kSide};
  const std::int64_t group = blockIdx.x / (call.images * tiles);
  const std::int64_t first_channel = group * kThreads + warp * kLanes;
  const bool has_channel = first_channel + lane < call.channels;

  for (int pixel = 0; pixel < kPixels; ++pixel) sums[warp][pixel * kStep + lane] = 0;
  for (std::int64_t first = 0; first < call.count; first += kThreads) {
    const ReachingBins bins = bins_of_roi(call, first + threadIdx.x, tile);
    const bool reaches = bins.top < bins.bottom && bins.left < bins.right;
    const Rank rank = rank_in_block<kWarps<T>>(reaches);
    if (reaches) listed[rank.before] = bins;
    __syncthreads();
    for (int n = 0; has_channel && n < rank.total; ++n) {
      add_roi<channels_last>(call, listed[n], tile, first_channel + lane, sums[warp] + lane);
    }
    __syncthreads();
  }
  __syncwarp();
  store_tile<channels_last>(call, tile, first_channel, sums[warp]);
}

}  // namespace

void roi_pool_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                       const TensorView& argmax, double spatial_scale, const TensorView& grad_input) {
  constexpr const char* op = "roi_pool_backward";
  check_roi_pooling(op, {"grad_input", grad_input}, rois, {"grad_output", grad_output});
  check_writable(op, "grad_input", grad_input);
  check_argmax(op, {"grad_input", grad_input}, {"grad_output", grad_output}, argmax);
  if (grad_input.numel() == 0) return;
  dispatch_storage(op, "grad_input", grad_input.dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    using T = Accumulator<S>;
    const auto tiles_of = [](std::int64_t pixels) { return (pixels + kSide - 1) / kSide; };
    Call<S> call{};
    call.gradient = grad_output.as<const S>();
    call.rois = rois.as<const Roi<T>>();
    call.argmax = argmax.as<const std::int32_t>();
    call.grad_input = grad_input.as<S>();
    call.rule = {static_cast<T>(spatial_scale), kEndInclusive};
    call.count = rois.shape[0], call.images = grad_input.shape[0], call.channels = grad_input.shape[1];
    call.height = grad_input.shape[2], call.width = grad_input.shape[3];
    call.bins_y = grad_output.shape[2], call.bins_x = grad_output.shape[3];
    call.tiles_y = tiles_of(call.height), call.tiles_x = tiles_of(call.width);
    constexpr int kThreads = kWarps<T> * kLanes;
    const std::int64_t tiles = call.images * call.tiles_y * call.tiles_x;  // each of kPixels or more bytes of memory
    const unsigned blocks = blocks_for(tiles * ((call.channels + kThreads - 1) / kThreads), 1);
    const bool contiguous = grad_input.is_contiguous() && grad_output.is_contiguous();
    launch(op, context, contiguous ? gather_maxima<false, S> : gather_maxima<true, S>, {blocks, kThreads}, call);
  });
}

}  // namespace fastmrcnn::cuda
