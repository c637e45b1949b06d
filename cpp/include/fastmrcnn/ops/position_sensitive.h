// Position-sensitive pooling (Dai et al. 2016, R-FCN): every bin reads channels of its own.
#pragma once

#include "fastmrcnn/ops/roi_pooling.h"

namespace fastmrcnn {

// Tensors as in roi_pooling.h; input [N, channels x height x width, H, W] -> output [K, channels, height, width]: bin
// (i, j) of channel c reads input channel (c x height + i) x width + j.
namespace cpu {

// The mean of bilinear samples, placed as roi_align with `aligned` places them.
void ps_roi_align(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
                  std::int64_t sampling_ratio, const TensorView& output);
void ps_roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                           double spatial_scale, std::int64_t sampling_ratio, const TensorView& grad_input);

// The mean of the whole pixels in a bin, zero where there are none (geometry/quantised_roi.h, the end exclusive).
void ps_roi_pool(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
                 const TensorView& output);
void ps_roi_pool_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                          double spatial_scale, const TensorView& grad_input);

}  // namespace cpu

namespace cuda {
decltype(cpu::ps_roi_align) ps_roi_align;
decltype(cpu::ps_roi_align_backward) ps_roi_align_backward;
decltype(cpu::ps_roi_pool) ps_roi_pool;
decltype(cpu::ps_roi_pool_backward) ps_roi_pool_backward;
}  // namespace cuda

}  // namespace fastmrcnn
