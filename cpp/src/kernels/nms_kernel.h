#pragma once

#include "fastmrcnn/geometry/box.h"
#include "kernels/kernel.h"

namespace fastmrcnn {

// Elements of T that the kernels below need as `workspace` for n boxes: five columns of whole vectors.
constexpr int64_t nms_workspace(int64_t n) {
  constexpr int64_t kMostLanes = 64;
  return 5 * (n / kMostLanes + 1) * kMostLanes;
}

// The positions of the boxes that greedy suppression keeps (cpp/src/greedy_nms.h), at most `limit` of them.
FASTMRCNN_DECLARE_KERNEL(int64_t greedy_nms_f32(const geometry::Box<float>* boxes, int64_t n, float threshold,
                                                int64_t limit, float* workspace, uint32_t* kept))
FASTMRCNN_DECLARE_KERNEL(int64_t greedy_nms_f64(const geometry::Box<double>* boxes, int64_t n, double threshold,
                                                int64_t limit, double* workspace, uint32_t* kept))

// The same, box by box, for a threshold >= 0: true where `box` is kept. `filled`, zero at the beginning, counts the
// boxes that `workspace` holds.
FASTMRCNN_DECLARE_KERNEL(bool keep_next_f32(const geometry::Box<float>& box, float threshold, int64_t* filled,
                                            float* workspace))
FASTMRCNN_DECLARE_KERNEL(bool keep_next_f64(const geometry::Box<double>& box, double threshold, int64_t* filled,
                                            double* workspace))

}  // namespace fastmrcnn
