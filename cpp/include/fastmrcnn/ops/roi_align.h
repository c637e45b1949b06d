// RoIAlign (He et al. 2017, section 3): the mean of bilinear samples in each bin of a region of interest.
#pragma once

#include <cstddef>

#include "fastmrcnn/ops/roi_pooling.h"

namespace fastmrcnn {

// Tensors as in roi_pooling.h, half types too; input [N, C, H, W] -> output [K, C, height, width].
// spatial_scale: feature-map pixels per image pixel,
// sampling_ratio: samples per bin and axis, at most 4096; <= 0: ceil(RoI size / number of bins),
// aligned: shift by half a pixel, and no minimum RoI size of one feature-map pixel.
namespace cpu {
void roi_align(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
               std::int64_t sampling_ratio, bool aligned, const TensorView& output);

// grad_output [K, C, height, width] -> grad_input [N, C, H, W], overwritten; the adjoint of roi_align. Needs no
// workspace, and ignores one.
void roi_align_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                        double spatial_scale, std::int64_t sampling_ratio, bool aligned, const TensorView& grad_input,
                        const TensorView& workspace);
}  // namespace cpu

namespace cuda {
decltype(cpu::roi_align) roi_align;

// workspace [roi_align_backward_workspace(K)] uint8.
decltype(cpu::roi_align_backward) roi_align_backward;
std::size_t roi_align_backward_workspace(std::int64_t rois);
}  // namespace cuda

}  // namespace fastmrcnn
