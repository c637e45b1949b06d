#pragma once

#include "fastmrcnn/geometry/box.h"
#include "kernels/kernel.h"

namespace fastmrcnn {

// The boxes of one group in columns, which the kernel overwrites.
template <class T>
struct SoftNmsColumns {
  T *x1, *y1, *x2, *y2, *area, *score;
  uint32_t* index;
};

// The room that each column needs for n boxes: whole vectors.
constexpr int64_t soft_nms_rows(int64_t n) {
  constexpr int64_t kMostLanes = 16;
  return (n + kMostLanes - 1) / kMostLanes * kMostLanes;
}

template <class T>
struct SoftNmsRule {
  bool linear;
  T least_iou;             // the score decays where the IoU is greater than this,
  T exponent;              // by exp(exponent * IoU^2), or if linear by 1 - IoU
  double score_threshold;  // not negative
};

// Selects from n boxes, which stand in the order of their indices. Writes the indices and the scores of those selected
// to `kept` and `decayed`, in the order of selection, and returns how many they are.
FASTMRCNN_DECLARE_KERNEL(int64_t soft_nms_f32(const SoftNmsColumns<float>& columns, int64_t n,
                                              const SoftNmsRule<float>& rule, uint32_t* kept, float* decayed))
FASTMRCNN_DECLARE_KERNEL(int64_t soft_nms_f64(const SoftNmsColumns<double>& columns, int64_t n,
                                              const SoftNmsRule<double>& rule, uint32_t* kept, double* decayed))

}  // namespace fastmrcnn
