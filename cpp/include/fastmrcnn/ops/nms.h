// Non-maximum suppression.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fastmrcnn/check.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

// boxes [N, 4] x1, y1, x2, y2 (float32 or float64), scores [N] (the same dtype),
// groups [N] int64 or undefined: boxes of different groups (classes, levels, images) never suppress each other,
// keep [N] int64 out: its first `count` entries are the kept indices in descending order of score,
// count [1] int64 out.
//
// A box is suppressed by a kept one of higher score whose IoU with it is strictly greater than `iou_threshold`. Of
// equal scores the lower index comes first; NaN scores come before all others. Boxes of zero area and boxes with a NaN
// coordinate are always kept. Deterministic.
//
// workspace: for CUDA, uint8 [nms_workspace(N, whether there are groups, whether float64)]. There N < 2^31, and nothing
// waits for the device: `count` tells how many were kept. The CPU ignores it.
inline void check_nms(const TensorView& boxes, const TensorView& scores, const TensorView& groups,
                      const TensorView& keep, const TensorView& count) {
  check_shape("nms", "boxes", boxes, {-1, 4}, "[N, 4]");
  check(boxes.shape[0] >> 32 == 0, "nms: boxes must be fewer than 2^32; got ", boxes.shape[0]);
  check_shape("nms", "scores", scores, {boxes.shape[0]}, "[N] with N that of boxes");
  check_dtype("nms", "scores", scores, boxes.dtype);
  check_contiguous("nms", "boxes", boxes);
  check_contiguous("nms", "scores", scores);
  if (groups.defined()) {
    check_shape("nms", "groups", groups, {boxes.shape[0]}, "[N] with N that of boxes");
    check_dtype("nms", "groups", groups, DType::i64);
    check_contiguous("nms", "groups", groups);
  }
  check_shape("nms", "keep", keep, {boxes.shape[0]}, "[N] with N that of boxes");
  check_dtype("nms", "keep", keep, DType::i64);
  check_contiguous("nms", "keep", keep);
  check_writable("nms", "keep", keep);
  check_shape("nms", "count", count, {1}, "[1]");
  check_dtype("nms", "count", count, DType::i64);
  check_writable("nms", "count", count);
}

namespace cpu {
void nms(const Context& context, const TensorView& boxes, const TensorView& scores, const TensorView& groups,
         double iou_threshold, const TensorView& keep, const TensorView& count, const TensorView& workspace);
}  // namespace cpu

namespace cuda {
decltype(cpu::nms) nms;
std::size_t nms_workspace(std::int64_t n, bool grouped, bool float64);
}  // namespace cuda

}  // namespace fastmrcnn
