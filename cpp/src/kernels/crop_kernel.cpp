// The two halves of a mask target. Columns lie side by side in memory with their rows of bins as lanes, so that picking
// the taps along x needs no gathers; bitmaps, whose rows are contiguous, are combined a pack of columns at a time and
// transposed into that order.
#include "kernels/crop_kernel.h"

#include "kernels/pack.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

#if defined(__GNUC__)
typedef uint8_t PackBytes __attribute__((vector_size(sizeof(PackF32) / sizeof(float))));

FM_KERNEL_INLINE PackF32 load_bytes(const uint8_t* source) {
  PackBytes bytes;
  memcpy(&bytes, source, sizeof bytes);
  return __builtin_convertvector(bytes, PackF32);
}
#else
FM_KERNEL_INLINE float load_bytes(const uint8_t* source) {
  return static_cast<float>(*source);
}
#endif

}  // namespace

void combine_bitmap_rows(const CropJob& job, const uint8_t* bitmap, int64_t width) {
  const AxisTaps<float>& y = job.y;
  const int64_t count = job.x.last - job.x.first + 1;
  const uint8_t* const left = bitmap + job.x.first;
  int64_t column = 0;
  for (; column + kLanes<float> <= count; column += kLanes<float>) {
    float* target = job.columns + column * job.pitch;
    for (int32_t i = 0; i < y.bins; ++i) {
      Pack<float> sum = {};
      for (int32_t t = y.begin[i]; t < y.begin[i + 1]; ++t) {
        sum += load_bytes(left + y.index[t] * width + column) * y.weight[t];
      }
      float lanes[kLanes<float>];
      store(lanes, sum);
      for (int64_t lane = 0; lane < kLanes<float>; ++lane) target[lane * job.pitch + i] = lanes[lane];
    }
  }
  for (; column < count; ++column) {
    for (int32_t i = 0; i < y.bins; ++i) {
      float sum = 0;
      for (int32_t t = y.begin[i]; t < y.begin[i + 1]; ++t) {
        sum += static_cast<float>(left[y.index[t] * width + column]) * y.weight[t];
      }
      job.columns[column * job.pitch + i] = sum;
    }
  }
}

void pick_crop_columns(const CropJob& job, float* cropped) {
  const AxisTaps<float>& x = job.x;
  const float* const first = job.columns - x.first * job.pitch;
  for (int32_t j = 0; j < x.bins; ++j) {
    for (int64_t row = 0; row < job.y.bins; row += kLanes<float>) {
      Pack<float> sum = {};
      for (int32_t t = x.begin[j]; t < x.begin[j + 1]; ++t) {
        sum += load(first + x.index[t] * job.pitch + row) * x.weight[t];
      }
      float lanes[kLanes<float>];
      store(lanes, sum);
      for (int64_t i = row; i < job.y.bins && i < row + kLanes<float>; ++i) cropped[i * x.bins + j] = lanes[i - row];
    }
  }
}

}  // namespace fastmrcnn::FASTMRCNN_ISA
