// Keypoints from heatmaps: where the heatmap of a keypoint, resized to its box, is highest.
#pragma once

#include "fastmrcnn/check.h"

namespace fastmrcnn {

// heatmaps [N, K, H, W] logits over the cells of each box, H and W from 1 to 4096, float32 or float64;
// boxes [N, 4] x1, y1, x2, y2 in pixels, of the heatmaps' dtype;
// keypoints [N, K, 4] out: x, y in pixels of the boxes, the logit there, and the probability of that place, which is
// the softmax over the heatmap's own cells with the resized heatmap's height on top: sizes of boxes then do not matter,
// and it exceeds 1, without limit, where the bicubic curve rises above the cells. All contiguous, of one dtype.
//
// A box is read at the centres of ceil(width) x ceil(height) equal parts, sides below one pixel taken for one pixel and
// at most 4096 points a side. Of equal heights the first counts, row by row. NaN is never the highest; a heatmap of
// nothing but NaN gives NaN, and a NaN in a box a position that is NaN. Computed in the tensors' dtype; the sum of
// exponentials is of double precision. Deterministic.
inline void check_decode_keypoints(const TensorView& heatmaps, const TensorView& boxes, const TensorView& keypoints) {
  constexpr const char* kOp = "decode_keypoints";
  check_shape(kOp, "heatmaps", heatmaps, {-1, -1, -1, -1}, "[N, K, H, W]");
  const std::int64_t height = heatmaps.shape[2], width = heatmaps.shape[3];
  check(height >= 1 && height <= 4096 && width >= 1 && width <= 4096, kOp,
        ": heatmaps must have 1 to 4096 rows and columns; got ", shape_of(heatmaps));
  check_contiguous(kOp, "heatmaps", heatmaps);
  check_shape(kOp, "boxes", boxes, {heatmaps.shape[0], 4}, "[N, 4] with N that of heatmaps");
  check_dtype(kOp, "boxes", boxes, heatmaps.dtype);
  check_contiguous(kOp, "boxes", boxes);
  check_shape(kOp, "keypoints", keypoints, {heatmaps.shape[0], heatmaps.shape[1], 4},
              "[N, K, 4] with N and K those of heatmaps");
  check_dtype(kOp, "keypoints", keypoints, heatmaps.dtype);
  check_contiguous(kOp, "keypoints", keypoints);
  check_writable(kOp, "keypoints", keypoints);
}

namespace cpu {
void decode_keypoints(const Context& context, const TensorView& heatmaps, const TensorView& boxes,
                      const TensorView& keypoints);
}  // namespace cpu

namespace cuda {
decltype(cpu::decode_keypoints) decode_keypoints;
}  // namespace cuda

}  // namespace fastmrcnn
