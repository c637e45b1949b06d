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

// Bin (i, j) without its taps outside the map's rows. The taps of a bin ascend.
template <class T>
FM_KERNEL_INLINE Bin<T> bin_at(const Pixels<T>& map, const RoiTaps<T>& roi, int32_t i, int32_t j) {
  int32_t begin = roi.y.begin[i], end = roi.y.begin[i + 1];
  while (begin < end && roi.y.index[begin] < map.row_begin) ++begin;
  while (begin < end && roi.y.index[end - 1] >= map.row_end) --end;
  return {roi.y, roi.x, begin, end, roi.x.begin[j], roi.x.begin[j + 1]};
}

// Calls body(pixel, weight) for every tap of the bin.
template <class T, class Body>
FM_KERNEL_INLINE void for_each_tap(const Pixels<T>& map, const Bin<T>& bin, const Body& body) {
  for (int32_t a = bin.y_begin; a < bin.y_end; ++a) {
    T* row = map.features + bin.y.index[a] * map.width * map.channels;
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

template <class T, int N>
FM_KERNEL_INLINE void gather_packs(Packs<N>, const Pixels<T>& map, const Bin<T>& bin, int64_t c, T* pooled) {
  Pack<T> sum[N] = {};
  for_each_tap(map, bin, [&](const T* pixel, T weight) {
    FM_UNROLL
    for (int n = 0; n < N; ++n) sum[n] += load(pixel + c + n * kLanes<T>) * weight;
  });
  FM_UNROLL
  for (int n = 0; n < N; ++n) store(pooled + c + n * kLanes<T>, sum[n]);
}

template <class T, int N>
FM_KERNEL_INLINE void scatter_packs(Packs<N>, const Pixels<T>& map, const Bin<T>& bin, int64_t c, T* pooled) {
  Pack<T> gradient[N];
  FM_UNROLL
  for (int n = 0; n < N; ++n) gradient[n] = load(pooled + c + n * kLanes<T>);
  for_each_tap(map, bin, [&](T* pixel, T weight) {
    FM_UNROLL
    for (int n = 0; n < N; ++n) {
      T* target = pixel + c + n * kLanes<T>;
      store(target, load(target) + gradient[n] * weight);
    }
  });
}

template <class T>
void gather_bin(const Pixels<T>& map, const Bin<T>& bin, T* pooled) {
  int64_t c =
      for_each_block<T>(map.channels, [&](auto packs, int64_t block) { gather_packs(packs, map, bin, block, pooled); });
  for (; c < map.channels; ++c) {
    T sum = 0;
    for_each_tap(map, bin, [&](const T* pixel, T weight) { sum += pixel[c] * weight; });
    pooled[c] = sum;
  }
}

template <class T>
void scatter_bin(const Pixels<T>& map, const Bin<T>& bin, T* pooled) {
  if (bin.y_begin == bin.y_end) return;
  int64_t c = for_each_block<T>(map.channels,
                                [&](auto packs, int64_t block) { scatter_packs(packs, map, bin, block, pooled); });
  for (; c < map.channels; ++c) {
    for_each_tap(map, bin, [&](T* pixel, T weight) { pixel[c] += pooled[c] * weight; });
  }
}

template <class T, void (*kBinKernel)(const Pixels<T>&, const Bin<T>&, T*)>
void for_each_bin(const Pixels<T>& map, const RoiTaps<T>* rois, int64_t count) {
  for (int64_t k = 0; k < count; ++k) {
    const RoiTaps<T>& roi = rois[k];
    T* pooled = map.pooled + roi.roi * roi.y.bins * roi.x.bins * map.channels;
    for (int32_t i = 0; i < roi.y.bins; ++i) {
      for (int32_t j = 0; j < roi.x.bins; ++j, pooled += map.channels) {
        kBinKernel(map, bin_at(map, roi, i, j), pooled);
      }
    }
  }
}

}  // namespace

void roi_align_pixels_f32(const Pixels<float>& map, const RoiTaps<float>* rois, int64_t count) {
  for_each_bin<float, gather_bin<float>>(map, rois, count);
}

void roi_align_pixels_f64(const Pixels<double>& map, const RoiTaps<double>* rois, int64_t count) {
  for_each_bin<double, gather_bin<double>>(map, rois, count);
}

void roi_align_pixels_backward_f32(const Pixels<float>& map, const RoiTaps<float>* rois, int64_t count) {
  for_each_bin<float, scatter_bin<float>>(map, rois, count);
}

void roi_align_pixels_backward_f64(const Pixels<double>& map, const RoiTaps<double>* rois, int64_t count) {
  for_each_bin<double, scatter_bin<double>>(map, rois, count);
}

}  // namespace fastmrcnn::FASTMRCNN_ISA
