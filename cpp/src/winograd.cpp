// Winograd's transforms on the CPU: threads share out runs of tiles.
#include "fastmrcnn/ops/winograd.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "fastmrcnn/isa.h"
#include "fastmrcnn/parallel.h"
#include "kernels/winograd_kernel.h"
#include "tiled_map.h"

namespace fastmrcnn::cpu {
namespace {

constexpr IsaTable<const WinogradKernels*> kKernels = FASTMRCNN_ISA_TABLE(winograd_kernels);
constexpr std::int64_t kTilesPerTask = 8;
constexpr std::int64_t kNanosecondsPerTileAndChannel = 4;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Calls body(tile, pixels) for every one of `tiles`, whose pixels are those of tile `first_tile` + tile of the map.
template <class T, class Body>
void for_each_tile(const Context& context, const TiledMap<T>& map, std::int64_t border, std::int64_t first_tile,
                   std::int64_t tiles, const Body& body) {
  const Context limited = limit_threads(context, tiles * map.channels() * kNanosecondsPerTileAndChannel);
  parallel_for(limited, (tiles + kTilesPerTask - 1) / kTilesPerTask, [&](std::int64_t task) {
    std::vector<std::remove_const_t<T>> beyond(map.channels());
    T* pixels[kWinogradPoints * kWinogradPoints];
    const std::int64_t end = std::min(tiles, (task + 1) * kTilesPerTask);
    for (std::int64_t tile = task * kTilesPerTask; tile < end; ++tile) {
      map.find_pixels(first_tile + tile, border, beyond.data(), pixels);
      body(tile, pixels);
    }
  });
}

template <class T>
WinogradTile<T> tile_of(const TensorView& tiles, std::int64_t tile) {
  const std::int64_t channels = tiles.shape[2];
  return {tiles.as<T>() + tile * channels, tiles.shape[1] * channels};
}

void transform_pixels(const Context& context, const TensorView& map, std::int64_t border, std::int64_t first_tile,
                      const TensorView& tiles, decltype(WinogradKernels::input) kernel) {
  const TiledMap<const float> pixels_of(map);
  for_each_tile(context, pixels_of, border, first_tile, tiles.shape[1], [&](std::int64_t tile, const auto& pixels) {
    kernel(pixels, pixels_of.channels(), tile_of<float>(tiles, tile));
  });
}

}  // namespace

void winograd_input(const Context& context, const TensorView& input, std::int64_t first_tile, const TensorView& tiles) {
  check_winograd("winograd_input", "input", input, tiles, first_tile);
  check_writable("winograd_input", "tiles", tiles);
  transform_pixels(context, input, 1, first_tile, tiles, kKernels.get()->input);
}

void winograd_gradient(const Context& context, const TensorView& grad_output, std::int64_t first_tile,
                       const TensorView& tiles) {
  check_winograd("winograd_gradient", "grad_output", grad_output, tiles, first_tile);
  check_writable("winograd_gradient", "tiles", tiles);
  transform_pixels(context, grad_output, 0, first_tile, tiles, kKernels.get()->gradient);
}

void winograd_output(const Context& context, const TensorView& tiles, const TensorView& bias, std::int64_t first_tile,
                     const TensorView& output) {
  constexpr const char* op = "winograd_output";
  check_winograd(op, "output", output, tiles, first_tile);
  check_writable(op, "output", output);
  check_winograd_bias(op, bias, output);
  const TiledMap<float> map(output);
  const float* added = bias.defined() ? bias.as<const float>() : nullptr;
  for_each_tile(context, map, 0, first_tile, tiles.shape[1], [&](std::int64_t tile, const auto& pixels) {
    kKernels.get()->output(tile_of<const float>(tiles, tile), added, -kInfinity, map.channels(), pixels);
  });
}

}  // namespace fastmrcnn::cpu
