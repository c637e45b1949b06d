// RoIPool. A block takes up to 64 bins of one RoI and 32 units of its channels: a unit is 16 bytes of neighbouring
// channels on channels-last maps, one plane on NCHW maps. It looks up the pixels of its bins once, in shared memory;
// then each thread walks through the pixels of a bin for a unit.
//
// Channels-last: a warp has one bin and 512 neighbouring bytes of every pixel, so its lanes stay together and each load
// fills four lines. NCHW: neighbouring lanes have neighbouring bins of a plane, whose pixels share lines in L1.
// Channels that are no multiple of 16 bytes are read one by one.
//
// Memory: each pixel of a RoI once from L2 (neighbouring bins may share pixels), and writes of output and argmax. 1000
// RoIs, 7 x 7 bins, 256 channels, 12 x 12 pixels a RoI: 147 MB of float32 from L2 and 100 MB written: predicted 45 us
// on an H200 (4.3 TB/s, L2 about twice that), 30 us in half types. One launch of 2000 blocks; at most 64 registers, so
// half of all warps at least. Deterministic; compared in float32, or float64 for float64.
#include "fastmrcnn/ops/roi_pool.h"

#include <cmath>

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/geometry/quantised_roi.h"
#include "launch.cuh"
#include "pack.cuh"

namespace fastmrcnn::cuda {
namespace {

using geometry::Quantised;
using geometry::Roi;

constexpr bool kEndInclusive = true;
constexpr int kThreads = 256;
constexpr int kBins = 64, kUnits = 32;  // of a block

// The tensors of a call, and how its blocks share them out.
template <class S>
struct Call {
  using T = Accumulator<S>;

  const S* features;
  const Roi<T>* rois;
  S* output;
  std::int32_t* argmax;
  Quantised<T> rule;
  std::int64_t images, channels, height, width, bins_y, bins_x;
  std::int64_t units, bin_blocks, unit_blocks, blocks;
};

// Half-open ranges of rows and columns.
struct BinPixels {
  std::int32_t top, bottom, left, right;
};

template <class S>
__device__ BinPixels pixels_of(const Call<S>& call, const Roi<Accumulator<S>>& roi, std::int64_t bin) {
  const auto y = geometry::pixel_bins(roi.y1, roi.y2, call.bins_y, call.rule);
  const auto x = geometry::pixel_bins(roi.x1, roi.x2, call.bins_x, call.rule);
  const auto rows = geometry::pixels_of_bin(y, bin / call.bins_x, call.height, call.rule);
  const auto columns = geometry::pixels_of_bin(x, bin % call.bins_x, call.width, call.rule);
  return {static_cast<std::int32_t>(rows.begin), static_cast<std::int32_t>(rows.end),
          static_cast<std::int32_t>(columns.begin), static_cast<std::int32_t>(columns.end)};
}

// How many values a load of 16 bytes brings.
template <class S>
constexpr int kPackLength = 16 / sizeof(S);

// The maxima of N neighbouring channels, and their places, in as many words as they take.
template <class S, int N>
struct Maxima {
  static constexpr int kPlaces = N < kPackLength<std::int32_t> ? N : kPackLength<std::int32_t>;

  Pack<S, N> value{};
  std::int32_t place[N];

  __device__ void store(S* output, std::int32_t* argmax) const {
    stream_pack(output, value);
#pragma unroll
    for (int n = 0; n < N; n += kPlaces) {
      Pack<std::int32_t, kPlaces> places;
      memcpy(&places, place + n, sizeof places);
      stream_pack(argmax + n, places);
    }
  }
};

// `pixels`: the unit's values in pixel 0 of the map; those of the next pixel lie `step` values on.
template <int N, class S>
__device__ Maxima<S, N> maxima_of(const S* pixels, std::int64_t step, std::int32_t width, const BinPixels& bin) {
  Maxima<S, N> best;
#pragma unroll
  for (int n = 0; n < N; ++n) best.place[n] = -1;
  for (std::int32_t y = bin.top; y < bin.bottom; ++y) {
#pragma unroll 4
    for (std::int32_t x = bin.left; x < bin.right; ++x) {
      const std::int32_t place = y * width + x;
      const Pack<S, N> pixel = load_pack<N>(pixels + place * step);
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const auto value = widened(pixel.values[n]);
        const bool better = best.place[n] < 0 || value > widened(best.value.values[n]) || value != value;
        best.value.values[n] = better ? pixel.values[n] : best.value.values[n];
        best.place[n] = better ? place : best.place[n];
      }
    }
  }
  return best;
}

// A RoI of no image has no pixels, and shows as NaN.
template <class S, int N>
__device__ Maxima<S, N> nan_maxima() {
  Maxima<S, N> none;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    narrow(none.value.values[n], static_cast<Accumulator<S>>(NAN));
    none.place[n] = -1;
  }
  return none;
}

// Pools RoI k in unit `unit` of its channels.
template <bool channels_last, int N, class S>
__device__ void pool(const Call<S>& call, std::int64_t k, std::int64_t image, std::int64_t bin, std::int64_t unit,
                     const BinPixels& pixels) {
  const std::int64_t area = call.height * call.width, bins = call.bins_y * call.bins_x;
  const std::int64_t target =
      channels_last ? (k * bins + bin) * call.channels + unit * N : (k * call.channels + unit) * bins + bin;
  const std::int64_t source = channels_last ? unit * N : unit * area, step = channels_last ? call.channels : 1;
  const Maxima<S, N> best = image < 0 ? nan_maxima<S, N>()
                                      : maxima_of<N>(call.features + image * call.channels * area + source, step,
                                                     static_cast<std::int32_t>(call.width), pixels);
  best.store(call.output + target, call.argmax + target);
}

template <bool channels_last, int N, class S>
__global__ void __launch_bounds__(kThreads, 4) pool_maxima(const __grid_constant__ Call<S> call) {
  __shared__ BinPixels pixels[kBins];
  for (std::int64_t block = blockIdx.x; block < call.blocks; block += gridDim.x) {
    const std::int64_t first_unit = block % call.unit_blocks * kUnits, rest = block / call.unit_blocks;
    const std::int64_t first_bin = rest % call.bin_blocks * kBins, k = rest / call.bin_blocks;
    const int bins = static_cast<int>(min(std::int64_t{kBins}, call.bins_y * call.bins_x - first_bin));
    const int units = static_cast<int>(min(std::int64_t{kUnits}, call.units - first_unit));
    const auto roi = call.rois[k];
    const std::int64_t image = geometry::image_of(roi, call.images);
    if (threadIdx.x < bins) pixels[threadIdx.x] = pixels_of(call, roi, first_bin + threadIdx.x);
    __syncthreads();
    // Lanes of a warp: units of one bin, or bins of one plane.
    const int inner = channels_last ? kUnits : bins, items = channels_last ? bins * kUnits : bins * units;
    for (int item = threadIdx.x; item < items; item += kThreads) {
      const int bin = channels_last ? item / inner : item % inner, unit = channels_last ? item % inner : item / inner;
      if (unit < units) {
        pool<channels_last, N>(call, k, image, first_bin + bin, first_unit + unit, pixels[bin]);
      }
    }
    __syncthreads();
  }
}

template <bool channels_last, int N, class S>
void launch_pool(const Context& context, Call<S> call, std::int64_t rois) {
  const auto blocks_of = [](std::int64_t items, std::int64_t size) { return (items + size - 1) / size; };
  call.units = call.channels / N;
  call.unit_blocks = blocks_of(call.units, kUnits);
  call.bin_blocks = blocks_of(call.bins_y * call.bins_x, kBins);
  call.blocks = rois * call.bin_blocks * call.unit_blocks;
  launch("roi_pool", context, pool_maxima<channels_last, N, S>, {blocks_for(call.blocks, 1), kThreads}, call);
}

}  // namespace

void roi_pool(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
              const TensorView& output, const TensorView& argmax) {
  check_roi_pooling("roi_pool", {"input", input}, rois, {"output", output});
  check_writable("roi_pool", "output", output);
  check_argmax("roi_pool", {"input", input}, {"output", output}, argmax);
  check_writable("roi_pool", "argmax", argmax);
  if (output.numel() == 0) return;
  dispatch_storage("roi_pool", "input", input.dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    using T = Accumulator<S>;
    Call<S> call{};
    call.features = input.as<const S>();
    call.rois = rois.as<const Roi<T>>();
    call.output = output.as<S>();
    call.argmax = argmax.as<std::int32_t>();
    call.rule = {static_cast<T>(spatial_scale), kEndInclusive};
    call.images = input.shape[0], call.channels = input.shape[1];
    call.height = input.shape[2], call.width = input.shape[3];
    call.bins_y = output.shape[2], call.bins_x = output.shape[3];
    constexpr int kPack = kPackLength<S>;
    const bool packs = holds_packs<kPack>(call.features, call.channels) &&
                       holds_packs<kPack>(call.output, call.channels) &&
                       holds_packs<Maxima<S, kPack>::kPlaces>(call.argmax, call.channels);
    if (input.is_contiguous() && output.is_contiguous()) return launch_pool<false, 1>(context, call, rois.shape[0]);
    if (!packs) return launch_pool<true, 1>(context, call, rois.shape[0]);
    launch_pool<true, kPack>(context, call, rois.shape[0]);
  });
}

}  // namespace fastmrcnn::cuda
