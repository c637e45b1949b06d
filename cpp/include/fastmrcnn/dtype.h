// The one dtype switch of the repository.
#pragma once

#include "fastmrcnn/check.h"
#include "fastmrcnn/half.h"

namespace fastmrcnn {

template <class T>
struct TypeTag {
  using type = T;
};

// Calls `body(TypeTag<float>{})` or `body(TypeTag<double>{})`.
template <class Body>
decltype(auto) dispatch_floating(const char* op, const char* argument, DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f32: return body(TypeTag<float>{});
    case DType::f64: return body(TypeTag<double>{});
    default: fail(op, ": ", argument, " must be float32 or float64; got ", name_of(dtype));
  }
}

// The same for kernels that read and write half types too: also `body(TypeTag<Half>{})` and
// `body(TypeTag<BFloat16>{})`.
template <class Body>
decltype(auto) dispatch_storage(const char* op, const char* argument, DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f32: return body(TypeTag<float>{});
    case DType::f64: return body(TypeTag<double>{});
    case DType::f16: return body(TypeTag<Half>{});
    case DType::bf16: return body(TypeTag<BFloat16>{});
    default: fail(op, ": ", argument, " must be floating point; got ", name_of(dtype));
  }
}

}  // namespace fastmrcnn
