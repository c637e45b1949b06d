// Winograd's transforms for the points 0, 1, -1, 1/2, -2 and infinity: a pack of channels of one tile at a time, first
// along its columns, then along its rows. Bound by loads and stores.
//
// With -2 beside 1/2 in place of 2 and -2 the sums of 256 channels err by 1.6e-6 relative instead of 2.6e-6 (a direct
// convolution by 0.6e-6). All factors are short binary fractions.
#include "kernels/winograd_kernel.h"

#include "kernels/pack.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

constexpr int kPixels = 4, kPoints = 6;

// Six values at neighbouring pixels to six points.
FM_KERNEL_INLINE void to_points(const PackF32 (&d)[kPoints], PackF32 (&points)[kPoints]) {
  const PackF32 a = d[3] - d[1], b = d[4] - d[2];
  points[0] = (d[0] + d[4]) + (1.5f * a - 2.0f * d[2]);
  points[1] = (d[4] - d[1]) + (0.5f * d[2] + 2.5f * d[3]);
  points[2] = (d[4] + d[1]) + (0.5f * d[3] - 2.5f * d[2]);
  points[3] = b + 2.0f * a;
  points[4] = b - 0.5f * a;
  points[5] = (d[1] + d[5]) + (1.5f * b - 2.0f * d[3]);
}

// Products at six points to four pixels.
FM_KERNEL_INLINE void to_pixels(const PackF32 (&m)[kPoints], PackF32 (&pixels)[kPixels]) {
  const PackF32 sum = m[1] + m[2], difference = m[1] - m[2];
  pixels[0] = (m[0] + sum) + (m[3] + m[4]);
  pixels[1] = difference + (0.5f * m[3] - 2.0f * m[4]);
  pixels[2] = sum + (0.25f * m[3] + 4.0f * m[4]);
  pixels[3] = (difference + m[5]) + (0.125f * m[3] - 8.0f * m[4]);
}

// The transpose of to_pixels.
FM_KERNEL_INLINE void from_pixels(const PackF32 (&y)[kPixels], PackF32 (&points)[kPoints]) {
  const PackF32 even = y[0] + y[2], odd = y[1] + y[3];
  points[0] = y[0];
  points[1] = even + odd;
  points[2] = even - odd;
  points[3] = (y[0] + 0.25f * y[2]) + (0.5f * y[1] + 0.125f * y[3]);
  points[4] = (y[0] + 4.0f * y[2]) - (2.0f * y[1] + 8.0f * y[3]);
  points[5] = y[3];
}

// Along the columns and then the rows of a square of packs: `Sides` are those before and after.
template <int Before, int After, class Transform>
FM_KERNEL_INLINE void transform_square(const PackF32 (&from)[Before * Before], PackF32 (&to)[After * After],
                                       const Transform& transform) {
  PackF32 half[After][Before];
  FM_UNROLL
  for (int x = 0; x < Before; ++x) {
    PackF32 column[Before], transformed[After];
    FM_UNROLL
    for (int y = 0; y < Before; ++y) column[y] = from[y * Before + x];
    transform(column, transformed);
    FM_UNROLL
    for (int y = 0; y < After; ++y) half[y][x] = transformed[y];
  }
  FM_UNROLL
  for (int y = 0; y < After; ++y) {
    PackF32 transformed[After];
    transform(half[y], transformed);
    FM_UNROLL
    for (int x = 0; x < After; ++x) to[y * After + x] = transformed[x];
  }
}

template <int Side, class Transform>
FM_KERNEL_INLINE void make_tile(const float* const* pixels, int64_t channels, const WinogradTile<float>& tile,
                                const Transform& transform) {
  for (int64_t c = 0; c < channels; c += kLanes<float>) {
    PackF32 values[Side * Side], points[kPoints * kPoints];
    FM_UNROLL
    for (int i = 0; i < Side * Side; ++i) values[i] = load(pixels[i] + c);
    transform_square<Side, kPoints>(values, points, transform);
    FM_UNROLL
    for (int i = 0; i < kPoints * kPoints; ++i) store(tile.data + i * tile.pitch + c, points[i]);
  }
}

void input(const float* const* pixels, int64_t channels, const WinogradTile<float>& tile) {
  make_tile<kPoints>(pixels, channels, tile, [](const auto& from, auto& to) { to_points(from, to); });
}

void gradient(const float* const* pixels, int64_t channels, const WinogradTile<float>& tile) {
  make_tile<kPixels>(pixels, channels, tile, [](const auto& from, auto& to) { from_pixels(from, to); });
}

void output(const WinogradTile<const float>& tile, const float* bias, float least, int64_t channels,
            float* const* pixels) {
  const PackF32 floor = broadcast(least);
  for (int64_t c = 0; c < channels; c += kLanes<float>) {
    PackF32 points[kPoints * kPoints], values[kPixels * kPixels];
    FM_UNROLL
    for (int i = 0; i < kPoints * kPoints; ++i) points[i] = load(tile.data + i * tile.pitch + c);
    transform_square<kPoints, kPixels>(points, values, [](const auto& from, auto& to) { to_pixels(from, to); });
    const PackF32 added = bias == nullptr ? PackF32{} : load(bias + c);
    FM_UNROLL
    for (int i = 0; i < kPixels * kPixels; ++i) {
      const PackF32 value = values[i] + added;
      store(pixels[i] + c, value < floor ? floor : value);  // NaN stays
    }
  }
}

// sum + a * b, rounded once where the instruction set has that: the products of the tiles are most of the work.
FM_KERNEL_INLINE PackF32 add_product(PackF32 sum, PackF32 a, PackF32 b) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, sum);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, sum);
#elif defined(__ARM_NEON) && defined(__aarch64__)
  return reinterpret_cast<PackF32>(vfmaq_f32(reinterpret_cast<float32x4_t>(sum), reinterpret_cast<float32x4_t>(a),
                                             reinterpret_cast<float32x4_t>(b)));
#else
  return sum + a * b;
#endif
}

constexpr int kColumns = 2;  // packs of output channels at a time
// With their sums beside a value and the weights of a channel they fill the registers: 32 of them, or 16.
constexpr int kMostRows = kMostPacks == 16 ? 14 : 6;

// The products of `Rows` tiles, whose sums stay in registers over all channels.
template <int Rows>
FM_KERNEL_INLINE void multiply_rows(const float* tiles, int64_t channels, const float* weights, float* products) {
  for (int64_t column = 0; column < kWinogradBlock; column += kColumns * kLanes<float>) {
    PackF32 sums[Rows][kColumns] = {};
    for (int64_t c = 0; c < channels; ++c) {
      PackF32 weight[kColumns];
      FM_UNROLL
      for (int k = 0; k < kColumns; ++k) weight[k] = load(weights + c * kWinogradBlock + column + k * kLanes<float>);
      FM_UNROLL
      for (int row = 0; row < Rows; ++row) {
        const PackF32 value = broadcast(tiles[row * channels + c]);
        FM_UNROLL
        for (int k = 0; k < kColumns; ++k) sums[row][k] = add_product(sums[row][k], value, weight[k]);
      }
    }
    FM_UNROLL
    for (int row = 0; row < Rows; ++row) {
      FM_UNROLL
      for (int k = 0; k < kColumns; ++k) {
        store(products + row * kWinogradBlock + column + k * kLanes<float>, sums[row][k]);
      }
    }
  }
}

// As many rows as possible in groups of `Rows`, the rest in smaller ones.
template <int Rows>
FM_KERNEL_INLINE int64_t multiply_groups(const float* tiles, int64_t first, int64_t rows, int64_t channels,
                                         const float* weights, float* products) {
  for (; first + Rows <= rows; first += Rows) {
    multiply_rows<Rows>(tiles + first * channels, channels, weights, products + first * kWinogradBlock);
  }
  return first;
}

void multiply(const float* tiles, int64_t rows, int64_t channels, const float* weights, float* products) {
  int64_t done = multiply_groups<kMostRows>(tiles, 0, rows, channels, weights, products);
  done = multiply_groups<4>(tiles, done, rows, channels, weights, products);
  multiply_groups<1>(tiles, done, rows, channels, weights, products);
}

}  // namespace

extern const WinogradKernels winograd_kernels{input, output, gradient, multiply};

}  // namespace fastmrcnn::FASTMRCNN_ISA
