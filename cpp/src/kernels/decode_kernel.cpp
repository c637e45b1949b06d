// Box decoding: pointwise, bound by memory once the exponential vectorises.
#include "kernels/decode_kernel.h"

namespace fastmrcnn::FASTMRCNN_ISA {
namespace {

using geometry::Box;
using geometry::Deltas;

// Kept as constants of the loop, not loads that a store through `decoded` might change.
template <class T, bool kClip>
void decode_row(const Deltas<T>* deltas, const Box<T>* boxes, int64_t count, int64_t box_step,
                const DecodeParameters<T> parameters, Box<T>* __restrict__ decoded) {
  for (int64_t k = 0; k < count; ++k) {
    const Box<T> box = geometry::decode(deltas[k], boxes[k * box_step], parameters.coding);
    decoded[k] = kClip ? geometry::clip(box, parameters.image_width, parameters.image_height) : box;
  }
}

template <class T, bool kClip>
void decode_all(const Deltas<T>* deltas, const Box<T>* boxes, int64_t count, int64_t classes,
                const DecodeParameters<T>& parameters, Box<T>* decoded) {
  if (classes == 1) return decode_row<T, kClip>(deltas, boxes, count, 1, parameters, decoded);
  for (int64_t k = 0; k < count; ++k) {
    decode_row<T, kClip>(deltas + k * classes, boxes + k, classes, 0, parameters, decoded + k * classes);
  }
}

template <class T>
void decode(const Deltas<T>* deltas, const Box<T>* boxes, int64_t count, int64_t classes,
            const DecodeParameters<T>& parameters, Box<T>* decoded) {
  if (parameters.clip) {
    decode_all<T, true>(deltas, boxes, count, classes, parameters, decoded);
  } else {
    decode_all<T, false>(deltas, boxes, count, classes, parameters, decoded);
  }
}

}  // namespace

void decode_boxes_f32(const Deltas<float>* deltas, const Box<float>* boxes, int64_t count, int64_t classes,
                      const DecodeParameters<float>& parameters, Box<float>* decoded) {
  decode(deltas, boxes, count, classes, parameters, decoded);
}

void decode_boxes_f64(const Deltas<double>* deltas, const Box<double>* boxes, int64_t count, int64_t classes,
                      const DecodeParameters<double>& parameters, Box<double>* decoded) {
  decode(deltas, boxes, count, classes, parameters, decoded);
}

}  // namespace fastmrcnn::FASTMRCNN_ISA
