// The whole of Winograd's filtering on the CPU. A thread takes a run of tiles, as many as stay in its cache once they
// are transformed, and does all of the work on it: no thread waits for another, and memory sees the maps and the
// weights alone.
#include <algorithm>
#include <atomic>
#include <limits>
#include <vector>

#include "fastmrcnn/isa.h"
#include "fastmrcnn/ops/winograd.h"
#include "fastmrcnn/parallel.h"
#include "kernels/winograd_kernel.h"
#include "tiled_map.h"

namespace fastmrcnn::cpu {
namespace {

constexpr IsaTable<const WinogradKernels*> kKernels = FASTMRCNN_ISA_TABLE(winograd_kernels);
constexpr std::int64_t kPoints = kWinogradPoints * kWinogradPoints;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Convolution {
 public:
  Convolution(const TensorView& input, const TensorView& weights, const TensorView& bias, bool rectified,
              const TensorView& output)
      : input_(input),
        output_(output),
        weights_(weights.as<const float>()),
        bias_(bias.defined() ? bias.as<const float>() : nullptr),
        least_(rectified ? 0.0f : -kInfinity) {}

  // The tiles from `first` on, `count` of them; in `memory` of [count, 36 * (C + kWinogradBlock)].
  void compute(std::int64_t first, std::int64_t count, float* memory) const {
    float *transformed = memory, *products = memory + kPoints * count * input_.channels();
    transform(first, count, transformed);
    for (std::int64_t channel = 0; channel < output_.channels(); channel += kWinogradBlock) {
      multiply(channel, count, transformed, products);
      write(channel, first, count, products);
    }
  }

 private:
  // -> [36, count, C]
  void transform(std::int64_t first, std::int64_t count, float* transformed) const {
    const std::int64_t channels = input_.channels();
    const std::vector<float> zeros(channels);
    const float* pixels[kPoints];
    for (std::int64_t tile = 0; tile < count; ++tile) {
      input_.find_pixels(first + tile, 1, zeros.data(), pixels);
      kernels_.input(pixels, channels, {transformed + tile * channels, count * channels});
    }
  }

  // -> [36, count, kWinogradBlock], of the output channels from `channel` on.
  void multiply(std::int64_t channel, std::int64_t count, const float* transformed, float* products) const {
    const std::int64_t channels = input_.channels();
    for (std::int64_t point = 0; point < kPoints; ++point) {
      const float* weights = weights_ + (channel * kPoints + point * kWinogradBlock) * channels;
      kernels_.multiply(transformed + point * count * channels, count, channels, weights,
                        products + point * count * kWinogradBlock);
    }
  }

  void write(std::int64_t channel, std::int64_t first, std::int64_t count, const float* products) const {
    const std::int64_t channels = std::min(kWinogradBlock, output_.channels() - channel);
    std::vector<float> beyond(output_.channels());
    float* pixels[kWinogradTile * kWinogradTile];
    for (std::int64_t tile = 0; tile < count; ++tile) {
      output_.find_pixels(first + tile, 0, beyond.data(), pixels);
      for (float*& pixel : pixels) pixel += channel;
      kernels_.output({products + tile * kWinogradBlock, count * kWinogradBlock},
                      bias_ == nullptr ? nullptr : bias_ + channel, least_, channels, pixels);
    }
  }

  const WinogradKernels& kernels_ = *kKernels.get();
  TiledMap<const float> input_;
  TiledMap<float> output_;
  const float* weights_;
  const float* bias_;
  float least_;
};

}  // namespace

void winograd_convolution(const Context& context, const TensorView& input, const TensorView& weights,
                          const TensorView& bias, bool rectified, const TensorView& workspace,
                          const TensorView& output) {
  check_winograd_convolution(input, weights, bias, workspace, output);
  const Convolution convolution(input, weights, bias, rectified, output);
  const std::int64_t threads = workspace.shape[0], run = workspace.shape[1];
  const std::int64_t tiles = winograd_tiles(output), runs = (tiles + run - 1) / run;
  std::atomic<std::int64_t> next{0};
  parallel_for(context, std::min(threads, runs), [&](std::int64_t thread) {
    float* memory = workspace.as<float>() + thread * run * workspace.shape[2];
    for (std::int64_t own = next++; own < runs; own = next++) {
      convolution.compute(own * run, std::min(run, tiles - own * run), memory);
    }
  });
}

}  // namespace fastmrcnn::cpu
