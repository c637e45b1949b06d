// Anchors of one level, one thread an anchor.
//
// The host computes the few anchors of a cell, as for the CPU kernel, and hands them over as kernel parameters, which
// the constant cache serves: nothing is copied and both devices have the same bits. More anchors a cell than the
// parameters hold take further launches.
//
// Memory: writes 16 bytes an anchor, coalesced, and reads nothing. The 268,569 anchors of an 800 x 1344 image are 4.3
// MB: predicted 1 us on an H200 (4.3 TB/s) in five launches, one a level. Full occupancy. Deterministic; the corners of
// a cell's anchors are float32, their sums with the cell's place are in the dtype of the result.
#include "fastmrcnn/ops/generate_anchors.h"

#include <algorithm>

#include "fastmrcnn/dtype.h"
#include "fastmrcnn/geometry/anchors.h"
#include "launch.cuh"

namespace fastmrcnn::cuda {
namespace {

using geometry::Box;

// Some of the anchors of a cell; 2 KiB of the 4 that kernel parameters may have everywhere.
struct CellAnchors {
  static constexpr int kMost = 128;
  Box<float> anchor[kMost];
  int count;
};

struct Grid {
  std::int64_t rows, columns, stride_y, stride_x;
};

// Writes anchors [first, first + cell.count) of every cell, of which each has `per_cell`.
template <class T>
__global__ void place_anchors(const __grid_constant__ CellAnchors cell, Grid grid, std::int64_t first,
                              std::int64_t per_cell, Box<T>* __restrict__ anchors) {
  const std::int64_t count = grid.rows * grid.columns * cell.count, step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t k = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; k < count; k += step) {
    const std::int64_t place = k / cell.count, anchor = k % cell.count;
    const T y = static_cast<T>(place / grid.columns * grid.stride_y);
    const T x = static_cast<T>(place % grid.columns * grid.stride_x);
    anchors[place * per_cell + first + anchor] = geometry::shifted(cell.anchor[anchor], x, y);
  }
}

}  // namespace

void generate_anchors(const Context& context, const std::array<std::int64_t, 2>& stride,
                      const std::vector<double>& sizes, const std::vector<double>& aspect_ratios, bool rounded,
                      bool sizes_first, const TensorView& anchors) {
  check_generate_anchors(sizes, aspect_ratios, anchors);
  const std::vector<Box<float>> all = geometry::cell_anchors(sizes, aspect_ratios, rounded, sizes_first);
  const Grid grid{anchors.shape[0], anchors.shape[1], stride[0], stride[1]};
  const auto per_cell = static_cast<std::int64_t>(all.size());
  if (anchors.numel() == 0) return;
  dispatch_floating("generate_anchors", "dtype", anchors.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (std::int64_t first = 0; first < per_cell; first += CellAnchors::kMost) {
      CellAnchors cell;
      cell.count = static_cast<int>(std::min<std::int64_t>(CellAnchors::kMost, per_cell - first));
      std::copy_n(all.begin() + first, cell.count, cell.anchor);
      constexpr int kThreads = 256;
      launch("generate_anchors", context, place_anchors<T>,
             {blocks_for(grid.rows * grid.columns * cell.count, kThreads), kThreads}, cell, grid, first, per_cell,
             anchors.as<Box<T>>());
    }
  });
}

}  // namespace fastmrcnn::cuda
