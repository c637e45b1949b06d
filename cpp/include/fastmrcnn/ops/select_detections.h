// What follows the box head of Fast R-CNN: the best classified and refined regions of each image are its detections.
#pragma once

#include <array>
#include <utility>

#include "fastmrcnn/check.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

// logits [B, P, C + 1], of which index 0 is the background (float16, bfloat16, float32 or float64),
// deltas [B, P, (C + 1) * 4] dx, dy, dw, dh of each class in turn, or [B, P, 4] for all classes alike; as logits,
// proposals [B, P, 4] x1, y1, x2, y2 in pixels,
// counts [B] int64: only the first counts[b] (0..P) of the P regions of image b count; undefined: all of them,
// image_sizes [B, 2] int64 (height, width) in pixels;
// boxes [B, D, 4] out, scores [B, D] out, labels [B, D] int64 out (1..C), rows [B, D] int64 out (0..P-1, the proposal
// that a detection was made of), found [B] int64 out: the detections of image b are the first found[b] rows, by
// descending score, and zeros follow. All contiguous. proposals, boxes and scores are float64 for float64 logits,
// otherwise float32, and so is all arithmetic.
//
// The scores of a region are the softmax of its logits. Every class but the background whose score is strictly greater
// than `score_threshold` is a candidate, however many those are. Candidates are decoded and clipped to the image;
// boxes with a side below `min_size` pixels (or a NaN) are dropped, then those whose IoU with a better one of the same
// class that was kept is strictly greater than `nms_iou` (>= 0); the best D of all classes remain. Equal scores come in
// the order (proposal, class).
//
// A region with a NaN or +infinity among its logits has no scores, hence no detections. Exponentials that would be
// subnormal are zero. Deterministic: the sums of the softmax have one order (geometry/softmax.h).
inline void check_select_detections(const TensorView& logits, const TensorView& deltas, const TensorView& proposals,
                                    const TensorView& counts, const TensorView& image_sizes, double nms_iou,
                                    const TensorView& boxes, const TensorView& scores, const TensorView& labels,
                                    const TensorView& rows, const TensorView& found) {
  const char* op = "select_detections";
  check(logits.ndim == 3 && logits.shape[2] > 0, op, ": logits must be [B, P, C + 1]; got ", shape_of(logits));
  const std::int64_t batch = logits.shape[0], regions = logits.shape[1], columns = logits.shape[2];
  const std::int64_t deltas_width = deltas.ndim == 3 && deltas.shape[2] == 4 ? 4 : 4 * columns;
  check_shape(op, "deltas", deltas, {batch, regions, deltas_width},
              "[B, P, (C + 1) * 4] or [B, P, 4] with B, P and C those of logits");
  check_shape(op, "proposals", proposals, {batch, regions, 4}, "[B, P, 4] with B and P those of logits");
  if (counts.defined()) check_shape(op, "counts", counts, {batch}, "[B] with B that of logits");
  check_shape(op, "image_sizes", image_sizes, {batch, 2}, "[B, 2] with B that of logits");
  check(regions < (std::int64_t{1} << 32) / columns, op, ": P * (C + 1) must be less than 2^32; got ", regions, " * ",
        columns);
  check(nms_iou >= 0, op, ": nms_iou must be >= 0; got ", nms_iou);

  const DType stored = logits.dtype, computed = accumulator_of(stored);
  check(computed == DType::f32 || computed == DType::f64, op, ": logits must be floating point; got ", name_of(stored));
  check_dtype(op, "deltas", deltas, stored);
  check_dtype(op, "proposals", proposals, computed);
  if (counts.defined()) check_dtype(op, "counts", counts, DType::i64);
  check_dtype(op, "image_sizes", image_sizes, DType::i64);
  for (const auto& [name, input] : {std::pair{"logits", &logits},
                                    {"deltas", &deltas},
                                    {"proposals", &proposals},
                                    {"counts", &counts},
                                    {"image_sizes", &image_sizes}}) {
    if (input->defined()) check_contiguous(op, name, *input);
  }

  check_shape(op, "boxes", boxes, {batch, -1, 4}, "[B, D, 4] with B that of logits");
  const std::int64_t capacity = boxes.shape[1];
  check_shape(op, "scores", scores, {batch, capacity}, "[B, D] with B and D those of boxes");
  check_shape(op, "labels", labels, {batch, capacity}, "[B, D] with B and D those of boxes");
  check_shape(op, "rows", rows, {batch, capacity}, "[B, D] with B and D those of boxes");
  check_shape(op, "found", found, {batch}, "[B] with B that of logits");
  check_dtype(op, "boxes", boxes, computed);
  check_dtype(op, "scores", scores, computed);
  for (const auto& [name, output] :
       {std::pair{"labels", &labels}, {"rows", &rows}, {"found", &found}, {"boxes", &boxes}, {"scores", &scores}}) {
    if (output != &boxes && output != &scores) check_dtype(op, name, *output, DType::i64);
    check_contiguous(op, name, *output);
    check_writable(op, name, *output);
  }
}

namespace cpu {
// Refuses counts outside 0..P. Needs no workspace, and ignores one.
void select_detections(const Context& context, const TensorView& logits, const TensorView& deltas,
                       const TensorView& proposals, const TensorView& counts, const TensorView& image_sizes,
                       double score_threshold, double nms_iou, double min_size, const std::array<double, 4>& weights,
                       double max_log_size, const TensorView& boxes, const TensorView& scores, const TensorView& labels,
                       const TensorView& rows, const TensorView& found, const TensorView& workspace);
}  // namespace cpu

namespace cuda {
// Takes counts outside 0..P for the nearest of these.
void select_detections(const Context& context, const TensorView& logits, const TensorView& deltas,
                       const TensorView& proposals, const TensorView& counts, const TensorView& image_sizes,
                       double score_threshold, double nms_iou, double min_size, const std::array<double, 4>& weights,
                       double max_log_size, const TensorView& boxes, const TensorView& scores, const TensorView& labels,
                       const TensorView& rows, const TensorView& found, const TensorView& workspace);

// For B images, P regions, C + 1 columns of logits, D detections and scores of this many bytes each.
std::size_t select_detections_workspace(std::int64_t images, std::int64_t regions, std::int64_t columns,
                                        std::int64_t detections, std::int64_t score_bytes);
}  // namespace cuda

}  // namespace fastmrcnn
