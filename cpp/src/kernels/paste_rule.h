// The arithmetic of each PasteRule. The order of operations decides the last bit, hence pixels at the threshold.
#pragma once

#include "kernels/paste_kernel.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

// Values of the mask around a pixel.
template <class T>
struct Corners {
  T upper_left, upper_right, lower_left, lower_right;
};

// PasteRule::exact.
template <class T>
FM_HD bool is_inside_sampled(const geometry::Tap<T>& y, const geometry::Tap<T>& x, const Corners<T>& corners,
                             T threshold) {
  using geometry::fused;
  T value = corners.upper_left * (y.near * x.near);
  value = fused(corners.upper_right, y.near * x.far, value);
  value = fused(corners.lower_left, y.far * x.near, value);
  return fused(corners.lower_right, y.far * x.far, value) >= threshold;
}

// PasteRule::resized, for the two directions one after the other.
template <class T>
FM_HD T blend_resized(T a, T weight_a, T b, T weight_b) {
  return geometry::fused(a, weight_a, b * weight_b);
}

// PasteRule::resized_corners.
template <class T>
FM_HD bool is_inside_resized(const geometry::Tap<T>& y, const geometry::Tap<T>& x, const Corners<T>& corners,
                             T threshold) {
  using geometry::fused;
  T value = fused(y.near * x.near, corners.upper_left, (y.near * x.far) * corners.upper_right);
  value = fused(y.far * x.near, corners.lower_left, value);
  return fused(y.far * x.far, corners.lower_right, value) > threshold;
}

template <class T>
FM_HD geometry::Tap<T> tap(const PixelTaps<T>& taps, int64_t k) {
  return {taps.index[k], taps.near[k], taps.far[k]};
}

}  // namespace
}  // namespace fastmrcnn::FASTMRCNN_ISA
