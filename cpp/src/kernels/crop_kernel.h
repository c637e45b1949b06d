#pragma once

#include "kernels/roi_align_kernel.h"

namespace fastmrcnn {

// A RoI's object on its way to the cells of the RoI: one cell's row of bins takes `y` of a column, one bin `x` of the
// columns. `columns` holds, for each of the columns x.first..x.last, the values of the rows of bins, `pitch` apart: a
// multiple of kCropPitch, so that kernels need not care for a remainder. The sums run in RoIAlign's order.
struct CropJob {
  AxisTaps<float> y, x;
  float* columns;
  int64_t pitch;
};

constexpr int64_t kCropPitch = 16;

// Fills the columns from a bitmap of rows `width` bytes apart.
FASTMRCNN_DECLARE_KERNEL(void combine_bitmap_rows(const CropJob& job, const uint8_t* bitmap, int64_t width))

// cropped [y.bins, x.bins] from the columns.
FASTMRCNN_DECLARE_KERNEL(void pick_crop_columns(const CropJob& job, float* cropped))

}  // namespace fastmrcnn
