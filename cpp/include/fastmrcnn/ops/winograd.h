// The transforms of Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2016) for 3x3 convolutions of stride 1 and
// padding 1. Between them the caller multiplies matrices: 36 products per 4x4 pixels and channel pair in place of 144.
//
// Maps are [N, C, H, W] float32, stored as N, H, W, C. A tile is 4x4 pixels of a map; tiles count row by row, image
// after image, ceil(H / 4) x ceil(W / 4) of them to an image. Transformed tiles are [36, T, C] float32, contiguous:
// those of the T tiles from `first_tile` on. Channels must be a multiple of kWinogradLanes.
//
// Sums are in float32 in a fixed order: results are deterministic, and independent of the number of threads. Those of
// the transforms are independent of the instruction set, too; winograd_convolution rounds its products where the
// machine has no fused multiply-add.
#pragma once

#include "fastmrcnn/check.h"
#include "fastmrcnn/ops/winograd_sizes.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

inline std::int64_t winograd_tiles_along(std::int64_t side) {
  return (side + kWinogradTile - 1) / kWinogradTile;
}

inline std::int64_t winograd_tiles(const TensorView& map) {
  return map.shape[0] * winograd_tiles_along(map.shape[2]) * winograd_tiles_along(map.shape[3]);
}

inline void check_winograd_map(const char* op, const char* name, const TensorView& map) {
  check_shape(op, name, map, {-1, -1, -1, -1}, "[N, C, H, W]");
  check_dtype(op, name, map, DType::f32);
  check(map.is_channels_last(), op, ": ", name, " must be channels-last");
  check(map.shape[1] > 0 && map.shape[1] % kWinogradLanes == 0, op, ": ", name, " must have a multiple of ",
        kWinogradLanes, " channels; got ", shape_of(map));
}

inline void check_winograd(const char* op, const char* map_name, const TensorView& map, const TensorView& tiles,
                           std::int64_t first_tile) {
  check_winograd_map(op, map_name, map);
  check_shape(op, "tiles", tiles, {kWinogradPoints * kWinogradPoints, -1, map.shape[1]},
              "[36, T, C] with C that of the map");
  check_dtype(op, "tiles", tiles, DType::f32);
  check_contiguous(op, "tiles", tiles);
  check(first_tile >= 0 && first_tile + tiles.shape[1] <= winograd_tiles(map), op, ": tiles ", first_tile, " to ",
        first_tile + tiles.shape[1], " must be among the map's ", winograd_tiles(map));
}

inline void check_winograd_bias(const char* op, const TensorView& bias, const TensorView& output) {
  if (!bias.defined()) return;
  check_shape(op, "bias", bias, {output.shape[1]}, "[C] with C that of output");
  check_dtype(op, "bias", bias, DType::f32);
  check_contiguous(op, "bias", bias);
}

inline void check_winograd_convolution(const TensorView& input, const TensorView& weights, const TensorView& bias,
                                       const TensorView& workspace, const TensorView& output) {
  constexpr const char* op = "winograd_convolution";
  constexpr std::int64_t points = kWinogradPoints * kWinogradPoints;
  check_winograd_map(op, "input", input);
  check_winograd_map(op, "output", output);
  check_shape(op, "output", output, {input.shape[0], -1, input.shape[2], input.shape[3]},
              "[N, K, H, W] with N, H and W those of input");
  const std::int64_t blocks = (output.shape[1] + kWinogradBlock - 1) / kWinogradBlock;
  check_shape(op, "weights", weights, {blocks, points, input.shape[1], kWinogradBlock},
              "[ceil(K / 32), 36, C, 32] with K and C those of output and input");
  check_dtype(op, "weights", weights, DType::f32);
  check_contiguous(op, "weights", weights);
  check_winograd_bias(op, bias, output);
  check_shape(op, "workspace", workspace, {-1, -1, points * (input.shape[1] + kWinogradBlock)},
              "[threads, tiles, 36 * (C + 32)] with C that of input");
  check(workspace.shape[0] > 0 && workspace.shape[1] > 0, op, ": workspace must not be empty; got ",
        shape_of(workspace));
  check_dtype(op, "workspace", workspace, DType::f32);
  check_contiguous(op, "workspace", workspace);
  check_writable(op, "workspace", workspace);
  check_writable(op, "output", output);
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

// The whole convolution, for weights that stay: input [N, C, H, W] -> output [N, K, H, W].
//
// `weights` are [ceil(K / 32), 36, C, 32]: the points of each 3x3 kernel, whose output channels come in blocks of 32,
// the last one filled up with zeros. bias [K], or undefined, is added; `rectified` values are those of a rectified
// linear unit. `workspace` [threads, tiles, 36 * (C + 32)] says how many threads work at most, on so many tiles at a
// time; results do not depend on it.
void winograd_convolution(const Context& context, const TensorView& input, const TensorView& weights,
                          const TensorView& bias, bool rectified, const TensorView& workspace,
                          const TensorView& output);
}  // namespace cpu

}  // namespace fastmrcnn
