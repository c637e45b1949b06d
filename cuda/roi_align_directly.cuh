// RoIAlign without tables, for shapes whose tables would not fit into shared memory: one thread for each pooled value.
#pragma once

#include "roi_align_taps.cuh"

namespace fastmrcnn::cuda {

constexpr int kDirectThreads = 128;

// Pooled values are visited as they lie, so that neighbouring lanes read neighbouring channels or neighbouring bins.
template <class S>
__global__ void __launch_bounds__(kDirectThreads, 4)
    roi_align_directly(const __grid_constant__ RoiAlignCall<S> call, bool channels_last) {
  using T = Accumulator<S>;
  const std::int64_t bins = std::int64_t{call.bins_y} * call.bins_x, count = call.roi_count * call.channels * bins;
  const std::int64_t step = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    const std::int64_t k = i / (call.channels * bins), rest = i % (call.channels * bins);
    const std::int64_t bin = channels_last ? rest / call.channels : rest % bins;
    const std::int64_t channel = channels_last ? rest % call.channels : rest / bins;
    const geometry::Roi<T> roi = call.rois[k];
    const RoiPlace place = place_of(call, roi);
    const FeatureMaps<S>& level = call.levels[place.level];
    const std::int64_t plane_size = std::int64_t{level.height} * level.width;
    const S* const first =
        level.data + place.image * call.image_size(level) + channel * (channels_last ? 1 : plane_size);
    const std::int64_t pixel_step = channels_last ? call.channels : 1;
    const auto x_axis = axis_of(call, roi, place, false);
    Sums<S, 1> sum(start_of<T>(place));
    geometry::for_each_tap(axis_of(call, roi, place, true), bin / call.bins_x, level.height, {0, level.height},
                           [&](std::int32_t y, T weight_y) {
                             const S* const row = first + y * level.width * pixel_step;
                             geometry::for_each_tap(x_axis, bin % call.bins_x, level.width, {0, level.width},
                                                    [&](std::int32_t x, T weight_x) {
                                                      sum.add(weight_y * weight_x, load_pack<1>(row + x * pixel_step));
                                                    });
                           });
    stream_pack(call.pooled + i, sum.stored());
  }
}

}  // namespace fastmrcnn::cuda
