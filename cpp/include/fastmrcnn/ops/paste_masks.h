// Small square masks pasted into the image at their boxes, to bitmaps or straight to run-length strings.
#pragma once

#include <string>

#include "fastmrcnn/check.h"
#include "fastmrcnn/geometry/mask_placement.h"
#include "fastmrcnn/ops/mask_size.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

using geometry::PasteMethod;

// `fused_position`: whether the torch at hand rounds a resized pixel's source position once (see
// geometry::resized_tap).
struct PasteOptions {
  PasteMethod method;
  bool fused_position;
  double threshold;
};

inline PasteOptions paste_options(const char* op, const std::string& method, bool fused_position, double threshold) {
  const bool exact = method == "exact";
  check(exact || method == "torchvision", op, ": method must be exact, torchvision or skimage; got ", method);
  if (exact) check(threshold > 0, op, ": threshold must be positive; got ", threshold);
  check(threshold >= 0, op, ": threshold must not be negative; got ", threshold);
  return {exact ? PasteMethod::exact : PasteMethod::torchvision, fused_position, threshold};
}

// masks [N, M, M] float32 or float64, boxes [N, 4] x1, y1, x2, y2 in image pixels, float32 or float64; contiguous.
//
// "exact": a pixel is set when the mask, stretched over its box and interpolated bilinearly with zeros beyond, is at
// least `threshold` at the pixel's centre: detectron2's rule, to the last bit of torch's grid_sample on the CPU.
// "torchvision": the mask is padded by one cell, the box grown by as much and truncated to whole pixels, the mask
// resized to it and compared > `threshold`: torchvision's rule, to the last bit of its own.
//
// "skimage" is made of "exact" by the caller, who changes the masks that fill their boxes (ops/paste.py).
//
// A box without area or with a coordinate that is not finite gives an empty mask ("torchvision": where torchvision's
// own result is undefined). Deterministic. Values are computed in the masks' dtype.
inline void check_paste_inputs(const char* op, const TensorView& masks, const TensorView& boxes) {
  const std::int64_t size = masks.ndim == 3 ? masks.shape[1] : 0;
  check(masks.ndim == 3 && masks.shape[2] == size && size > 0, op, ": masks must be [N, M, M]; got ", shape_of(masks));
  check(size <= 1 << 20, op, ": masks must have at most 2^20 rows; got ", size);
  check_shape(op, "boxes", boxes, {masks.shape[0], 4}, "[N, 4] with N that of masks");
  check_contiguous(op, "masks", masks);
  check_contiguous(op, "boxes", boxes);
}

// pasted [N, H, W] bool out. The CPU writes the pixels within reach of a box alone and takes it zero on entry; CUDA
// writes every pixel.
inline void check_paste_masks(const TensorView& masks, const TensorView& pasted) {
  check_shape("paste_masks", "pasted", pasted, {masks.shape[0], -1, -1}, "[N, H, W] with N that of masks");
  check(pasted.shape[1] < 0x7fffffff && pasted.shape[2] < 0x7fffffff,
        "paste_masks: pasted must have sides below 2^31 - 1 pixels; got ", shape_of(pasted));
  check_dtype("paste_masks", "pasted", pasted, DType::boolean);
  check_contiguous("paste_masks", "pasted", pasted);
  check_writable("paste_masks", "pasted", pasted);
}

// strings [N, capacity] uint8 out, lengths [N] int64 out: the COCO run-length string of each mask in an image of
// height x width pixels. A length beyond the capacity means that the string did not fit: call again with more.
inline void check_paste_masks_rle(const TensorView& masks, std::int64_t height, std::int64_t width,
                                  const TensorView& strings, const TensorView& lengths) {
  check_mask_size("paste_masks_rle", height, width);
  check_shape("paste_masks_rle", "strings", strings, {masks.shape[0], -1}, "[N, capacity] with N that of masks");
  check_dtype("paste_masks_rle", "strings", strings, DType::u8);
  check_contiguous("paste_masks_rle", "strings", strings);
  check_writable("paste_masks_rle", "strings", strings);
  check_shape("paste_masks_rle", "lengths", lengths, {masks.shape[0]}, "[N] with N that of masks");
  check_dtype("paste_masks_rle", "lengths", lengths, DType::i64);
  check_contiguous("paste_masks_rle", "lengths", lengths);
  check_writable("paste_masks_rle", "lengths", lengths);
}

namespace cpu {
void paste_masks(const Context& context, const TensorView& masks, const TensorView& boxes, const std::string& method,
                 bool fused_position, double threshold, const TensorView& pasted);
void paste_masks_rle(const Context& context, const TensorView& masks, const TensorView& boxes, std::int64_t height,
                     std::int64_t width, const std::string& method, bool fused_position, double threshold,
                     const TensorView& strings, const TensorView& lengths);
}  // namespace cpu

// The same pixels and the same strings, to the last bit.
namespace cuda {
decltype(cpu::paste_masks) paste_masks;
decltype(cpu::paste_masks_rle) paste_masks_rle;
}  // namespace cuda

}  // namespace fastmrcnn
