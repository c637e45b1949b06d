// The decoding of boxes by the best instruction set.
#pragma once

#include "fastmrcnn/isa.h"
#include "kernels/decode_kernel.h"

namespace fastmrcnn::cpu {

inline void decode(const geometry::Deltas<float>* deltas, const geometry::Box<float>* boxes, std::int64_t count,
                   std::int64_t classes, const DecodeParameters<float>& parameters, geometry::Box<float>* decoded) {
  static constexpr IsaTable<decltype(&baseline::decode_boxes_f32)> table = FASTMRCNN_ISA_TABLE(decode_boxes_f32);
  table.get()(deltas, boxes, count, classes, parameters, decoded);
}

inline void decode(const geometry::Deltas<double>* deltas, const geometry::Box<double>* boxes, std::int64_t count,
                   std::int64_t classes, const DecodeParameters<double>& parameters, geometry::Box<double>* decoded) {
  static constexpr IsaTable<decltype(&baseline::decode_boxes_f64)> table = FASTMRCNN_ISA_TABLE(decode_boxes_f64);
  table.get()(deltas, boxes, count, classes, parameters, decoded);
}

}  // namespace fastmrcnn::cpu
