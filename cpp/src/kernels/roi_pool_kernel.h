#pragma once

#include "kernels/roi_align_kernel.h"

namespace fastmrcnn {

template <class T>
struct IndexOf {
  using type = int32_t;
};
template <>
struct IndexOf<double> {
  using type = int64_t;
};

// An integer as wide as what S is compared in.
template <class S>
using Index = typename IndexOf<Accumulator<S>>::type;

// For a row of columns, their maxima as integers that compare as the maxima do: first `key`, the value, then `tie`, the
// place in the map. Of equal values the first counts, of NaN the last, and NaN above all.
template <class S>
struct ColumnMaxima {
  Index<S>* key;
  Index<S>* tie;
};

// The maximum of each bin's pixels, and its place y x width + x: of the first maximum in the order of the map, or of
// the last NaN if there is one; zero and -1 for a bin without pixels. `argmax` is stored as the pooled values are.
template <class S>
struct RoiPoolKernels {
  using T = Accumulator<S>;
  // `columns` have room for the map's width.
  void (*planes)(const Planes<const S, S>&, int32_t* argmax, const RoiTaps<T>*, int64_t count,
                 const ColumnMaxima<S>& columns);
  void (*pixels)(const Pixels<const S, S>&, int32_t* argmax, const RoiTaps<T>*, int64_t count);
};

FASTMRCNN_DECLARE_KERNEL(extern const PerStorage<RoiPoolKernels> roi_pool_kernels)

}  // namespace fastmrcnn
