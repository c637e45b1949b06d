// Which ground-truth object a box stands for (Ren et al. 2015, section 3.1.2).
#pragma once

#include <stdint.h>

#include "fastmrcnn/geometry/box.h"

namespace fastmrcnn::geometry {

constexpr int64_t kBackground = -1;  // overlaps no object enough
constexpr int64_t kIgnored = -2;     // neither object nor background

template <class T>
struct MatchRule {
  T foreground;      // matched at this IoU or above
  T background;      // background below this IoU; ignored between the two
  T ignore_overlap;  // background with this share of its area inside an ignore region, or more, is ignored
};

// `best_iou` is not NaN.
template <class T>
FM_HD int64_t match_by_iou(T best_iou, int64_t best_object, const MatchRule<T>& rule) {
  const int64_t matched = best_iou < rule.foreground ? kIgnored : best_object;
  return best_iou < rule.background ? kBackground : matched;
}

// The share of the box that lies inside of `region`. NaN for a box without area.
template <class T>
FM_HD T covered_share(const Box<T>& box, T box_area, const Box<T>& region) {
  return intersection(box, region) / box_area;
}

}  // namespace fastmrcnn::geometry
