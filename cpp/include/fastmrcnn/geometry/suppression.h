// Whether one box suppresses another, without a division for most pairs.
//
// The IoU's division would cost more than all the rest. IoU > t is I / (A + B - I) > t, which for t >= 0 and areas
// A, B > 0 needs I > r A + r B with r = t / (1 + t): a sum and a comparison, where only what passes is divided.
#pragma once

#include "fastmrcnn/geometry/box.h"

namespace fastmrcnn::geometry {

template <class T>
struct SuppressionLimits;

template <>
struct SuppressionLimits<float> {
  static constexpr float slack = 2e-6f, tiny = 1e-37f, greatest = 3.40282347e+38f;
};

template <>
struct SuppressionLimits<double> {
  static constexpr double slack = 4e-15, tiny = 1e-307, greatest = 1.7976931348623157e+308;
};

// True where a box may suppress or be suppressed at a threshold >= 0. The others, of an area that is not positive, not
// finite or NaN, have an IoU of zero or NaN with every box.
template <class T>
FM_HD bool takes_part(const Box<T>& box, T area) {
  return box.x2 > box.x1 && box.y2 > box.y1 && area > 0 && area <= SuppressionLimits<T>::greatest;
}

// A threshold and the pre-test for it: an overlap I of areas A and B with IoU > threshold has I > share(A) + share(B).
// `slack` is more than the roundings on both sides add up to; an area so small that its share would be subnormal, and
// could round up by much, has none.
template <class T>
struct Suppression {
  T threshold, ratio;

  // `t`: the greatest T that does not exceed the threshold (round_down.h).
  FM_HD explicit Suppression(T t)
      : threshold(t), ratio(t >= SuppressionLimits<T>::tiny ? t / (1 + t) * (1 - SuppressionLimits<T>::slack) : T(0)) {}

  // Below zero every pair counts, also of boxes that do not overlap: only the definition decides.
  FM_HD bool has_shares() const { return threshold >= 0; }

  FM_HD T share(T area) const { return max_of(ratio * area - SuppressionLimits<T>::tiny, T(0)); }

  // The definition. NaN exceeds nothing.
  FM_HD bool exceeds(const Box<T>& a, const Box<T>& b) const { return iou(a, area(a), b, area(b)) > threshold; }
};

}  // namespace fastmrcnn::geometry
