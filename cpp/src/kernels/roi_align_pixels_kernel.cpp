// RoIAlign on channels-last maps: every tap is a run of neighbouring channels. A bin's channels stay in registers while
// its taps stream by, so that each pixel is read once per bin and the bin is written once. Memory-bound.
#include "kernels/pack.h"
#include "kernels/roi_align_kernel.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

// One bin: the products of the taps [y_begin, y_end) and [x_begin, x_end).
template <class T>
struct Bin {
  const AxisTaps<T>& y;
  const AxisTaps<T>& x;
  int32_t y_begin, y_end, x_begin, x_end;
};

// Bin (i, j) without its taps outside the rows [row_begin, row_end). The taps of a bin ascend.
template <class T>
FM_KERNEL_INLINE Bin<T> bin_at(const RoiTaps<T>& roi, int32_t i, int32_t j, int64_t row_begin, int64_t row_end) {
  int32_t begin = roi.y.begin[i], end = roi.y.begin[i + 1];
  while (begin < end && roi.y.index[begin] < row_begin) ++begin;
  while (begin < end && roi.y.index[end - 1] >= row_end) --end;
  return {roi.y, roi.x, begin, end, roi.x.begin[j], roi.x.begin[j + 1]};
}

// Calls body(pixel, weight) for every tap of the bin.
template <class Feature, class Pooled, class T, class Body>
FM_KERNEL_INLINE void for_each_tap(const Pixels<Feature, Pooled>& map, const Bin<T>& bin, const Body& body) {
  for (int32_t a = bin.y_begin; a < bin.y_end; ++a) {
    Feature* row = map.features + (bin.y.index[a] - map.row_begin) * map.width * map.channels;
    for (int32_t b = bin.x_begin; b < bin.x_end; ++b) {
      body(row + bin.x.index[b] * map.channels, bin.y.weight[a] * bin.x.weight[b]);
    }
  }
}

template <int N>
struct Packs {};

// Calls body(Packs<N>, first channel) for blocks of N packs: the widest while they fit, then single ones. Returns the
// first channel that is left over.
template <class T, class Body>
FM_KERNEL_INLINE int64_t for_each_block(int64_t channels, const Body& body) {
  int64_t c = 0;
  for (; c + kMostPacks * kLanes<T> <= channels; c += kMostPacks * kLanes<T>) body(Packs<kMostPacks>{}, c);
  for (; c + kLanes<T> <= channels; c += kLanes<T>) body(Packs<1>{}, c);
  return c;
}

template <class S, int N>
FM_KERNEL_INLINE void gather_packs(Packs<N>, const Pixels<const S, S>& map, const Bin<Accumulator<S>>& bin, int64_t c,
                                   S* pooled) {
  Pack<S> sum[N] = {};
  for_each_tap(map, bin, [&](const S* pixel, Accumulator<S> weight) {
    FM_UNROLL
    for (int n = 0; n < N; ++n) sum[n] += load(pixel + c + n * kLanes<S>) * weight;
  });
  FM_UNROLL
  for (int n = 0; n < N; ++n) store(pooled + c + n * kLanes<S>, sum[n]);
}

template <class S, int N>
FM_KERNEL_INLINE void scatter_packs(Packs<N>, const Pixels<Accumulator<S>, const S>& map,
                                    const Bin<Accumulator<S>>& bin, int64_t c, const S* pooled) {
  Pack<S> gradient[N];
  FM_UNROLL
  for (int n = 0; n < N; ++n) gradient[n] = load(pooled + c + n * kLanes<S>);
  for_each_tap(map, bin, [&](Accumulator<S>* pixel, Accumulator<S> weight) {
    FM_UNROLL
    for (int n = 0; n < N; ++n) {
      Accumulator<S>* target = pixel + c + n * kLanes<S>;
      store(target, load(target) + gradient[n] * weight);
    }
  });
}

template <class S>
FM_KERNEL_INLINE void gather_bin(const Pixels<const S, S>& map, const Bin<Accumulator<S>>& bin, S* pooled) {
  int64_t c =
      for_each_block<S>(map.channels, [&](auto packs, int64_t block) { gather_packs(packs, map, bin, block, pooled); });
  for (; c < map.channels; ++c) {
    Accumulator<S> sum = 0;
    for_each_tap(map, bin, [&](const S* pixel, Accumulator<S> weight) { sum += value_of(pixel[c]) * weight; });
    assign(pooled[c], sum);
  }
}

template <class S>
FM_KERNEL_INLINE void scatter_bin(const Pixels<Accumulator<S>, const S>& map, const Bin<Accumulator<S>>& bin,
                                  const S* pooled) {
  if (bin.y_begin == bin.y_end) return;
  int64_t c = for_each_block<S>(map.channels,
                                [&](auto packs, int64_t block) { scatter_packs(packs, map, bin, block, pooled); });
  for (; c < map.channels; ++c) {
    const Accumulator<S> gradient = value_of(pooled[c]);
    for_each_tap(map, bin, [&](Accumulator<S>* pixel, Accumulator<S> weight) { pixel[c] += gradient * weight; });
  }
}

// Calls body(bin, its pooled values) for every bin of every RoI.
template <class Feature, class Pooled, class T, class Body>
FM_KERNEL_INLINE void for_each_bin(const Pixels<Feature, Pooled>& map, const RoiTaps<T>* rois, int64_t count,
                                   const Body& body) {
  for (int64_t k = 0; k < count; ++k) {
    const RoiTaps<T>& roi = rois[k];
    Pooled* pooled = map.pooled + roi.roi * roi.y.bins * roi.x.bins * map.channels;
    for (int32_t i = 0; i < roi.y.bins; ++i) {
      for (int32_t j = 0; j < roi.x.bins; ++j, pooled += map.channels) {
        body(bin_at(roi, i, j, map.row_begin, map.row_end), pooled);
      }
    }
  }
}

template <class S>
void gather(const Pixels<const S, S>& map, const RoiTaps<Accumulator<S>>* rois, int64_t count) {
  for_each_bin(map, rois, count, [&](const auto& bin, S* pooled) { gather_bin<S>(map, bin, pooled); });
}

template <class S>
void scatter(const Pixels<Accumulator<S>, const S>& map, const RoiTaps<Accumulator<S>>* rois, int64_t count) {
  for_each_bin(map, rois, count, [&](const auto& bin, const S* pooled) { scatter_bin<S>(map, bin, pooled); });
}

template <class S>
constexpr PixelsKernels<S> kKernels{gather<S>, scatter<S>};

}  // namespace

extern const PerStorage<PixelsKernels> roi_align_pixels{kKernels<float>, kKernels<double>, kKernels<Half>,
                                                        kKernels<BFloat16>};

}  // namespace fastmrcnn::FASTMRCNN_ISA
