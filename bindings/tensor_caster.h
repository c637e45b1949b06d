// Reads tensors without linking their framework: torch >= 2.10 through the DLPack C exchange API, older torch through
// its attributes, numpy arrays through the buffer protocol. Nothing is copied or kept.
#pragma once

#include <pybind11/pybind11.h>

#include "fastmrcnn/tensor.h"

namespace fastmrcnn::bindings {

TensorView view_of(pybind11::handle object);

}  // namespace fastmrcnn::bindings

namespace pybind11::detail {

// None is an undefined view: an optional argument that was not given.
template <>
struct type_caster<fastmrcnn::TensorView> {
  PYBIND11_TYPE_CASTER(fastmrcnn::TensorView, const_name("Tensor"));
  bool load(handle source, bool) {
    if (!source.is_none()) value = fastmrcnn::bindings::view_of(source);
    return true;
  }
};

// (number of CPU threads, CUDA stream as an integer)
template <>
struct type_caster<fastmrcnn::Context> {
  PYBIND11_TYPE_CASTER(fastmrcnn::Context, const_name("tuple[int, int]"));
  bool load(handle source, bool) {
    if (!PyTuple_Check(source.ptr()) || PyTuple_GET_SIZE(source.ptr()) != 2) return false;
    value.num_threads = static_cast<int>(PyLong_AsLong(PyTuple_GET_ITEM(source.ptr(), 0)));
    value.stream = PyLong_AsVoidPtr(PyTuple_GET_ITEM(source.ptr(), 1));
    if (PyErr_Occurred()) throw error_already_set();
    return true;
  }
};

}  // namespace pybind11::detail
