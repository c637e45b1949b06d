#pragma once

#include "kernels/kernel.h"

namespace fastmrcnn {

// Which classes of a region are candidates.
template <class T>
struct ScoreRule {
  T threshold;  // scores are strictly greater
  // A class whose logit is further than this below the greatest of its region (a number below zero) cannot pass.
  T lead;
};

// Elements of T that the kernel needs as `workspace` for `columns` logits a region.
constexpr int64_t softmax_workspace(int64_t columns) {
  constexpr int64_t kMostLanes = 64;
  return (columns / kMostLanes + 1) * kMostLanes;
}

// The softmax of each row of logits [rows, columns], and of its elements above the threshold, column 0 left out, the
// scores and their positions in `logits` plus `first`: ascending, with room for rows x (columns - 1). Returns how many.
template <class S>
struct SoftmaxKernels {
  using T = Accumulator<S>;
  int64_t (*likely)(const S* logits, int64_t rows, int64_t columns, const ScoreRule<T>& rule, uint32_t first,
                    T* workspace, T* scores, uint32_t* positions);
};

FASTMRCNN_DECLARE_KERNEL(extern const PerStorage<SoftmaxKernels> softmax_kernels)

}  // namespace fastmrcnn
