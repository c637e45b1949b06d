// Paste to a bitmap: each mask row is brought to the pixels' columns once, into one of two buffers that stay in the
// first-level cache; a pixel then costs a few operations along y, a comparison and one byte.
#include "kernels/paste_kernel.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

using geometry::blend_resized;
using geometry::Corners;

// Calls row_of(k, upper, lower) for every pixel row with its two mask rows, each of which `prepare(row, buffer)` has
// brought to `width` values.
template <class T, class Prepare, class Row>
FM_HD void over_rows(const PasteJob<T>& job, int64_t width, T* workspace, const Prepare& prepare, const Row& row_of) {
  T* const buffers[2] = {workspace, workspace + width};
  int32_t held[2] = {-1, -1};
  const auto prepared = [&](int32_t row) {
    if (held[row & 1] != row) {
      prepare(job.mask + row * job.side, buffers[row & 1]);
      held[row & 1] = row;
    }
    return buffers[row & 1];
  };
  for (int64_t k = 0; k < job.y.count; ++k) {
    const T *upper = prepared(job.y.index[k]), *lower = prepared(job.y.index[k] + 1);
    row_of(k, upper, lower);
  }
}

// Both neighbours of every pixel: first the left ones, then the right ones.
template <class T>
void pick_row(const T* __restrict__ row, const PixelTaps<T>& x, T* __restrict__ picked) {
  const int32_t* index = x.index;
  T* __restrict__ right = picked + x.count;
  for (int64_t k = 0; k < x.count; ++k) {
    picked[k] = row[index[k]];
    right[k] = row[index[k] + 1];
  }
}

template <class T>
void sample_row(const T* __restrict__ upper, const T* __restrict__ lower, const geometry::Tap<T>& y,
                const PixelTaps<T>& x, T threshold, uint8_t* __restrict__ pixels) {
  const T *near = x.near, *far = x.far;
  const int64_t count = x.count;
  for (int64_t k = 0; k < count; ++k) {
    const Corners<T> corners{upper[k], upper[count + k], lower[k], lower[count + k]};
    pixels[k] = geometry::is_inside_sampled(y, geometry::Tap<T>{0, near[k], far[k]}, corners, threshold);
  }
}

template <class T>
void paste_sampled(const PasteJob<T>& job, uint8_t* pixels, int64_t pitch, T* workspace) {
  over_rows(
      job, 2 * job.x.count, workspace, [&](const T* row, T* picked) { pick_row(row, job.x, picked); },
      [&](int64_t k, const T* upper, const T* lower) {
        sample_row(upper, lower, job.y.at(k), job.x, job.threshold, pixels + k * pitch);
      });
}

template <class T>
void blend_row(const T* __restrict__ row, const PixelTaps<T>& x, T* __restrict__ blended) {
  const int32_t* index = x.index;
  const T *near = x.near, *far = x.far;
  for (int64_t k = 0; k < x.count; ++k) blended[k] = blend_resized(row[index[k]], near[k], row[index[k] + 1], far[k]);
}

template <class T>
void threshold_row(const T* __restrict__ upper, const T* __restrict__ lower, const geometry::Tap<T>& y, T threshold,
                   int64_t count, uint8_t* __restrict__ pixels) {
  for (int64_t k = 0; k < count; ++k) pixels[k] = blend_resized(upper[k], y.near, lower[k], y.far) > threshold;
}

template <class T>
void paste_resized(const PasteJob<T>& job, uint8_t* pixels, int64_t pitch, T* workspace) {
  over_rows(
      job, job.x.count, workspace, [&](const T* row, T* blended) { blend_row(row, job.x, blended); },
      [&](int64_t k, const T* upper, const T* lower) {
        threshold_row(upper, lower, job.y.at(k), job.threshold, job.x.count, pixels + k * pitch);
      });
}

template <class T>
void paste_corners(const PasteJob<T>& job, uint8_t* pixels, int64_t pitch) {
  for (int64_t k = 0; k < job.y.count; ++k) {
    const geometry::Tap<T> y = job.y.at(k);
    const T *upper = job.mask + y.index * job.side, *lower = upper + job.side;
    for (int64_t j = 0; j < job.x.count; ++j) {
      const geometry::Tap<T> x = job.x.at(j);
      const Corners<T> corners{upper[x.index], upper[x.index + 1], lower[x.index], lower[x.index + 1]};
      pixels[k * pitch + j] = geometry::is_inside_resized(y, x, corners, job.threshold);
    }
  }
}

template <class T>
void paste_rows(const PasteJob<T>& job, uint8_t* pixels, int64_t pitch, T* workspace) {
  switch (job.rule) {
    case PasteRule::exact: return paste_sampled(job, pixels, pitch, workspace);
    case PasteRule::resized: return paste_resized(job, pixels, pitch, workspace);
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
