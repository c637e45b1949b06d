// Which columns of a NCHW map a RoI's rows are combined over.
#pragma once

#include "kernels/pack.h"
#include "kernels/roi_align_kernel.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

// The columns that are combined: all from `origin` on, `width` of them, or only those with a tap, when the taps lie so
// far apart that reading all would waste more than it saves. Which of the two decides the order of sums in the backward
// pass, so it may not depend on the width of packs.
struct Columns {
  int64_t origin, width;
  bool sparse;
};

template <class T>
FM_KERNEL_INLINE Columns columns_of(const AxisTaps<T>& x, int64_t map_width) {
  const int64_t taps = x.begin[x.bins];
  const int64_t span = x.last - x.first + 1;
  constexpr int64_t kWidestGap = 16;
  if (span > kWidestGap * taps) return {0, taps, true};
  // Whole packs where the map is wide enough: the additional columns are combined and never picked.
  const int64_t padded = (span + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
  if (padded > map_width) return {x.first, span, false};
  return {x.first + padded <= map_width ? x.first : map_width - padded, padded, false};
}

}  // namespace
}  // namespace fastmrcnn::FASTMRCNN_ISA
