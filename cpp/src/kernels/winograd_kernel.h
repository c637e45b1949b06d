#pragma once

#include "fastmrcnn/ops/winograd_sizes.h"
#include "kernels/kernel.h"

namespace fastmrcnn {

// Of one tile: its 36 transformed values of each channel, the i-th `channels` long at data + i x pitch.
template <class T>
struct WinogradTile {
  T* data;
  int64_t pitch;
};

// The transforms of one tile (ops/winograd.h). `pixels` point at the channels of the tile's pixels, row by row: 6x6
// with its border for the input, 4x4 otherwise. They may repeat: pixels beyond the map are all one.
struct WinogradKernels {
  void (*input)(const float* const* pixels, int64_t channels, const WinogradTile<float>& tile);
  // `bias` of each channel, or null; what lies below `least` becomes `least`.
  void (*output)(const WinogradTile<const float>& tile, const float* bias, float least, int64_t channels,
                 float* const* pixels);
  void (*gradient)(const float* const* pixels, int64_t channels, const WinogradTile<float>& tile);
  // tiles [rows, channels] x weights [channels, kWinogradBlock] -> products [rows, kWinogradBlock], all contiguous.
  void (*multiply)(const float* tiles, int64_t rows, int64_t channels, const float* weights, float* products);
};

FASTMRCNN_DECLARE_KERNEL(extern const WinogradKernels winograd_kernels)

}  // namespace fastmrcnn
