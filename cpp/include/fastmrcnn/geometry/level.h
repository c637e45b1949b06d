// The level of a feature pyramid that a RoI is pooled from (Lin et al. 2017, Feature Pyramid Networks, equation 1).
#pragma once

#include <cstdint>

#include "fastmrcnn/geometry/roi.h"

namespace fastmrcnn::geometry {

constexpr int kMostLevels = 16;

// How rounding at the border of two levels is broken, with s the square root of a box's area and c the canonical level:
// torchvision: floor(c + log2(s / scale) + 1e-6),
// detectron2: floor(c + log2(s / scale + 1e-8)).
enum class LevelRule { torchvision, detectron2 };

struct LevelAssignment {
  LevelRule rule;
  double canonical_scale;        // side in image pixels of the square that belongs to canonical_level
  std::int64_t canonical_level;  // level l has stride 2^l
  std::int64_t finest, coarsest;
};

// The rule as areas: a level begins where the border below it is reached. A kernel needs no logarithm, whose last bit
// differs from one library to the next and decides at a border. Without borders everything is on one level.
template <class T>
struct LevelBorders {
  T area[kMostLevels - 1] = {};
  std::int32_t count = 0;
};

// Which of count + 1 levels, 0 the finest: as far as the area reaches, and 0 where it is negative or NaN.
template <class T>
FM_HD std::int64_t level_of(const LevelBorders<T>& borders, const Roi<T>& roi) {
  const T area = (roi.x2 - roi.x1) * (roi.y2 - roi.y1);
  std::int64_t level = 0;
  for (std::int32_t border = 0; border < borders.count; ++border) level += area >= borders.area[border];
  return level;
}

}  // namespace fastmrcnn::geometry
