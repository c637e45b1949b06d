// The arithmetic of each PasteRule. The order of operations decides the last bit, hence pixels at the threshold.
#pragma once

#include "kernels/paste_kernel.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

template <class T>
struct ExactRule {
  static FM_HD T blend(T a, T weight_a, T b, T weight_b) { return a * weight_a + b * weight_b; }
  static FM_HD bool inside(T value, T threshold) { return value >= threshold; }
};

template <class T>
struct ResizedRule {
  static FM_HD T blend(T a, T weight_a, T b, T weight_b) { return geometry::fused(a, weight_a, b * weight_b); }
  static FM_HD bool inside(T value, T threshold) { return value > threshold; }
};

template <class T>
FM_HD T blend_corners(const geometry::Tap<T>& y, const geometry::Tap<T>& x, T upper_left, T upper_right, T lower_left,
                      T lower_right) {
  using geometry::fused;
  T value = fused(y.near * x.near, upper_left, (y.near * x.far) * upper_right);
  value = fused(y.far * x.near, lower_left, value);
  return fused(y.far * x.far, lower_right, value);
}

template <class T>
FM_HD geometry::Tap<T> tap(const PixelTaps<T>& taps, int64_t k) {
  return {taps.index[k], taps.near[k], taps.far[k]};
}

}  // namespace
}  // namespace fastmrcnn::FASTMRCNN_ISA
