// Boxes from regression deltas.
#pragma once

#include <array>
#include <optional>

#include "fastmrcnn/check.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

// deltas [N, C * 4] dx, dy, dw, dh of C classes, boxes [N, 4] x1, y1, x2, y2 the references, in pixels,
// decoded [N, C, 4] out, x1, y1, x2, y2 in pixels. All float32 or all float64, contiguous.
//
// `weights` divide dx, dy, dw and dh; dw and dh are then at most `max_log_size`. The result is clipped to `image_size`
// (height, width) in pixels, if given.
//
// A NaN gives NaN coordinates. Deterministic; the exponential is within two units in the last place.
inline void check_decode_boxes(const TensorView& deltas, const TensorView& boxes, const TensorView& decoded) {
  check(deltas.ndim == 2 && deltas.shape[1] % 4 == 0, "decode_boxes: deltas must be [N, C * 4]; got ",
        shape_of(deltas));
  check_shape("decode_boxes", "boxes", boxes, {deltas.shape[0], 4}, "[N, 4] with N that of deltas");
  check_shape("decode_boxes", "decoded", decoded, {deltas.shape[0], deltas.shape[1] / 4, 4}, "[N, C, 4]");
  check_dtype("decode_boxes", "boxes", boxes, deltas.dtype);
  check_dtype("decode_boxes", "decoded", decoded, deltas.dtype);
  check_contiguous("decode_boxes", "deltas", deltas);
  check_contiguous("decode_boxes", "boxes", boxes);
  check_contiguous("decode_boxes", "decoded", decoded);
  check_writable("decode_boxes", "decoded", decoded);
}

namespace cpu {
void decode_boxes(const Context& context, const TensorView& deltas, const TensorView& boxes,
                  const std::array<double, 4>& weights, double max_log_size,
                  const std::optional<std::array<double, 2>>& image_size, const TensorView& decoded);
}  // namespace cpu

namespace cuda {
decltype(cpu::decode_boxes) decode_boxes;
}  // namespace cuda

}  // namespace fastmrcnn
