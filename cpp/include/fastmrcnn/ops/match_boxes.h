// Matching of boxes (anchors, proposals) to ground-truth objects.
#pragma once

#include <limits>

#include "fastmrcnn/check.h"
#include "fastmrcnn/geometry/matching.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

struct MatchThresholds {
  double foreground, background;  // IoU
  double ignore_overlap;          // share of a box's area
};

// Without objects everything is background, whatever the thresholds.
template <class T>
geometry::MatchRule<T> match_rule(const MatchThresholds& thresholds, std::int64_t objects) {
  constexpr T inf = std::numeric_limits<T>::infinity();
  const T ignore_overlap = static_cast<T>(thresholds.ignore_overlap);
  if (objects == 0) return {inf, inf, ignore_overlap};
  return {static_cast<T>(thresholds.foreground), static_cast<T>(thresholds.background), ignore_overlap};
}

// objects [M, 4] and boxes [N, 4] x1, y1, x2, y2, ignore_regions [R, 4] or undefined; all float32 or all float64,
// highest [M] out, of their dtype: the highest IoU of each object with any box,
// matches [N] int64 out: the index of the object of highest IoU, of equals the first; -1 (background) where that IoU is
// below `background`; -2 (ignored) where it is below `foreground`, or where the box would be background but the share
// of its area inside one of the regions is `ignore_overlap` or more.
//
// With `every_object` a box whose IoU with some object is that object's highest, and not zero, is matched to the object
// that it overlaps best whatever the thresholds; all boxes that tie for the highest are.
//
// Thresholds are rounded to the dtype of the boxes, then compared. An IoU or a share that is NaN counts as zero. No
// M x N matrix: memory beside the tensors is O(M + N). Deterministic, whatever the number of threads.
inline void check_match_boxes(const TensorView& objects, const TensorView& boxes, const TensorView& ignore_regions,
                              const MatchThresholds& thresholds, const TensorView& highest, const TensorView& matches) {
  constexpr const char* op = "match_boxes";
  check_shape(op, "objects", objects, {-1, 4}, "[M, 4]");
  check_shape(op, "boxes", boxes, {-1, 4}, "[N, 4]");
  check_dtype(op, "objects", objects, boxes.dtype);
  check_contiguous(op, "objects", objects);
  check_contiguous(op, "boxes", boxes);
  check(objects.shape[0] <= 0x7fffffff, op, ": objects must be fewer than 2^31; got ", shape_of(objects));
  if (ignore_regions.defined()) {
    check_shape(op, "ignore_regions", ignore_regions, {-1, 4}, "[R, 4]");
    check_dtype(op, "ignore_regions", ignore_regions, boxes.dtype);
    check_contiguous(op, "ignore_regions", ignore_regions);
    check(ignore_regions.shape[0] <= 0x7fffffff, op, ": ignore_regions must be fewer than 2^31; got ",
          shape_of(ignore_regions));
  }
  check(thresholds.background <= thresholds.foreground, op, ": background must be <= foreground ",
        thresholds.foreground, "; got ", thresholds.background);
  check(thresholds.ignore_overlap > 0 && thresholds.ignore_overlap <= 1, op,
        ": ignore_overlap must lie in (0, 1]; got ", thresholds.ignore_overlap);
  check_shape(op, "highest", highest, {objects.shape[0]}, "[M] with M that of objects");
  check_dtype(op, "highest", highest, boxes.dtype);
  check_contiguous(op, "highest", highest);
  check_writable(op, "highest", highest);
  check_shape(op, "matches", matches, {boxes.shape[0]}, "[N] with N that of boxes");
  check_dtype(op, "matches", matches, DType::i64);
  check_contiguous(op, "matches", matches);
  check_writable(op, "matches", matches);
}

namespace cpu {
void match_boxes(const Context& context, const TensorView& objects, const TensorView& boxes,
                 const TensorView& ignore_regions, double foreground, double background, double ignore_overlap,
                 bool every_object, const TensorView& highest, const TensorView& matches);
}  // namespace cpu

namespace cuda {
decltype(cpu::match_boxes) match_boxes;
}  // namespace cuda

}  // namespace fastmrcnn
