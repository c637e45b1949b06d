// What both ways of pasting prepare for one mask: where it lies in the image and how its pixels sample it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "fastmrcnn/isa.h"
#include "fastmrcnn/ops/paste_masks.h"
#include "kernels/paste_kernel.h"

namespace fastmrcnn::cpu {

// Pixels [begin, end) of one axis.
struct PixelSpan {
  std::int64_t begin = 0, end = 0;

  std::int64_t size() const { return end - begin; }
};

inline void fill_resized(std::int64_t first, float scale, bool fused, const PixelTaps<float>& taps) {
  static constexpr IsaTable<decltype(&baseline::resized_taps_f32)> table = FASTMRCNN_ISA_TABLE(resized_taps_f32);
  table.get()(first, scale, fused, taps);
}

inline void fill_resized(std::int64_t first, double scale, bool fused, const PixelTaps<double>& taps) {
  static constexpr IsaTable<decltype(&baseline::resized_taps_f64)> table = FASTMRCNN_ISA_TABLE(resized_taps_f64);
  table.get()(first, scale, fused, taps);
}

inline void fill_sampled(std::int64_t first, float low, float high, std::int64_t size, const PixelTaps<float>& taps) {
  static constexpr IsaTable<decltype(&baseline::sampled_taps_f32)> table = FASTMRCNN_ISA_TABLE(sampled_taps_f32);
  table.get()(first, low, high, size, taps);
}

inline void fill_sampled(std::int64_t first, double low, double high, std::int64_t size,
                         const PixelTaps<double>& taps) {
  static constexpr IsaTable<decltype(&baseline::sampled_taps_f64)> table = FASTMRCNN_ISA_TABLE(sampled_taps_f64);
  table.get()(first, low, high, size, taps);
}

// The taps of one axis, with their memory.
template <class T>
class Axis {
 public:
  Axis() = default;

  // torchvision's: the visible ones of `pixels`, over which a mask is resized with `scale` cells per pixel.
  static Axis resized(PixelSpan pixels, T scale, std::int64_t image, bool fused) {
    Axis axis({std::clamp<std::int64_t>(pixels.begin, 0, image), std::clamp<std::int64_t>(pixels.end, 0, image)});
    if (axis.span.size() > 0) fill_resized(axis.span.begin - pixels.begin, scale, fused, axis.taps());
    return axis;
  }

  // The pixels that a mask stretched over [low, high] can reach: half a cell beyond it, and a pixel for rounding.
  static Axis sampled(T low, T high, std::int64_t image, std::int64_t mask_size) {
    const T extent = high - low;
    if (!(extent > 0 && std::isfinite(extent))) return {};
    const T reach = extent / static_cast<T>(2 * mask_size) + 2;
    const auto to_pixel = [&](T x) { return static_cast<std::int64_t>(std::clamp(x, T(0), static_cast<T>(image))); };
    Axis axis({to_pixel(std::floor(low - reach)), std::min(to_pixel(std::ceil(high + reach)), image)});
    if (axis.span.size() > 0) fill_sampled(axis.span.begin, low, high, mask_size, axis.taps());
    return axis;
  }

  PixelTaps<T> taps() { return {index_.data(), weights_.data(), weights_.data() + span.size(), span.size()}; }

  PixelSpan span;

 private:
  explicit Axis(PixelSpan pixels) : span(pixels) {
    if (span.size() <= 0) span = {};
    index_.resize(span.size());
    weights_.resize(2 * span.size());
  }

  std::vector<std::int32_t> index_;
  std::vector<T> weights_;
};

template <class T>
struct Placement {
  PasteRule rule = PasteRule::exact;
  Axis<T> x, y;

  bool empty() const { return x.span.size() == 0 || y.span.size() == 0; }
};

template <class T, class BoxT>
Placement<T> place_resized(const geometry::Box<BoxT>& box, std::int64_t mask_size, std::int64_t height,
                           std::int64_t width, bool fused_position) {
  geometry::PixelBox grown;
  if (!geometry::grown_pixel_box(box, mask_size, &grown)) return {};
  const PixelSpan x{grown.x1, grown.x2 + 1}, y{grown.y1, grown.y2 + 1};
  const std::int64_t columns = std::max<std::int64_t>(x.size(), 1), rows = std::max<std::int64_t>(y.size(), 1);
  // torch resizes to small outputs by another kernel, whose sums run in another order.
  const bool small = columns + rows <= 128;
  const bool fused = small || fused_position;
  const T cells = static_cast<T>(mask_size + 2);
  return {small ? PasteRule::resized_corners : PasteRule::resized,
          Axis<T>::resized(x, cells / static_cast<T>(columns), width, fused),
          Axis<T>::resized(y, cells / static_cast<T>(rows), height, fused)};
}

template <class T, class BoxT>
Placement<T> place(const geometry::Box<BoxT>& box, std::int64_t mask_size, std::int64_t height, std::int64_t width,
                   const PasteOptions& options) {
  if (options.method == PasteMethod::torchvision) {
    return place_resized<T>(box, mask_size, height, width, options.fused_position);
  }
  return {PasteRule::exact, Axis<T>::sampled(T(box.x1), T(box.x2), width, mask_size),
          Axis<T>::sampled(T(box.y1), T(box.y2), height, mask_size)};
}

// The mask with its border of zeros, transposed if wanted.
template <class T>
std::vector<T> padded_mask(const T* mask, std::int64_t size, bool transposed) {
  const std::int64_t side = size + geometry::kMaskPadding;
  std::vector<T> padded(side * side, T(0));
  const std::int64_t row_step = transposed ? 1 : side, column_step = transposed ? side : 1;
  for (std::int64_t i = 0; i < size; ++i) {
    T* out = padded.data() + (i + 1) * row_step + column_step;
    for (std::int64_t j = 0; j < size; ++j) out[j * column_step] = mask[i * size + j];
  }
  return padded;
}

}  // namespace fastmrcnn::cpu
