// What both ways of pasting prepare for one mask: where it lies in the image and how its pixels sample it.
#pragma once

#include <cstdint>
#include <vector>

#include "fastmrcnn/isa.h"
#include "fastmrcnn/ops/paste_masks.h"
#include "kernels/paste_kernel.h"

namespace fastmrcnn::cpu {

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
  Axis(geometry::PasteRule rule, const geometry::PasteAxis<T>& axis, std::int64_t mask_size)
      : span(axis.span), index_(span.size()), weights_(2 * span.size()) {
    if (rule == geometry::PasteRule::exact) {
      fill_sampled(span.begin, axis.low, axis.high, mask_size, taps());
    } else {
      fill_resized(span.begin - axis.first, axis.scale, axis.fused, taps());
    }
  }

  PixelTaps<T> taps() { return {index_.data(), weights_.data(), weights_.data() + span.size(), span.size()}; }

  geometry::PixelSpan span;

 private:
  std::vector<std::int32_t> index_;
  std::vector<T> weights_;
};

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
