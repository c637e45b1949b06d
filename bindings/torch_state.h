// What torch is doing around a call: whether anything watches it, and with how many threads it runs.
#pragma once

#include <dlpack/dlpack.h>
#include <pybind11/pybind11.h>

#include "fastmrcnn/tensor.h"

namespace fastmrcnn::bindings {

class TorchState {
 public:
  // `watchers`: callables that return something false while they watch nothing: modes, tracers, transforms.
  // `forward_mode`: the namespace of torch.autograd.forward_ad.
  TorchState(pybind11::module_ torch, pybind11::tuple watchers, pybind11::dict forward_mode);

  // Null where torch has no exchange API.
  const DLPackExchangeAPI* exchange_api() const { return api_; }

  // Of any type of tensors.
  bool is_tensor(PyObject* object) const { return PyObject_TypeCheck(object, tensor_); }

  // Of torch's own types, not a subclass.
  bool is_own(PyObject* object) const { return Py_TYPE(object) == tensor_ || Py_TYPE(object) == parameter_; }

  // The following take tensors of torch's own types only.
  bool is_negated_view(PyObject* tensor) const { return call_is_true(is_neg_, &tensor, 1); }
  bool is_meta(PyObject* tensor) const { return attribute_is_true(tensor, is_meta_); }
  bool wants_gradient(PyObject* tensor) const {
    return attribute_is_true(tensor, requires_grad_) && call_is_true(is_grad_enabled_);
  }

  // No mode, tracer, functorch transform or level of forward-mode differentiation.
  bool is_unwatched() const;

  int num_threads() const;

 private:
  static bool call_is_true(const pybind11::object& function, PyObject* const* arguments = nullptr,
                           std::size_t count = 0);
  static bool attribute_is_true(PyObject* object, const pybind11::object& name);

  PyTypeObject* tensor_;
  PyTypeObject* parameter_;
  const DLPackExchangeAPI* api_;
  pybind11::object types_;  // holds the two types
  pybind11::tuple watchers_;
  pybind11::dict forward_mode_;
  pybind11::object is_neg_, is_grad_enabled_, get_num_threads_;
  pybind11::object is_meta_, requires_grad_, current_level_;  // names
};

// Null until fastmrcnn.ops has introduced torch; the native module itself works without it.
const TorchState* torch_state();

// introduce_torch(torch, watchers, forward_mode) and is_plain(*arguments).
void register_torch_state(pybind11::module_& module);

}  // namespace fastmrcnn::bindings
