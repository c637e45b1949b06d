// The mask head's training targets: each RoI's object, cropped to the RoI and resampled to a small square.
#pragma once

#include <cstddef>

#include "fastmrcnn/ops/encoded_masks.h"
#include "fastmrcnn/ops/roi_pooling.h"

namespace fastmrcnn {

// boxes [P, 4] float32, x1, y1, x2, y2 in image pixels; matched [P] int64: the object of each, in [0, count);
// cropped [P, M, M] float32 out. All contiguous.
//
// A target is RoIAlign (adaptive sampling, spatial scale 1; `aligned` as there) of the object's bitmap as float32:
// the share of each cell that the object covers. The sums run in RoIAlign's order, so the bits are those of pooling a
// float32 bitmap. A box with a NaN or an infinity gives zeros. Deterministic; CUDA gives the same bits.
//
// An index in `matched` that is none of the objects is refused on the CPU and gives a target of NaN on CUDA.
inline void check_crop(const char* op, std::int64_t objects, std::int64_t height, std::int64_t width,
                       const TensorView& boxes, const TensorView& matched, const TensorView& cropped) {
  check(height < kMostSide && width < kMostSide, op, ": masks must have sides below 2^28 pixels; got [", height, ", ",
        width, "]");
  check_shape(op, "boxes", boxes, {-1, 4}, "[P, 4]");
  check_dtype(op, "boxes", boxes, DType::f32);
  check_contiguous(op, "boxes", boxes);
  check_shape(op, "matched", matched, {boxes.shape[0]}, "[P] with P that of boxes");
  check_dtype(op, "matched", matched, DType::i64);
  check_contiguous(op, "matched", matched);
  const std::int64_t size = cropped.ndim == 3 ? cropped.shape[1] : 0;
  check_shape(op, "cropped", cropped, {boxes.shape[0], size, size}, "[P, M, M] with P that of boxes");
  check(size > 0 && size <= 1 << 14, op, ": size must be positive and at most 2^14; got ", size);
  check_dtype(op, "cropped", cropped, DType::f32);
  check_contiguous(op, "cropped", cropped);
  check_writable(op, "cropped", cropped);
  if (!matched.on_host()) return;
  const auto* objects_of = matched.as<const std::int64_t>();
  for (std::int64_t p = 0; p < boxes.shape[0]; ++p) {
    check(objects_of[p] >= 0 && objects_of[p] < objects, op, ": matched[", p, "] is ", objects_of[p],
          "; expected at least 0 and below ", objects, ", the number of masks");
  }
}

// bitmaps [G, H, W] bool or uint8, contiguous; bytes other than 0 and 1 count as what they are.
inline void check_crop_bitmaps(const TensorView& bitmaps, const TensorView& boxes, const TensorView& matched,
                               const TensorView& cropped) {
  check_shape("crop_masks", "masks", bitmaps, {-1, -1, -1}, "[G, H, W]");
  check(bitmaps.dtype == DType::boolean || bitmaps.dtype == DType::u8, "crop_masks: masks must be bool or uint8; got ",
        name_of(bitmaps.dtype));
  check_contiguous("crop_masks", "masks", bitmaps);
  check_crop("crop_masks", bitmaps.shape[0], bitmaps.shape[1], bitmaps.shape[2], boxes, matched, cropped);
}

// `binary`: detectron2's targets of zeros and ones instead. The polygons of an object are scaled from the box to the
// M x M frame and drawn there by COCO's rule (sides below 0.1 pixels count as that), its transitions, if it has both,
// left out; an object without polygons is 1 where the target above is at least 0.5.
//
// workspace [bytes] uint8, CUDA only: the objects drawn as bits, one a pixel, since each serves several boxes:
// 4 * G * ceil(H / 32) * W bytes, whatever the outlines are.
inline void check_crop_encoded(const EncodedMasks& masks, const TensorView& boxes, const TensorView& matched,
                               const TensorView& cropped) {
  check_encoded_masks("crop_masks", masks);
  check_crop("crop_masks", masks.count(), masks.height, masks.width, boxes, matched, cropped);
}

namespace cpu {
void crop_bitmaps(const Context& context, const TensorView& bitmaps, const TensorView& boxes, const TensorView& matched,
                  bool aligned, const TensorView& cropped);
void crop_encoded_masks(const Context& context, const TensorView& points, const TensorView& polygons,
                        const TensorView& object_polygons, const TensorView& transitions,
                        const TensorView& object_transitions, std::int64_t height, std::int64_t width,
                        const TensorView& boxes, const TensorView& matched, bool aligned, bool binary,
                        const TensorView& cropped, const TensorView& workspace);
}  // namespace cpu

namespace cuda {
decltype(cpu::crop_bitmaps) crop_bitmaps;
decltype(cpu::crop_encoded_masks) crop_encoded_masks;
std::size_t crop_encoded_masks_workspace(std::int64_t objects, std::int64_t height, std::int64_t width);
}  // namespace cuda

}  // namespace fastmrcnn
