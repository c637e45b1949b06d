// Position-sensitive pooling, one thread a pooled value, in the order of the pooled tensor.
//
// Every bin reads a channel of its own. On NCHW neighbouring lanes have neighbouring bins, each in a plane of its own,
// where the pixels of a bin share lines; on channels-last they have channels that lie height x width values apart. So
// lanes fill no line together, and each line serves a thread again from L1.
//
// Memory: 300 RoIs of R-FCN, 7 x 7 bins, 21 channels, are 308,700 threads that read about nine sectors of 32 bytes each
// from L2, 89 MB, and write 1.2 MB: predicted 15 us on an H200. One launch of 1,206 blocks. Deterministic: taps are
// added in the CPU's order, and give its numbers to the bit; in float32, or float64 for float64.
#include <cmath>

#include "fastmrcnn/dtype.h"
#include "launch.cuh"
#include "position_sensitive.cuh"

namespace fastmrcnn::cuda {
namespace {

using geometry::Quantised;
using geometry::Sampling;

template <class T, class Rule>
__device__ T mean_of_bin(const PositionSensitiveCall<T, Rule>& call, std::int64_t k, std::int64_t c, std::int64_t bin) {
  const geometry::Roi<T> roi = call.rois[k];
  const std::int64_t image = geometry::image_of(roi, call.images);
  if (image < 0) return static_cast<T>(NAN);
  const auto y_axis = axis_of(roi.y1, roi.y2, call.bins_y, call.rule);
  const auto x_axis = axis_of(roi.x1, roi.x2, call.bins_x, call.rule);
  T mean = 0;
  const auto add_row = [&](std::int32_t y, T weight_y) {
    for_each_weight(x_axis, call.rule, bin % call.bins_x, call.width, {0, call.width}, [&](std::int32_t x, T weight_x) {
      mean += call.features[call.feature_place(image, c, bin, y, x)] * (weight_y * weight_x);
    });
  };
  for_each_weight(y_axis, call.rule, bin / call.bins_x, call.height, {0, call.height}, add_row);
  return mean;
}

constexpr int kThreads = 256;

template <class T, class Rule>
__global__ void __launch_bounds__(kThreads)
    pool_position_sensitive(const __grid_constant__ PositionSensitiveCall<T, Rule> call) {
  const std::int64_t bins = call.bins(), of_roi = call.channels * bins, count = call.roi_count * of_roi;
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t place = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; place < count; place += step) {
    const std::int64_t k = place / of_roi, rest = place % of_roi;
    const std::int64_t bin = call.channels_last ? rest / call.channels : rest % bins;
    const std::int64_t c = call.channels_last ? rest % call.channels : rest / bins;
    call.pooled[place] = mean_of_bin(call, k, c, bin);
  }
}

template <class T, class Rule>
void pool(const char* op, const Context& context, const TensorView& input, const TensorView& rois,
          const TensorView& output, const Rule& rule) {
  if (output.numel() == 0) return;
  launch(op, context, pool_position_sensitive<T, Rule>, {blocks_for(output.numel(), kThreads), kThreads},
         PositionSensitiveCall<T, Rule>(input, rois, output, rule));
}

}  // namespace

void ps_roi_align(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
                  std::int64_t sampling_ratio, const TensorView& output) {
  constexpr const char* op = "ps_roi_align";
  check_position_sensitive(op, {"input", input}, rois, {"output", output});
  check_writable(op, "output", output);
  check_sampling_ratio(op, sampling_ratio);
  dispatch_floating(op, "input", input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr bool kAligned = true;
    pool<T>(op, context, input, rois, output, Sampling<T>{static_cast<T>(spatial_scale), sampling_ratio, kAligned});
  });
}

void ps_roi_pool(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
                 const TensorView& output) {
  constexpr const char* op = "ps_roi_pool";
  check_position_sensitive(op, {"input", input}, rois, {"output", output});
  check_writable(op, "output", output);
  dispatch_floating(op, "input", input.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr bool kEndInclusive = false;
    pool<T>(op, context, input, rois, output, Quantised<T>{static_cast<T>(spatial_scale), kEndInclusive});
  });
}

}  // namespace fastmrcnn::cuda
