// The masks of one image's objects as outlines, without a bitmap: what the operators on them share, and the conversions
// between their forms. The conversions run on the CPU alone: they read and write files' data, and their outputs' sizes
// depend on it.
#pragma once

#include "fastmrcnn/check.h"
#include "fastmrcnn/geometry/polygon.h"
#include "fastmrcnn/ops/mask_size.h"
#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

// points [V, 2] float64, x, y in pixels; polygons [Q + 1] int64: polygon q has the points polygons[q] up to
// polygons[q + 1]; object_polygons [G + 1] int64: object g has the polygons object_polygons[g] up to ...[g + 1].
// transitions [R] int64: the positions, counted down the columns, at which a mask changes between 0 and 1, starting
// from 0, ascending in each object; object_transitions [G + 1] int64 likewise. All contiguous.
//
// An object is the union of its polygons (COCO's rule, geometry/polygon.h; one with a NaN draws nothing) and its
// transitions (the cumulative sum of a COCO run-length encoding, without the last one).
struct EncodedMasks {
  TensorView points, polygons, object_polygons, transitions, object_transitions;
  std::int64_t height, width;

  std::int64_t count() const { return object_polygons.shape[0] - 1; }
};

// Offsets of `count` (or, if negative, any number of) parts into `total` things. Their values are looked at on the host
// only; a kernel for CUDA holds each within its array, so that unsound ones give some mask, and no access beyond.
inline void check_offsets(const char* op, const char* argument, const TensorView& offsets, std::int64_t count,
                          std::int64_t total) {
  check(offsets.ndim == 1 && offsets.shape[0] > 0 && (count < 0 || offsets.shape[0] == count + 1), op, ": ", argument,
        " must be [count + 1]; got ", shape_of(offsets));
  check_dtype(op, argument, offsets, DType::i64);
  check_contiguous(op, argument, offsets);
  if (!offsets.on_host()) return;
  const auto* values = offsets.as<const std::int64_t>();
  const std::int64_t last = offsets.shape[0] - 1;
  bool ascends = values[0] == 0 && values[last] == total;
  for (std::int64_t k = 0; ascends && k < last; ++k) ascends = values[k] <= values[k + 1];
  check(ascends, op, ": ", argument, " must ascend from 0 to ", total);
}

// Ascending positions in each of the objects, whose `offsets` are known to be sound.
inline void check_positions(const char* op, const TensorView& transitions, const TensorView& offsets,
                            std::int64_t pixels) {
  if (!transitions.on_host()) return;
  const auto* begins = offsets.as<const std::int64_t>();
  const auto* positions = transitions.as<const std::int64_t>();
  for (std::int64_t g = 0; g + 1 < offsets.shape[0]; ++g) {
    std::int64_t previous = 0;
    for (std::int64_t k = begins[g]; k < begins[g + 1]; previous = positions[k++]) {
      check(positions[k] >= previous && positions[k] <= pixels, op, ": transitions of object ", g,
            " must ascend within 0..", pixels);
    }
  }
}

inline void check_encoded_masks(const char* op, const EncodedMasks& masks) {
  check_mask_size(op, masks.height, masks.width);
  check_shape(op, "points", masks.points, {-1, 2}, "[V, 2]");
  check_dtype(op, "points", masks.points, DType::f64);
  check_contiguous(op, "points", masks.points);
  check_offsets(op, "polygons", masks.polygons, -1, masks.points.shape[0]);
  check_offsets(op, "object_polygons", masks.object_polygons, -1, masks.polygons.shape[0] - 1);
  check_shape(op, "transitions", masks.transitions, {-1}, "[R]");
  check_dtype(op, "transitions", masks.transitions, DType::i64);
  check_contiguous(op, "transitions", masks.transitions);
  check_offsets(op, "object_transitions", masks.object_transitions, masks.count(), masks.transitions.shape[0]);
  check_positions(op, masks.transitions, masks.object_transitions, masks.height * masks.width);
}

// transitions [G, capacity] int64 out, lengths [G] int64 out: every object as transitions alone, no position twice. A
// length beyond the capacity means that the object did not fit: call again with more.
inline void check_mask_transitions(const EncodedMasks& masks, const TensorView& transitions,
                                   const TensorView& lengths) {
  const char* op = "mask_transitions";
  check_encoded_masks(op, masks);
  check_shape(op, "output", transitions, {masks.count(), -1}, "[G, capacity]");
  check_dtype(op, "output", transitions, DType::i64);
  check_contiguous(op, "output", transitions);
  check_writable(op, "output", transitions);
  check_shape(op, "lengths", lengths, {masks.count()}, "[G]");
  check_dtype(op, "lengths", lengths, DType::i64);
  check_contiguous(op, "lengths", lengths);
  check_writable(op, "lengths", lengths);
}

// strings [C] uint8, the compressed COCO encodings of G masks of `pixels` pixels one after the other; offsets [G + 1]
// int64 into it; transitions [C] int64 out, of which object_transitions [G + 1] int64 out says how many are written.
// A string that is damaged, or does not count `pixels`, is an error.
inline void check_parse_rle(const TensorView& strings, const TensorView& offsets, const TensorView& transitions,
                            const TensorView& object_transitions) {
  const char* op = "parse_rle";
  check_shape(op, "strings", strings, {-1}, "[C]");
  check_dtype(op, "strings", strings, DType::u8);
  check_contiguous(op, "strings", strings);
  check_offsets(op, "offsets", offsets, -1, strings.shape[0]);
  check_shape(op, "transitions", transitions, {strings.shape[0]}, "[C]");
  check_dtype(op, "transitions", transitions, DType::i64);
  check_contiguous(op, "transitions", transitions);
  check_writable(op, "transitions", transitions);
  check_shape(op, "object_transitions", object_transitions, {offsets.shape[0]}, "[G + 1]");
  check_dtype(op, "object_transitions", object_transitions, DType::i64);
  check_contiguous(op, "object_transitions", object_transitions);
  check_writable(op, "object_transitions", object_transitions);
}

// transitions [R] int64 and object_transitions [G + 1] int64 of masks of `pixels` pixels; strings [G, capacity] uint8
// out, lengths [G] int64 out: their compressed COCO encodings. Capacity and lengths as for mask_transitions.
inline void check_format_rle(const TensorView& transitions, const TensorView& object_transitions, std::int64_t pixels,
                             const TensorView& strings, const TensorView& lengths) {
  const char* op = "format_rle";
  check_shape(op, "transitions", transitions, {-1}, "[R]");
  check_dtype(op, "transitions", transitions, DType::i64);
  check_contiguous(op, "transitions", transitions);
  check_offsets(op, "object_transitions", object_transitions, -1, transitions.shape[0]);
  check_positions(op, transitions, object_transitions, pixels);
  check_shape(op, "strings", strings, {object_transitions.shape[0] - 1, -1}, "[G, capacity]");
  check_dtype(op, "strings", strings, DType::u8);
  check_contiguous(op, "strings", strings);
  check_writable(op, "strings", strings);
  check_shape(op, "lengths", lengths, {strings.shape[0]}, "[G]");
  check_dtype(op, "lengths", lengths, DType::i64);
  check_contiguous(op, "lengths", lengths);
  check_writable(op, "lengths", lengths);
}

namespace cpu {
void mask_transitions(const Context& context, const TensorView& points, const TensorView& polygons,
                      const TensorView& object_polygons, const TensorView& transitions,
                      const TensorView& object_transitions, std::int64_t height, std::int64_t width,
                      const TensorView& output, const TensorView& lengths);
void parse_rle(const Context& context, const TensorView& strings, const TensorView& offsets, std::int64_t pixels,
               const TensorView& transitions, const TensorView& object_transitions);
void format_rle(const Context& context, const TensorView& transitions, const TensorView& object_transitions,
                std::int64_t pixels, const TensorView& strings, const TensorView& lengths);
}  // namespace cpu

}  // namespace fastmrcnn
