// Where the pixels of an image sample a small square mask that fills a box.
//
// The mask is stored with one row and column of zeros before and two after it ("padded"), so that every sample reads
// two neighbours per axis without a bounds test.
#pragma once

#include <stdint.h>

#include "fastmrcnn/geometry/box.h"

namespace fastmrcnn::geometry {

constexpr int32_t kMaskPadding = 3;

// One axis of a sample: the neighbours `index` and `index + 1` of the padded mask and their weights.
template <class T>
struct Tap {
  int32_t index;
  T near, far;
};

FM_HD float fused(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}
FM_HD double fused(double a, double b, double c) {
  return __builtin_fma(a, b, c);
}

// torchvision: the box grows with the mask's padding of one cell, its corners are truncated to whole pixels, and the
// mask is resized to (x2 - x1 + 1) x (y2 - y1 + 1) pixels.
struct PixelBox {
  int64_t x1, y1, x2, y2;
};

// False where a corner is NaN or beyond 2^60: torchvision's result is undefined there.
template <class T>
FM_HD bool grown_pixel_box(const Box<T>& box, int64_t mask_size, PixelBox* grown) {
  const T scale = static_cast<T>(static_cast<double>(mask_size + 2) / static_cast<double>(mask_size));
  const T half_width = (box.x2 - box.x1) * T(0.5) * scale, half_height = (box.y2 - box.y1) * T(0.5) * scale;
  const T center_x = (box.x2 + box.x1) * T(0.5), center_y = (box.y2 + box.y1) * T(0.5);
  const Box<T> exact{center_x - half_width, center_y - half_height, center_x + half_width, center_y + half_height};
  const auto fits = [](T corner) { return corner >= -T(int64_t{1} << 60) && corner <= T(int64_t{1} << 60); };
  if (!(fits(exact.x1) && fits(exact.y1) && fits(exact.x2) && fits(exact.y2))) return false;
  *grown = {static_cast<int64_t>(exact.x1), static_cast<int64_t>(exact.y1), static_cast<int64_t>(exact.x2),
            static_cast<int64_t>(exact.y2)};
  return true;
}

// torch's bilinear resizing (align_corners=False), `scale` being padded mask cells per pixel: its source position and
// weights to the last bit. Whether the position is rounded once (kFused) or twice depends on how torch was compiled.
template <bool kFused, class T>
FM_HD Tap<T> resized_tap(int64_t pixel, T scale) {
  const T center = static_cast<T>(pixel) + T(0.5);
  const T source = max_of(kFused ? fused(scale, center, T(-0.5)) : scale * center - T(0.5), T(0));
  const auto index = static_cast<int32_t>(source);
  const T far = source - static_cast<T>(index);
  return {index, T(1) - far, far};
}

// Exact paste, detectron2's rule: the mask's value at the pixel's centre, the mask stretched over [low, high] without
// rounding and zeros beyond it (grid_sample with align_corners=False, in its arithmetic to the last bit on machines
// with fused multiply-add). Where no cell is in reach the weights are zero, and so are the rows that the tap reads, the
// first or the last ones.
template <class T>
FM_HD Tap<T> sampled_tap(int64_t pixel, T low, T high, int64_t mask_size) {
  const T size = static_cast<T>(mask_size);
  const T normalized = (static_cast<T>(pixel) + T(0.5) - low) / (high - low) * T(2) - T(1);
  // In cells from the centre of the first one.
  const T position = fused(normalized + T(1), size / T(2), T(-0.5));
  if (!(position > T(-1))) return {0, T(0), T(0)};
  if (!(position < size)) return {static_cast<int32_t>(mask_size) + 1, T(0), T(0)};
  auto cell = static_cast<int32_t>(position);
  if (position < static_cast<T>(cell)) --cell;
  const T far = position - static_cast<T>(cell);
  return {cell + 1, T(1) - far, far};
}

}  // namespace fastmrcnn::geometry
