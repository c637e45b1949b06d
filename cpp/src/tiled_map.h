// The tiles of a map for Winograd's transforms. Pixels beyond the map are read from a row of zeros and written to one
// that nobody reads, so that the kernels know no border.
#pragma once

#include "fastmrcnn/ops/winograd.h"

namespace fastmrcnn::cpu {

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

}  // namespace fastmrcnn::cpu
