// Where a mask lies in the image: the pixels within its reach, and how each of them samples it.
#pragma once

#include "fastmrcnn/geometry/paste_rule.h"
#include "fastmrcnn/geometry/roi.h"

namespace fastmrcnn::geometry {

enum class PasteMethod { exact, torchvision };

// Pixels [begin, end) of one axis.
struct PixelSpan {
  int64_t begin = 0, end = 0;

  FM_HD int64_t size() const { return end - begin; }
};

FM_HD PixelSpan visible(const PixelSpan& pixels, int64_t image) {
  const PixelSpan seen{max_of(int64_t{0}, min_of(pixels.begin, image)), max_of(int64_t{0}, min_of(pixels.end, image))};
  return seen.begin < seen.end ? seen : PixelSpan{};
}

// One axis of a mask in the image.
template <class T>
struct PasteAxis {
  PixelSpan span;       // what is within reach and visible
  T low = 0, high = 0;  // exact: what the mask is stretched over
  int64_t first = 0;    // torchvision: the resized mask's first pixel, visible or not,
  T scale = 0;          // and its cells per pixel
  bool fused = false;   // see resized_tap
};

// The pixels that a mask stretched over [low, high] can reach: half a cell beyond it, and a pixel for rounding.
template <class T>
FM_HD PasteAxis<T> sampled_axis(T low, T high, int64_t image, int64_t mask_size) {
  const T extent = high - low;
  if (!(extent > T(0) && is_finite(extent))) return {};
  const T reach = extent / static_cast<T>(2 * mask_size) + T(2);
  const auto on_image = [=](T x) { return max_of(T(0), min_of(x, static_cast<T>(image))); };
  const T end = on_image(high + reach);
  const auto whole = static_cast<int64_t>(end);
  const PixelSpan reached{static_cast<int64_t>(on_image(low - reach)), static_cast<T>(whole) < end ? whole + 1 : whole};
  return {visible(reached, image), low, high};
}

// torchvision's: of `pixels`, over which a mask with its padding, `cells` in all, is resized.
template <class T>
FM_HD PasteAxis<T> resized_axis(const PixelSpan& pixels, T cells, int64_t image, bool fused_position) {
  const T scale = cells / static_cast<T>(max_of(pixels.size(), int64_t{1}));
  return {visible(pixels, image), T(0), T(0), pixels.begin, scale, fused_position};
}

template <class T>
struct Placement {
  PasteRule rule = PasteRule::exact;
  PasteAxis<T> x, y;

  FM_HD bool empty() const { return x.span.size() == 0 || y.span.size() == 0; }
};

template <class T, class BoxT>
FM_HD Placement<T> place_resized(const Box<BoxT>& box, int64_t mask_size, int64_t height, int64_t width,
                                 bool fused_position) {
  PixelBox grown;
  if (!grown_pixel_box(box, mask_size, &grown)) return {};
  const PixelSpan x{grown.x1, grown.x2 + 1}, y{grown.y1, grown.y2 + 1};
  // torch resizes to small outputs by another kernel, whose sums run in another order.
  const bool small = max_of(x.size(), int64_t{1}) + max_of(y.size(), int64_t{1}) <= 128;
  const T cells = static_cast<T>(mask_size + 2);
  return {small ? PasteRule::resized_corners : PasteRule::resized,
          resized_axis(x, cells, width, small || fused_position),
          resized_axis(y, cells, height, small || fused_position)};
}

// `fused_position`: see resized_tap.
template <class T, class BoxT>
FM_HD Placement<T> place_mask(const Box<BoxT>& box, int64_t mask_size, int64_t height, int64_t width,
                              PasteMethod method, bool fused_position) {
  if (method == PasteMethod::torchvision) return place_resized<T>(box, mask_size, height, width, fused_position);
  return {PasteRule::exact, sampled_axis(T(box.x1), T(box.x2), width, mask_size),
          sampled_axis(T(box.y1), T(box.y2), height, mask_size)};
}

// The tap of pixel `k` of the span. It ascends with k.
template <class T>
FM_HD Tap<T> tap_of(PasteRule rule, const PasteAxis<T>& axis, int64_t k, int64_t mask_size) {
  const int64_t pixel = axis.span.begin + k;
  if (rule == PasteRule::exact) return sampled_tap(pixel, axis.low, axis.high, mask_size);
  return axis.fused ? resized_tap<true>(pixel - axis.first, axis.scale)
                    : resized_tap<false>(pixel - axis.first, axis.scale);
}

}  // namespace fastmrcnn::geometry
