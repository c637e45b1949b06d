// Anchors of one pyramid level.
#pragma once

#include <array>
#include <vector>

#include "fastmrcnn/check.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

// anchors [H, W, A, 4] out, x1, y1, x2, y2 in pixels, float32 or float64, contiguous; H and W are those of the feature
// map, A = number of sizes * number of aspect ratios. The cell in row i and column j is centred on
// (j * stride[1], i * stride[0]); within a cell the sizes run inside the ratios, or outside with `sizes_first`.
//
// Sizes are square roots of areas in pixels, ratios are height / width, strides are (vertical, horizontal) in pixels.
inline void check_generate_anchors(const std::vector<double>& sizes, const std::vector<double>& aspect_ratios,
                                   const TensorView& anchors) {
  const auto per_cell = static_cast<std::int64_t>(sizes.size() * aspect_ratios.size());
  check_shape("generate_anchors", "anchors", anchors, {-1, -1, per_cell, 4}, "[H, W, A, 4]");
  check_contiguous("generate_anchors", "anchors", anchors);
  check_writable("generate_anchors", "anchors", anchors);
}

namespace cpu {
void generate_anchors(const Context& context, const std::array<std::int64_t, 2>& stride,
                      const std::vector<double>& sizes, const std::vector<double>& aspect_ratios, bool rounded,
                      bool sizes_first, const TensorView& anchors);
}  // namespace cpu

namespace cuda {
decltype(cpu::generate_anchors) generate_anchors;
}  // namespace cuda

}  // namespace fastmrcnn
