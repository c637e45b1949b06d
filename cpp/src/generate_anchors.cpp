// One task per row of the feature map; bound by the stores, which the compiler vectorises at every level.
#include "fastmrcnn/ops/generate_anchors.h"

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/geometry/anchors.h"
#include "fastmrcnn/parallel.h"

namespace fastmrcnn {

namespace geometry {

std::vector<Box<float>> cell_anchors(const std::vector<double>& sizes, const std::vector<double>& aspect_ratios,
                                     bool rounded, bool sizes_first) {
  const std::size_t outer = sizes_first ? sizes.size() : aspect_ratios.size();
  const std::size_t inner = sizes_first ? aspect_ratios.size() : sizes.size();
  std::vector<Box<float>> cell;
  cell.reserve(outer * inner);
  for (std::size_t i = 0; i < outer; ++i) {
    for (std::size_t j = 0; j < inner; ++j) {
      const double size = sizes[sizes_first ? i : j], ratio = aspect_ratios[sizes_first ? j : i];
      cell.push_back(rounded ? rounded_anchor(static_cast<float>(size), static_cast<float>(ratio))
                             : exact_anchor(size, ratio));
    }
  }
  return cell;
}

}  // namespace geometry

namespace cpu {

void generate_anchors(const Context& context, const std::array<std::int64_t, 2>& stride,
                      const std::vector<double>& sizes, const std::vector<double>& aspect_ratios, bool rounded,
                      bool sizes_first, const TensorView& anchors) {
  check_generate_anchors(sizes, aspect_ratios, anchors);
  const std::vector<geometry::Box<float>> cell = geometry::cell_anchors(sizes, aspect_ratios, rounded, sizes_first);
  const std::int64_t rows = anchors.shape[0], columns = anchors.shape[1];
  dispatch_floating("generate_anchors", "dtype", anchors.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    auto* out = anchors.as<geometry::Box<T>>();
    const auto per_cell = static_cast<std::int64_t>(cell.size());
    parallel_for(limit_threads(context, anchors.numel()), rows, [&](std::int64_t row) {
      const T y = static_cast<T>(row * stride[0]);
      geometry::Box<T>* next = out + row * columns * per_cell;
      for (std::int64_t column = 0; column < columns; ++column) {
        const T x = static_cast<T>(column * stride[1]);
        for (const geometry::Box<float>& anchor : cell) *next++ = geometry::shifted(anchor, x, y);
      }
    });
  });
}

}  // namespace cpu

}  // namespace fastmrcnn
