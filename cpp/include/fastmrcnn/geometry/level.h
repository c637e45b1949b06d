// The level of a feature pyramid that a box is pooled from (Lin et al. 2017, Feature Pyramid Networks, equation 1).
#pragma once

#include <cstdint>

#include "fastmrcnn/geometry/box.h"

namespace fastmrcnn::geometry {

// How rounding at the border of two levels is broken, with s the square root of a box's area and c the canonical level:
// torchvision: floor(c + log2(s / scale) + 1e-6),
// detectron2: floor(c + log2(s / scale + 1e-8)).
enum class LevelRule { torchvision, detectron2 };

// The result is clamped to [finest, coarsest]; level l has stride 2^l.
struct LevelAssignment {
  LevelRule rule = LevelRule::torchvision;
  double canonical_scale = 1;  // side in image pixels of the square that belongs to canonical_level
  std::int64_t canonical_level = 0;
  std::int64_t finest = 0, coarsest = 0;
};

constexpr int kMostLevels = 32;

// The rule as areas: a level begins where the border below it is reached. The kernels of both devices compare with
// these and need no logarithm, whose last bit differs from one library to the next and decides at a border. Without
// borders everything is on one level.
template <class T>
struct LevelBorders {
  T area[kMostLevels - 1] = {};
  std::int32_t count = 0;
};

// The least areas whose level is finest + 1, ..., coarsest when the rule is computed in T. On the host, once a call.
template <class T>
LevelBorders<T> level_borders(const LevelAssignment& assignment);

// Which of count + 1 levels, 0 the finest: as far as the area reaches. A negative area or NaN reaches no border.
template <class T>
FM_HD std::int64_t level_of(const LevelBorders<T>& borders, const Box<T>& box) {
  const T box_area = area(box);
  std::int64_t level = 0;
  for (std::int32_t border = 0; border < borders.count; ++border) level += box_area >= borders.area[border];
  return level;
}

}  // namespace fastmrcnn::geometry
