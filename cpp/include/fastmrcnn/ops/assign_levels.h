// The pyramid level that each box is pooled from (geometry/level.h).
#pragma once

#include <string>

#include "fastmrcnn/check.h"
#include "fastmrcnn/geometry/level.h"

namespace fastmrcnn {

// Strides of 2^1000 are nobody's; within, numbers of levels may be added and subtracted.
inline void check_level(const char* op, std::int64_t level) {
  check(level >= -1000 && level <= 1000, op, ": levels must lie in -1000..1000; got ", level);
}

inline geometry::LevelAssignment check_level_assignment(const char* op, std::int64_t finest_level,
                                                        std::int64_t coarsest_level, double canonical_scale,
                                                        std::int64_t canonical_level, const std::string& level_rule) {
  check_level(op, finest_level);
  check_level(op, coarsest_level);
  check(finest_level <= coarsest_level && coarsest_level - finest_level < geometry::kMostLevels, op,
        ": levels must be at least 1 and at most ", geometry::kMostLevels, ", from fine to coarse; got ", finest_level,
        " to ", coarsest_level);
  check(canonical_scale > 0 && canonical_scale < 1e15, op, ": canonical_scale must be positive and below 1e15; got ",
        canonical_scale);
  check(level_rule == "torchvision" || level_rule == "detectron2", op,
        ": level_rule must be 'torchvision' or 'detectron2'; got '", level_rule, "'");
  const auto rule = level_rule == "torchvision" ? geometry::LevelRule::torchvision : geometry::LevelRule::detectron2;
  return {rule, canonical_scale, canonical_level, finest_level, coarsest_level};
}

// boxes [K, 4] x1, y1, x2, y2 in image pixels, float32 or float64, contiguous;
// levels [K] int64 out, in [finest_level, coarsest_level]. A box whose area is NaN or negative gets the finest.
inline void check_assign_levels(const TensorView& boxes, const TensorView& levels) {
  check_shape("assign_levels", "boxes", boxes, {-1, 4}, "[K, 4]");
  check_contiguous("assign_levels", "boxes", boxes);
  check_shape("assign_levels", "levels", levels, {boxes.shape[0]}, "[K] with K that of boxes");
  check_dtype("assign_levels", "levels", levels, DType::i64);
  check_contiguous("assign_levels", "levels", levels);
  check_writable("assign_levels", "levels", levels);
}

namespace cpu {
void assign_levels(const Context& context, const TensorView& boxes, std::int64_t finest_level,
                   std::int64_t coarsest_level, double canonical_scale, std::int64_t canonical_level,
                   const std::string& level_rule, const TensorView& levels);
}  // namespace cpu

namespace cuda {
decltype(cpu::assign_levels) assign_levels;
}  // namespace cuda

}  // namespace fastmrcnn
