// Paste to a bitmap: each mask row is resampled along x once, into one of two buffers that stay in the first-level
// cache; a pixel then costs one blend along y, a comparison and one byte.
#include "kernels/paste_rule.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

template <class T, class Rule>
void blend_row(const T* __restrict__ row, const PixelTaps<T>& x, T* __restrict__ blended) {
  const int32_t* index = x.index;
  const T *near = x.near, *far = x.far;
  for (int64_t k = 0; k < x.count; ++k) blended[k] = Rule::blend(row[index[k]], near[k], row[index[k] + 1], far[k]);
}

template <class T, class Rule>
void threshold_row(const T* __restrict__ upper, T near, const T* __restrict__ lower, T far, T threshold, int64_t count,
                   uint8_t* __restrict__ pixels) {
  for (int64_t k = 0; k < count; ++k) pixels[k] = Rule::inside(Rule::blend(upper[k], near, lower[k], far), threshold);
}

template <class T, class Rule>
void paste_separable(const PasteJob<T>& job, uint8_t* pixels, int64_t pitch, T* workspace) {
  T* const buffers[2] = {workspace, workspace + job.x.count};
  int32_t held[2] = {-1, -1};
  const auto blended = [&](int32_t row) {
    if (held[row & 1] != row) {
      blend_row<T, Rule>(job.mask + row * job.side, job.x, buffers[row & 1]);
      held[row & 1] = row;
    }
    return buffers[row & 1];
  };
  for (int64_t k = 0; k < job.y.count; ++k) {
    const geometry::Tap<T> y = tap(job.y, k);
    const T *upper = blended(y.index), *lower = blended(y.index + 1);
    threshold_row<T, Rule>(upper, y.near, lower, y.far, job.threshold, job.x.count, pixels + k * pitch);
  }
}

template <class T>
void paste_corners(const PasteJob<T>& job, uint8_t* pixels, int64_t pitch) {
  for (int64_t k = 0; k < job.y.count; ++k) {
    const geometry::Tap<T> y = tap(job.y, k);
    const T *upper = job.mask + y.index * job.side, *lower = upper + job.side;
    for (int64_t j = 0; j < job.x.count; ++j) {
      const geometry::Tap<T> x = tap(job.x, j);
      const T value = blend_corners(y, x, upper[x.index], upper[x.index + 1], lower[x.index], lower[x.index + 1]);
      pixels[k * pitch + j] = value > job.threshold;
    }
  }
}

template <class T>
void paste_rows(const PasteJob<T>& job, uint8_t* pixels, int64_t pitch, T* workspace) {
  switch (job.rule) {
    case PasteRule::exact: return paste_separable<T, ExactRule<T>>(job, pixels, pitch, workspace);
    case PasteRule::resized: return paste_separable<T, ResizedRule<T>>(job, pixels, pitch, workspace);
    case PasteRule::resized_corners: return paste_corners(job, pixels, pitch);
  }
}

template <class T, class TapOf>
FM_HD void fill(const PixelTaps<T>& taps, const TapOf& tap_of) {
  int32_t* __restrict__ index = taps.index;
  T* __restrict__ near = taps.near, * __restrict__ far = taps.far;
  for (int64_t k = 0; k < taps.count; ++k) {
    const geometry::Tap<T> made = tap_of(k);
    index[k] = made.index;
    near[k] = made.near;
    far[k] = made.far;
  }
}

template <class T>
void fill_resized(int64_t first, T scale, bool fused, const PixelTaps<T>& taps) {
  if (fused) {
    fill(taps, [=](int64_t k) { return geometry::resized_tap<true>(first + k, scale); });
  } else {
    fill(taps, [=](int64_t k) { return geometry::resized_tap<false>(first + k, scale); });
  }
}

}  // namespace

void resized_taps_f32(int64_t first, float scale, bool fused, const PixelTaps<float>& taps) {
  fill_resized(first, scale, fused, taps);
}

void resized_taps_f64(int64_t first, double scale, bool fused, const PixelTaps<double>& taps) {
  fill_resized(first, scale, fused, taps);
}

void sampled_taps_f32(int64_t first, float low, float high, int64_t mask_size, const PixelTaps<float>& taps) {
  fill(taps, [=](int64_t k) { return geometry::sampled_tap(first + k, low, high, mask_size); });
}

void sampled_taps_f64(int64_t first, double low, double high, int64_t mask_size, const PixelTaps<double>& taps) {
  fill(taps, [=](int64_t k) { return geometry::sampled_tap(first + k, low, high, mask_size); });
}

void paste_rows_f32(const PasteJob<float>& job, uint8_t* pixels, int64_t pitch, float* workspace) {
  paste_rows(job, pixels, pitch, workspace);
}

void paste_rows_f64(const PasteJob<double>& job, uint8_t* pixels, int64_t pitch, double* workspace) {
  paste_rows(job, pixels, pitch, workspace);
}

}  // namespace fastmrcnn::FASTMRCNN_ISA
