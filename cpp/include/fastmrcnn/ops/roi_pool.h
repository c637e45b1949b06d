// RoIPool (Girshick 2015): the maximum of the whole pixels in each bin of a region of interest.
#pragma once

#include "fastmrcnn/ops/roi_pooling.h"

namespace fastmrcnn {

// Tensors as in roi_pooling.h, half types too; input [N, C, H, W] -> output [K, C, height, width], the maximum or zero
// where a bin has no pixel on the map (geometry/quantised_roi.h, the end inclusive); argmax int32, of the output's
// shape and order: y x W + x of the first maximum, -1 where there is none. A NaN among a bin's pixels is its maximum,
// of several the last.
inline void check_argmax(const char* op, const NamedTensor& features, const NamedTensor& pooled,
                         const TensorView& argmax) {
  const std::int64_t* shape = pooled.tensor.shape;
  check_shape(op, "argmax", argmax, {shape[0], shape[1], shape[2], shape[3]}, "of the pooled shape");
  check_dtype(op, "argmax", argmax, DType::i32);
  check_same_order(op, pooled, {"argmax", argmax});
  check(features.tensor.shape[2] * features.tensor.shape[3] < std::numeric_limits<std::int32_t>::max(), op, ": ",
        features.name, " must have less than 2^31 pixels; got ", shape_of(features.tensor));
}

namespace cpu {
void roi_pool(const Context& context, const TensorView& input, const TensorView& rois, double spatial_scale,
              const TensorView& output, const TensorView& argmax);

// grad_output [K, C, height, width] -> grad_input [N, C, H, W], overwritten; rois, argmax and spatial_scale are those
// of roi_pool. A place beyond the map is an error. CUDA cannot look without waiting: there the gradient of a place that
// is not among its bin's pixels may be lost.
void roi_pool_backward(const Context& context, const TensorView& grad_output, const TensorView& rois,
                       const TensorView& argmax, double spatial_scale, const TensorView& grad_input);
}  // namespace cpu

namespace cuda {
decltype(cpu::roi_pool) roi_pool;
decltype(cpu::roi_pool_backward) roi_pool_backward;
}  // namespace cuda

}  // namespace fastmrcnn
