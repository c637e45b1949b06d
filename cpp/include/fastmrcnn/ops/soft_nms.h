// Soft non-maximum suppression: overlapping boxes lose score instead of being dropped (Bodla et al. 2017, section 3).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "fastmrcnn/check.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

enum class SoftNmsMethod { gaussian, linear };

struct SoftNmsOptions {
  SoftNmsMethod method;
  double sigma;            // gaussian: the score is multiplied by exp(-IoU^2 / sigma)
  double iou_threshold;    // linear: multiplied by 1 - IoU where the IoU is greater than this
  double score_threshold;  // boxes whose score is below are dropped
};

inline SoftNmsOptions soft_nms_options(const std::string& method, double sigma, double iou_threshold,
                                       double score_threshold) {
  const bool gaussian = method == "gaussian";
  check(gaussian || method == "linear", "soft_nms: method must be gaussian or linear; got ", method);
  check(!gaussian || (sigma > 0 && std::isfinite(sigma)), "soft_nms: sigma must be positive; got ", sigma);
  check(iou_threshold >= 0, "soft_nms: iou_threshold must not be negative; got ", iou_threshold);
  check(score_threshold >= 0, "soft_nms: score_threshold must not be negative; got ", score_threshold);
  return {gaussian ? SoftNmsMethod::gaussian : SoftNmsMethod::linear, sigma, iou_threshold, score_threshold};
}

// boxes [N, 4] x1, y1, x2, y2 (float32 or float64), scores [N] (the same dtype),
// groups [N] int64 or undefined: boxes of different groups do not touch each other's scores,
// keep [N] int64 out: its first `count` entries are the kept indices in descending order of their decayed score,
// decayed [N] out (the dtype of scores): the scores of those boxes, as they were when selected,
// count [1] int64 out.
//
// Within each group the box of the highest score is selected, of equal scores that of the lowest index, and the scores
// of the others decay by their IoU with it; so on with the rest. NaN scores fall below every threshold. Boxes of zero
// area and boxes with a NaN coordinate overlap nothing. Values are computed in the dtype of the boxes. Deterministic;
// the two devices give the same bits in float32, where the exponential is shared.
//
// workspace: for CUDA, uint8 [soft_nms_workspace(N, whether there are groups, whether float64)]. There N < 2^31, and
// nothing waits for the device. The CPU ignores it.
inline void check_soft_nms(const TensorView& boxes, const TensorView& scores, const TensorView& groups,
                           const TensorView& keep, const TensorView& decayed, const TensorView& count) {
  const char* const op = "soft_nms";
  check_shape(op, "boxes", boxes, {-1, 4}, "[N, 4]");
  check(boxes.shape[0] >> 32 == 0, op, ": boxes must be fewer than 2^32; got ", boxes.shape[0]);
  check_shape(op, "scores", scores, {boxes.shape[0]}, "[N] with N that of boxes");
  check_dtype(op, "scores", scores, boxes.dtype);
  check_contiguous(op, "boxes", boxes);
  check_contiguous(op, "scores", scores);
  if (groups.defined()) {
    check_shape(op, "groups", groups, {boxes.shape[0]}, "[N] with N that of boxes");
    check_dtype(op, "groups", groups, DType::i64);
    check_contiguous(op, "groups", groups);
  }
  check_shape(op, "keep", keep, {boxes.shape[0]}, "[N] with N that of boxes");
  check_dtype(op, "keep", keep, DType::i64);
  check_shape(op, "decayed", decayed, {boxes.shape[0]}, "[N] with N that of boxes");
  check_dtype(op, "decayed", decayed, scores.dtype);
  check_shape(op, "count", count, {1}, "[1]");
  check_dtype(op, "count", count, DType::i64);
  check_contiguous(op, "keep", keep);
  check_contiguous(op, "decayed", decayed);
  check_writable(op, "keep", keep);
  check_writable(op, "decayed", decayed);
  check_writable(op, "count", count);
}

namespace cpu {
void soft_nms(const Context& context, const TensorView& boxes, const TensorView& scores, const TensorView& groups,
              const std::string& method, double sigma, double iou_threshold, double score_threshold,
              const TensorView& keep, const TensorView& decayed, const TensorView& count, const TensorView& workspace);
}  // namespace cpu

namespace cuda {
decltype(cpu::soft_nms) soft_nms;
std::size_t soft_nms_workspace(std::int64_t n, bool grouped, bool float64);
}  // namespace cuda

}  // namespace fastmrcnn
