#pragma once

#include "fastmrcnn/geometry/box_coding.h"
#include "kernels/kernel.h"

namespace fastmrcnn {

template <class T>
struct DecodeParameters {
  geometry::BoxCoding<T> coding;
  bool clip;
  T image_width, image_height;
};

// Decodes `classes` deltas for each of `count` boxes: deltas and decoded are [count, classes].
FASTMRCNN_DECLARE_KERNEL(void decode_boxes_f32(const geometry::Deltas<float>* deltas, const geometry::Box<float>* boxes,
                                               int64_t count, int64_t classes,
                                               const DecodeParameters<float>& parameters,
                                               geometry::Box<float>* decoded))
FASTMRCNN_DECLARE_KERNEL(void decode_boxes_f64(const geometry::Deltas<double>* deltas,
                                               const geometry::Box<double>* boxes, int64_t count, int64_t classes,
                                               const DecodeParameters<double>& parameters,
                                               geometry::Box<double>* decoded))

}  // namespace fastmrcnn
