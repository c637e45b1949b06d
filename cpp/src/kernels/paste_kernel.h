#pragma once

#include "fastmrcnn/geometry/paste_rule.h"
#include "kernels/kernel.h"

namespace fastmrcnn {

using geometry::PasteRule;

// The taps of consecutive pixels of one axis.
template <class T>
struct PixelTaps {
  int32_t* index;
  T *near, *far;
  int64_t count;

  FM_HD geometry::Tap<T> at(int64_t k) const { return {index[k], near[k], far[k]}; }
};

// Pixel rows [begin, end) that lie between the same two rows of the mask.
struct RowSegment {
  int32_t index;
  int64_t begin, end;
};

// One mask on its way into the image. `mask` is the padded mask, `side` its size and pitch.
template <class T>
struct PasteJob {
  PasteRule rule;
  T threshold;
  const T* mask;
  int64_t side;
  PixelTaps<T> x, y;
  const RowSegment* segments;  // of y; for column_transitions only
  int64_t segment_count;
};

// Fill the taps of pixels first, first + 1, ...; `fused` as in geometry::resized_tap.
FASTMRCNN_DECLARE_KERNEL(void resized_taps_f32(int64_t first, float scale, bool fused, const PixelTaps<float>& taps))
FASTMRCNN_DECLARE_KERNEL(void resized_taps_f64(int64_t first, double scale, bool fused, const PixelTaps<double>& taps))
FASTMRCNN_DECLARE_KERNEL(void sampled_taps_f32(int64_t first, float low, float high, int64_t mask_size,
                                               const PixelTaps<float>& taps))
FASTMRCNN_DECLARE_KERNEL(void sampled_taps_f64(int64_t first, double low, double high, int64_t mask_size,
                                               const PixelTaps<double>& taps))

// Writes the job's y.count rows of x.count pixels (0 or 1), `pitch` bytes apart. `workspace` holds 4 * x.count values.
FASTMRCNN_DECLARE_KERNEL(void paste_rows_f32(const PasteJob<float>& job, uint8_t* pixels, int64_t pitch,
                                             float* workspace))
FASTMRCNN_DECLARE_KERNEL(void paste_rows_f64(const PasteJob<double>& job, uint8_t* pixels, int64_t pitch,
                                             double* workspace))

// The rows at which column `column` changes between 0 and 1, starting from 0 and ending in 0 (at y.count if need be):
// writes at most y.count + 1 of them and returns how many. The job's mask is transposed here; `workspace` holds `side`
// values.
FASTMRCNN_DECLARE_KERNEL(int64_t column_transitions_f32(const PasteJob<float>& job, int64_t column, int32_t* rows,
                                                        float* workspace))
FASTMRCNN_DECLARE_KERNEL(int64_t column_transitions_f64(const PasteJob<double>& job, int64_t column, int32_t* rows,
                                                        double* workspace))

}  // namespace fastmrcnn
