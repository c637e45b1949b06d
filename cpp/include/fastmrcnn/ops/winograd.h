// The transforms of Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2016) for 3x3 convolutions of stride 1 and
// padding 1. Between them the caller multiplies matrices: 36 products per 4x4 pixels and channel pair in place of 144.
//
// Maps are [N, C, H, W] float32, stored as N, H, W, C. A tile is 4x4 pixels of a map; tiles count row by row, image
// after image, ceil(H / 4) x ceil(W / 4) of them to an image. Transformed tiles are [36, T, C] float32, contiguous:
// those of the T tiles from `first_tile` on. Channels must be a multiple of kWinogradLanes.
//
// Sums are in float32 in a fixed order: results are deterministic, and independent of the number of threads and of the
// instruction set.
#pragma once

#include "fastmrcnn/check.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

constexpr std::int64_t kWinogradTile = 4;    // pixels along a side
constexpr std::int64_t kWinogradPoints = 6;  // transformed values along a side
constexpr std::int64_t kWinogradLanes = 16;  // channels of the widest instruction set's pack

inline std::int64_t winograd_tiles_along(std::int64_t side) {
  return (side + kWinogradTile - 1) / kWinogradTile;
}

inline std::int64_t winograd_tiles(const TensorView& map) {
  return map.shape[0] * winograd_tiles_along(map.shape[2]) * winograd_tiles_along(map.shape[3]);
}

inline void check_winograd(const char* op, const char* map_name, const TensorView& map, const TensorView& tiles,
                           std::int64_t first_tile) {
  check_shape(op, map_name, map, {-1, -1, -1, -1}, "[N, C, H, W]");
  check_dtype(op, map_name, map, DType::f32);
  check(map.is_channels_last(), op, ": ", map_name, " must be channels-last");
  const std::int64_t channels = map.shape[1];
  check(channels > 0 && channels % kWinogradLanes == 0, op, ": ", map_name, " must have a multiple of ", kWinogradLanes,
        " channels; got ", shape_of(map));
  check_shape(op, "tiles", tiles, {kWinogradPoints * kWinogradPoints, -1, channels},
              "[36, T, C] with C that of the map");
  check_dtype(op, "tiles", tiles, DType::f32);
  check_contiguous(op, "tiles", tiles);
  check(first_tile >= 0 && first_tile + tiles.shape[1] <= winograd_tiles(map), op, ": tiles ", first_tile, " to ",
        first_tile + tiles.shape[1], " must be among the map's ", winograd_tiles(map));
}

namespace cpu {
// input [N, C, H, W] -> tiles: of each tile and its border of one pixel, which is zero beyond the map.
void winograd_input(const Context& context, const TensorView& input, std::int64_t first_tile, const TensorView& tiles);

// tiles, the products -> their pixels of output [N, C, H, W]; bias [C], or undefined, is added.
void winograd_output(const Context& context, const TensorView& tiles, const TensorView& bias, std::int64_t first_tile,
                     const TensorView& output);

// grad_output [N, C, H, W] -> tiles: the gradient of winograd_output with respect to its tiles.
void winograd_gradient(const Context& context, const TensorView& grad_output, std::int64_t first_tile,
                       const TensorView& tiles);
}  // namespace cpu

}  // namespace fastmrcnn
