#pragma once

#include "fastmrcnn/half.h"
#include "kernels/kernel.h"

namespace fastmrcnn {

// One axis of one RoI as weighted pixels: bin i is the sum over t in [begin[i], begin[i + 1]) of weight[t] times pixel
// index[t]. The weights hold the division by the number of samples; samples that fall on the same pixel are merged.
template <class T>
struct AxisTaps {
  const int32_t* begin;
  const int32_t* index;
  const T* weight;
  int32_t bins;
  int32_t first, last;  // range of index; last < first where there are no taps
};

template <class T>
struct RoiTaps {
  int64_t roi;  // row of rois and of the pooled tensor
  AxisTaps<T> y, x;
  AxisTaps<T> rows;  // y transposed: pixel row y.first + r is read by the rows of bins index[t]
};

// The RoIs of one image, pooled from `channels` of its planes [H, W], which are dense. Row `roi` of the pooled tensor
// begins at pooled + roi * roi_stride and holds [channels, bins].
template <class Feature, class Pooled>
struct Planes {
  Feature* features;
  Pooled* pooled;
  int64_t channels, height, width;
  int64_t roi_stride;
};

// The same for the rows [row_begin, row_end) of an image, which `features` holds as pixels of `channels` neighbouring
// values; the pooled tensor is [rois, bins, channels]. Taps on other rows are passed over.
template <class Feature, class Pooled>
struct Pixels {
  Feature* features;
  Pooled* pooled;
  int64_t channels, width;
  int64_t row_begin, row_end;
};

// Kernels of tensors that are stored as S. Both directions compute in Accumulator<S>: forward rounds each bin once, and
// backward adds to features of that type, for whoever called it to round.
template <class S>
struct PlanesKernels {
  using T = Accumulator<S>;
  void (*forward)(const Planes<const S, S>&, const RoiTaps<T>*, int64_t count, T* scratch);
  void (*backward)(const Planes<T, const S>&, const RoiTaps<T>*, int64_t count, T* scratch);
};

template <class S>
struct PixelsKernels {
  using T = Accumulator<S>;
  void (*forward)(const Pixels<const S, S>&, const RoiTaps<T>*, int64_t count);
  void (*backward)(const Pixels<T, const S>&, const RoiTaps<T>*, int64_t count);
};

FASTMRCNN_DECLARE_KERNEL(extern const PerStorage<PlanesKernels> roi_align_planes)
FASTMRCNN_DECLARE_KERNEL(extern const PerStorage<PixelsKernels> roi_align_pixels)

// Up to so many rows of bins the backward pass over planes keeps what it computes of each.
constexpr int32_t kMostBinRows = 32;

// Elements of scratch that a planes kernel needs for a RoI with this many taps along x.
constexpr int64_t plane_scratch(int64_t map_width, int64_t taps) {
  constexpr int64_t kWidestPack = 16;
  return ((map_width > taps ? map_width : taps) + kWidestPack) * (1 + kMostBinRows);
}

}  // namespace fastmrcnn
