// What follows the head of a region proposal network: the best anchors of each level become proposals.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "fastmrcnn/check.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

// For each of L levels
//   logits [B, A, H_i, W_i] objectness, deltas [B, A * 4, H_i, W_i] dx, dy, dw, dh of each anchor in turn; of one dtype
//   (float16, bfloat16, float32 or float64) and in any memory layout,
//   anchors [H_i * W_i * A, 4] x1, y1, x2, y2 in pixels in the order (row, column, anchor), contiguous;
// image_sizes [B, 2] int64 (height, width) in pixels, contiguous;
// boxes [B, P, 4] out, scores [B, P] out, counts [B] int64 out, contiguous: the proposals of image b are the first
// counts[b] rows, by descending logit, and zeros follow. anchors, boxes and scores are float64 for float64 logits,
// otherwise float32, and so is all arithmetic.
//
// The `pre_nms` greatest logits of a level are decoded and clipped to the image; boxes with a side below `min_size`
// pixels (or a NaN) and scores below `score_threshold` are dropped, then those whose IoU with a kept box of the same
// level is greater than `nms_iou` (>= 0); the best P of all levels remain. Scores are sigmoids of the logits.
//
// The logit decides the order, before and after NMS: sigmoids of different logits may be equal. Equal logits come in
// the order (level, row, column, anchor). NaN logits lead, as in torch.topk, but no NaN passes the score threshold.
// Deterministic.
//
// CUDA: at most 16 levels, 2^16 - 1 images, and 2^31 - 1 anchors a level; `workspace`, uint8, of the bytes that
// generate_proposals_workspace says, which the CPU ignores. With float64 the exponential is the CUDA library's.
inline void check_generate_proposals(const std::vector<TensorView>& logits, const std::vector<TensorView>& deltas,
                                     const std::vector<TensorView>& anchors, const TensorView& image_sizes,
                                     std::int64_t pre_nms, double nms_iou, const TensorView& boxes,
                                     const TensorView& scores, const TensorView& counts) {
  const char* op = "generate_proposals";
  check(!logits.empty(), op, ": logits must hold at least one level; got none");
  check(deltas.size() == logits.size() && anchors.size() == logits.size(), op,
        ": logits, deltas and anchors must have as many levels; got ", logits.size(), ", ", deltas.size(), " and ",
        anchors.size());
  check(pre_nms >= 0, op, ": pre_nms must be >= 0; got ", pre_nms);
  check(nms_iou >= 0, op, ": nms_iou must be >= 0; got ", nms_iou);
  const DType stored = logits[0].dtype, computed = stored == DType::f64 ? DType::f64 : DType::f32;
  check(stored == DType::f16 || stored == DType::bf16 || stored == computed, op,
        ": logits[0] must be floating point; got ", name_of(stored));
  const std::int64_t batch = logits[0].ndim == 4 ? logits[0].shape[0] : 0;
  for (std::size_t level = 0; level < logits.size(); ++level) {
    const TensorView &logit = logits[level], &delta = deltas[level], &anchor = anchors[level];
    const std::string index = '[' + std::to_string(level) + ']';
    const std::string logit_name = "logits" + index, delta_name = "deltas" + index, anchor_name = "anchors" + index;
    check_shape(op, logit_name.c_str(), logit, {batch, -1, -1, -1}, "[B, A, H, W] with one B for all levels");
    check_shape(op, delta_name.c_str(), delta, {batch, 4 * logit.shape[1], logit.shape[2], logit.shape[3]},
                "[B, A * 4, H, W] with B, A, H and W those of its logits");
    const std::int64_t count = logit.shape[1] * logit.shape[2] * logit.shape[3];
    check_shape(op, anchor_name.c_str(), anchor, {count, 4}, "[H * W * A, 4] with H, W and A those of its logits");
    check(count >> 32 == 0, op, ": ", anchor_name, " must be fewer than 2^32; got ", count);
    check_dtype(op, logit_name.c_str(), logit, stored);
    check_dtype(op, delta_name.c_str(), delta, stored);
    check_dtype(op, anchor_name.c_str(), anchor, computed);
    check_contiguous(op, anchor_name.c_str(), anchor);
  }
  check_shape(op, "image_sizes", image_sizes, {batch, 2}, "[B, 2] with B that of logits");
  check_dtype(op, "image_sizes", image_sizes, DType::i64);
  check_contiguous(op, "image_sizes", image_sizes);
  check_shape(op, "boxes", boxes, {batch, -1, 4}, "[B, P, 4] with B that of logits");
  check_shape(op, "scores", scores, {batch, boxes.shape[1]}, "[B, P] with B and P those of boxes");
  check_shape(op, "counts", counts, {batch}, "[B] with B that of logits");
  check_dtype(op, "boxes", boxes, computed);
  check_dtype(op, "scores", scores, computed);
  check_dtype(op, "counts", counts, DType::i64);
  for (const auto& [name, output] : {std::pair{"boxes", &boxes}, {"scores", &scores}, {"counts", &counts}}) {
    check_contiguous(op, name, *output);
    check_writable(op, name, *output);
  }
}

namespace cpu {
void generate_proposals(const Context& context, const std::vector<TensorView>& logits,
                        const std::vector<TensorView>& deltas, const std::vector<TensorView>& anchors,
                        const TensorView& image_sizes, std::int64_t pre_nms, double nms_iou, double min_size,
                        double score_threshold, const std::array<double, 4>& weights, double max_log_size,
                        const TensorView& boxes, const TensorView& scores, const TensorView& counts,
                        const TensorView& workspace);
}  // namespace cpu

namespace cuda {
decltype(cpu::generate_proposals) generate_proposals;

// `most_candidates` of a level: pre_nms, or the size of the largest level if that is less.
std::size_t generate_proposals_workspace(std::int64_t images, std::int64_t levels, std::int64_t most_candidates,
                                         std::int64_t logit_bytes);
}  // namespace cuda

}  // namespace fastmrcnn
