// Winograd's transforms on the CPU: threads share out runs of tiles. Pixels beyond the map are read from a row of zeros
// and written to one that nobody reads, so that the kernels know no border.
#include "fastmrcnn/ops/winograd.h"

#include <algorithm>
#include <vector>

#include "fastmrcnn/isa.h"
#include "fastmrcnn/parallel.h"
#include "kernels/winograd_kernel.h"

namespace fastmrcnn::cpu {
namespace {

constexpr IsaTable<const WinogradKernels*> kKernels = FASTMRCNN_ISA_TABLE(winograd_kernels);
constexpr std::int64_t kTilesPerTask = 8;
constexpr std::int64_t kNanosecondsPerTileAndChannel = 4;

// A map's tiles and the addresses of their pixels.
template <class T>
class TiledMap {
 public:
  explicit TiledMap(const TensorView& map)
      : data_(map.as<T>()),
        channels_(map.shape[1]),
        height_(map.shape[2]),
        width_(map.shape[3]),
        rows_(winograd_tiles_along(height_)),
        columns_(winograd_tiles_along(width_)) {}

  std::int64_t channels() const { return channels_; }

  // Of the tile and `border` pixels around it, row by row; `beyond` stands for what is not on the map.
  void find_pixels(std::int64_t tile, std::int64_t border, T* beyond, T** pixels) const {
    const std::int64_t image = tile / (rows_ * columns_), row = tile / columns_ % rows_, column = tile % columns_;
    const std::int64_t side = kWinogradTile + 2 * border;
    const std::int64_t top = row * kWinogradTile - border, left = column * kWinogradTile - border;
    for (std::int64_t y = top; y < top + side; ++y) {
      for (std::int64_t x = left; x < left + side; ++x) {
        const bool inside = y >= 0 && y < height_ && x >= 0 && x < width_;
        *pixels++ = inside ? data_ + ((image * height_ + y) * width_ + x) * channels_ : beyond;
      }
    }
  }

 private:
  T* data_;
  std::int64_t channels_, height_, width_, rows_, columns_;
};

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
  if (bias.defined()) {
    check_shape(op, "bias", bias, {output.shape[1]}, "[C] with C that of output");
    check_dtype(op, "bias", bias, DType::f32);
    check_contiguous(op, "bias", bias);
  }
  const TiledMap<float> map(output);
  const float* added = bias.defined() ? bias.as<const float>() : nullptr;
  for_each_tile(context, map, 0, first_tile, tiles.shape[1], [&](std::int64_t tile, const auto& pixels) {
    kKernels.get()->output(tile_of<const float>(tiles, tile), added, map.channels(), pixels);
  });
}

}  // namespace fastmrcnn::cpu
