// Argument checks shared by both devices. A message names the operator, the argument, what was expected and what was
// found: `roi_align: rois must be [K, 5]; got [12, 4]`.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

inline const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::f16: return "float16";
    case DType::bf16: return "bfloat16";
    case DType::f32: return "float32";
    case DType::f64: return "float64";
    case DType::i32: return "int32";
    case DType::i64: return "int64";
    case DType::u8: return "uint8";
    case DType::boolean: return "bool";
  }
  return "unknown";
}

// The type that values stored in `dtype` are computed in, as Accumulator<S> of half.h has it.
inline DType accumulator_of(DType dtype) {
  return dtype == DType::f16 || dtype == DType::bf16 ? DType::f32 : dtype;
}

// How the shape of a tensor reads in a message; made into text only if there is one.
struct ShapeText {
  const TensorView& tensor;

  friend std::ostream& operator<<(std::ostream& text, const ShapeText& shape) {
    text << '[';
    for (int d = 0; d < shape.tensor.ndim; ++d) text << (d ? ", " : "") << shape.tensor.shape[d];
    return text << ']';
  }
};

inline ShapeText shape_of(const TensorView& tensor) {
  return {tensor};
}

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

template <class... Parts>
void check(bool condition, const Parts&... parts) {
  if (!condition) fail(parts...);
}

// A size of -1 in `expected` accepts anything; `described` is how the shape reads in the message, e.g. "[K, 5]".
template <int N>
void check_shape(const char* op, const char* argument, const TensorView& tensor, const std::int64_t (&expected)[N],
                 const char* described) {
  bool matches = tensor.ndim == N;
  for (int d = 0; matches && d < N; ++d) matches = expected[d] < 0 || tensor.shape[d] == expected[d];
  check(matches, op, ": ", argument, " must be ", described, "; got ", shape_of(tensor));
}

inline void check_dtype(const char* op, const char* argument, const TensorView& tensor, DType expected) {
  check(tensor.dtype == expected, op, ": ", argument, " must be ", name_of(expected), "; got ", name_of(tensor.dtype));
}

inline void check_contiguous(const char* op, const char* argument, const TensorView& tensor) {
  check(tensor.is_contiguous(), op, ": ", argument, " must be contiguous");
}

inline void check_writable(const char* op, const char* argument, const TensorView& tensor) {
  check(tensor.writable, op, ": ", argument, " must be writable; got a read-only array");
}

}  // namespace fastmrcnn
