// RoIPool. On channels-last maps neighbouring channels are compared at once, and stay in registers over a bin's pixels.
// On NCHW maps neighbouring columns are compared over the rows of a bin first, and then those of each bin.
#include "kernels/roi_pool_kernel.h"

#include "kernels/columns.h"
#include "kernels/pack.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

template <class S>
using IndexPack = Pack<Index<S>>;

// Maxima and their places, of neighbouring channels or columns.
template <class S>
struct MaximumPack {
  Pack<S> value;
  IndexPack<S> place;
};

// `first` tells that there is nothing to compare with yet.
template <class S>
FM_KERNEL_INLINE void compare(MaximumPack<S>& best, Pack<S> value, Index<S> place, bool first) {
  const IndexPack<S> places = IndexPack<S>{} + place;
  if (first) {
    best = {value, places};
    return;
  }
  const auto better = (value > best.value) | (value != value);
  best.value = better ? value : best.value;
  best.place = better ? places : best.place;
}

FM_KERNEL_INLINE void store_places(int32_t* target, Pack<int32_t> places) {
  store(target, places);
}
FM_KERNEL_INLINE void store_places(int32_t* target, Pack<int64_t> places) {
  int64_t lanes[kLanes<int64_t>];
  store(lanes, places);
  for (int lane = 0; lane < kLanes<int64_t>; ++lane) target[lane] = static_cast<int32_t>(lanes[lane]);
}

// One maximum and its place.
template <class S>
struct Maximum {
  Accumulator<S> value = 0;
  int32_t place = -1;
};

template <class S>
FM_KERNEL_INLINE void compare(Maximum<S>& best, Accumulator<S> value, int64_t place) {
  if (best.place < 0 || value > best.value || value != value) best = {value, static_cast<int32_t>(place)};
}

// Calls body(pixel, place, first) for every pixel of bin (i, j).
template <class S, class T, class Body>
FM_KERNEL_INLINE void for_each_pixel(const Pixels<const S, S>& map, const RoiTaps<T>& roi, int32_t i, int32_t j,
                                     const Body& body) {
  bool first = true;
  for (int32_t a = roi.y.begin[i]; a < roi.y.begin[i + 1]; ++a) {
    for (int32_t b = roi.x.begin[j]; b < roi.x.begin[j + 1]; ++b) {
      const int64_t place = roi.y.index[a] * map.width + roi.x.index[b];
      body(map.features + place * map.channels, place, first);
      first = false;
    }
  }
}

// N packs of channels of one bin.
template <int N, class S, class T>
FM_KERNEL_INLINE void pool_packs(const Pixels<const S, S>& map, const RoiTaps<T>& roi, int32_t i, int32_t j, int64_t c,
                                 S* pooled, int32_t* argmax) {
  MaximumPack<S> best[N];
  FM_UNROLL
  for (int n = 0; n < N; ++n) best[n] = {Pack<S>{}, IndexPack<S>{} - Index<S>{1}};
  for_each_pixel(map, roi, i, j, [&](const S* pixel, int64_t place, bool first) {
    FM_UNROLL
    for (int n = 0; n < N; ++n) {
      compare<S>(best[n], load(pixel + c + n * kLanes<S>), static_cast<Index<S>>(place), first);
    }
  });
  FM_UNROLL
  for (int n = 0; n < N; ++n) {
    store(pooled + c + n * kLanes<S>, best[n].value);
    store_places(argmax + c + n * kLanes<S>, best[n].place);
  }
}

template <class S, class T>
FM_KERNEL_INLINE void pool_bin(const Pixels<const S, S>& map, const RoiTaps<T>& roi, int32_t i, int32_t j, S* pooled,
                               int32_t* argmax) {
  constexpr int kPacks = kMostPacks / 2;
  int64_t c = 0;
  if constexpr (kPacks > 1) {
    for (; c + kPacks * kLanes<S> <= map.channels; c += kPacks * kLanes<S>) {
      pool_packs<kPacks>(map, roi, i, j, c, pooled, argmax);
    }
  }
  for (; c + kLanes<S> <= map.channels; c += kLanes<S>) pool_packs<1>(map, roi, i, j, c, pooled, argmax);
  for (; c < map.channels; ++c) {
    Maximum<S> best;
    for_each_pixel(map, roi, i, j,
                   [&](const S* pixel, int64_t place, bool) { compare(best, value_of(pixel[c]), place); });
    assign(pooled[c], best.value);
    argmax[c] = best.place;
  }
}

template <class S, class T>
void pool_pixels(const Pixels<const S, S>& map, int32_t* argmax, const RoiTaps<T>* rois, int64_t count) {
  for (int64_t k = 0; k < count; ++k) {
    const RoiTaps<T>& roi = rois[k];
    int64_t offset = roi.roi * roi.y.bins * roi.x.bins * map.channels;
    for (int32_t i = 0; i < roi.y.bins; ++i) {
      for (int32_t j = 0; j < roi.x.bins; ++j, offset += map.channels) {
        pool_bin(map, roi, i, j, map.pooled + offset, argmax + offset);
      }
    }
  }
}

// The integers of ColumnMaxima from a maximum and its place, of one column or of a pack of them.
template <class S, class Value, class Integer>
FM_KERNEL_INLINE void store_rank(Value value, Integer place, Index<S>* key, Index<S>* tie) {
  constexpr int kSign = 8 * sizeof(Index<S>) - 1;
  constexpr auto kTop = static_cast<Index<S>>(~uint64_t{0} >> (64 - kSign));
  const Integer bits = half_bits::bit_cast<Integer>(Value(value + Value{}));  // zero has one sign
  const Integer ordered = bits ^ ((bits >> kSign) & kTop), top = Integer{} + kTop;
  const auto is_nan = value != value;
  const Integer keys = is_nan ? top : ordered, ties = is_nan ? place : -place;
  memcpy(key, &keys, sizeof keys);
  memcpy(tie, &ties, sizeof ties);
}

template <class S>
FM_KERNEL_INLINE IndexPack<S> ascending(Index<S> from) {
  IndexPack<S> lanes;
  Index<S> values[kLanes<S>];
  for (int lane = 0; lane < kLanes<S>; ++lane) values[lane] = from + lane;
  memcpy(&lanes, values, sizeof lanes);
  return lanes;
}

// Over the rows of bins i, for the RoI's columns.
template <class S, class T>
FM_KERNEL_INLINE void compare_rows(const S* plane, int64_t map_width, const RoiTaps<T>& roi, const Columns& columns,
                                   int32_t i, const ColumnMaxima<S>& maxima) {
  const int32_t begin = roi.y.begin[i], end = roi.y.begin[i + 1];
  const auto place_of = [&](int32_t a) { return static_cast<Index<S>>(roi.y.index[a] * map_width); };
  int64_t column = 0;
  for (; column + kLanes<S> <= columns.width; column += kLanes<S>) {
    const auto x = static_cast<Index<S>>(columns.origin + column);
    MaximumPack<S> best = {};
    for (int32_t a = begin; a < end; ++a) compare<S>(best, load(plane + place_of(a) + x), place_of(a), a == begin);
    const IndexPack<S> place = best.place + ascending<S>(x);
    store_rank<S>(best.value, place, maxima.key + column, maxima.tie + column);
  }
  for (; column < columns.width; ++column) {
    const auto x = static_cast<Index<S>>(columns.origin + column);
    Maximum<S> best;
    for (int32_t a = begin; a < end; ++a) compare(best, value_of(plane[place_of(a) + x]), place_of(a) + x);
    store_rank<S>(best.value, Index<S>{best.place}, maxima.key + column, maxima.tie + column);
  }
}

// The place of the maximum over the columns of bin j, or -1. Which of two is larger cannot be predicted, so nothing
// branches on it.
template <class S, class T>
FM_KERNEL_INLINE int32_t compare_columns(const AxisTaps<T>& x, const Columns& columns, int32_t j,
                                         const ColumnMaxima<S>& maxima) {
  const int32_t begin = x.begin[j], end = x.begin[j + 1];
  if (begin == end) return -1;
  const Index<S>* keys = maxima.key + x.index[begin] - columns.origin;
  const Index<S>* ties = maxima.tie + x.index[begin] - columns.origin;
  Index<S> key = keys[0], tie = ties[0];
  for (int32_t b = 1; b < end - begin; ++b) {
    const bool better = (keys[b] > key) | ((keys[b] == key) & (ties[b] > tie));
    key = better ? keys[b] : key;
    tie = better ? ties[b] : tie;
  }
  return static_cast<int32_t>(tie < 0 ? -tie : tie);
}

template <class S, class T>
FM_KERNEL_INLINE void pool_plane(const S* plane, int64_t map_width, const RoiTaps<T>& roi, const Columns& columns,
                                 const ColumnMaxima<S>& maxima, S* pooled, int32_t* argmax) {
  for (int32_t i = 0; i < roi.y.bins; ++i, pooled += roi.x.bins, argmax += roi.x.bins) {
    const bool any = roi.y.begin[i] < roi.y.begin[i + 1];
    if (any) compare_rows(plane, map_width, roi, columns, i, maxima);
    for (int32_t j = 0; j < roi.x.bins; ++j) {
      argmax[j] = any ? compare_columns<S>(roi.x, columns, j, maxima) : -1;
      pooled[j] = argmax[j] < 0 ? S{} : plane[argmax[j]];
    }
  }
}

template <class S, class T>
void pool_planes(const Planes<const S, S>& planes, int32_t* argmax, const RoiTaps<T>* rois, int64_t count,
                 const ColumnMaxima<S>& maxima) {
  for (int64_t k = 0; k < count; ++k) {
    const RoiTaps<T>& roi = rois[k];
    const Columns columns = columns_of(roi.x, planes.width);  // never sparse: bins leave no gaps between them
    for (int64_t c = 0; c < planes.channels; ++c) {
      const int64_t offset = roi.roi * planes.roi_stride + c * roi.y.bins * roi.x.bins;
      pool_plane(planes.features + c * planes.height * planes.width, planes.width, roi, columns, maxima,
                 planes.pooled + offset, argmax + offset);
    }
  }
}

template <class S>
constexpr RoiPoolKernels<S> kKernels{pool_planes<S, Accumulator<S>>, pool_pixels<S, Accumulator<S>>};

}  // namespace

extern const PerStorage<RoiPoolKernels> roi_pool_kernels{kKernels<float>, kKernels<double>, kKernels<Half>,
                                                         kKernels<BFloat16>};

}  // namespace fastmrcnn::FASTMRCNN_ISA
