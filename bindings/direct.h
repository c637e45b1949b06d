// Direct calls: from torch's tensors to torch's tensors in one C call, outputs included.
//
// Elsewhere Python allocates every output. Here torch's allocator is asked for it through the exchange API, because
// for one box or one RoI the way through Python was nine tenths of the call: nms of one box took 20 us so and takes 3
// so (tests/ops/test_call_overhead.py compares with torchvision).
//
// A direct function returns None where the call is not as plain as can be: a subclass, a mode, a tracer, a transform, a
// gradient to record, a negated view, a device, dtype or layout that the kernels do not read, several devices, a torch
// without the exchange API. The caller then goes the ordinary way, which also has the words for what is wrong with a
// bad argument.
#pragma once

#include <array>
#include <optional>
#include <tuple>
#include <type_traits>

#include "call_python.h"
#include "exchange.h"
#include "op.h"
#include "torch_state.h"

namespace fastmrcnn::bindings {

// An operator's kernels. None for CUDA where the build has none, or where a call needs more than outputs.
template <class... Arguments>
struct DirectKernels {
  const char* op;
  Kernel<Arguments...> on_cpu, on_cuda;
};

template <class... Arguments>
constexpr DirectKernels<Arguments...> direct_kernels(const char* op, Kernel<Arguments...> on_cpu,
                                                     Same<Kernel<Arguments...>> on_cuda) {
  return {op, on_cpu, on_cuda};
}

// A call on tensors of one device that torch would not notice.
class DirectCall {
 public:
  DirectCall(const TorchState& torch, Device device, const Context& context)
      : torch_(torch), device_(device), context_(context) {}

  template <class... Arguments>
  bool serves(const DirectKernels<Arguments...>& kernels) const {
    return device_.type == DeviceType::cpu || kernels.on_cuda != nullptr;
  }

  NewTensor empty(DType dtype, std::initializer_list<std::int64_t> shape, bool channels_last = false) const {
    return {*torch_.exchange_api(), dtype, device_, shape, channels_last};
  }

  // The kernels serve the device.
  template <class... Arguments>
  void run(const DirectKernels<Arguments...>& kernels, const std::decay_t<Arguments>&... arguments) const {
    pybind11::gil_scoped_release unlocked;
    if (device_.type == DeviceType::cpu) {
      kernels.on_cpu(context_, arguments...);
    } else {
      run_on_cuda<Arguments...>(kernels.op, kernels.on_cuda, device_.index, context_, arguments...);
    }
  }

 private:
  const TorchState& torch_;
  Device device_;
  Context context_;
};

// False once a tensor lies elsewhere than those before it.
inline bool shares_device(std::optional<Device>& device, const TensorView& tensor) {
  if (tensor.defined() && !device) device = tensor.device;
  return !tensor.defined() || tensor.device == *device;
}
template <class Value>
bool shares_device(std::optional<Device>&, const Value&) {
  return true;
}

// Where and how kernels run on a device; nothing where torch cannot tell.
std::optional<Context> context_on(const TorchState& torch, Device device);

// Each reads an argument and returns false where it is not of the plainest kind.
bool read(const TorchState& torch, PyObject* object, TensorView& value);  // None is an undefined view
bool read(const TorchState& torch, PyObject* object, double& value);
bool read(const TorchState& torch, PyObject* object, std::int64_t& value);
bool read(const TorchState& torch, PyObject* object, bool& value);

// A tuple or list of this many.
template <class T, std::size_t size>
bool read(const TorchState& torch, PyObject* object, std::array<T, size>& values) {
  const bool sequence = PyTuple_Check(object) || PyList_Check(object);
  if (!sequence || PySequence_Fast_GET_SIZE(object) != static_cast<Py_ssize_t>(size)) return false;
  for (std::size_t k = 0; k < size; ++k) {
    if (!read(torch, PySequence_Fast_GET_ITEM(object, k), values[k])) return false;
  }
  return true;
}

template <class T>
bool read(const TorchState& torch, PyObject* object, std::optional<T>& value) {
  return object == Py_None || read(torch, object, value.emplace());
}

// Tests turn them off to see the ordinary way.
inline bool direct_calls_allowed = true;  // guarded by the GIL

template <auto Form, int Differentiable, class... Arguments>
pybind11::object call_directly(PyObject* const* given, pybind11::object (*)(const DirectCall&, Arguments...)) {
  const TorchState* torch = torch_state();
  if (!direct_calls_allowed || torch == nullptr || torch->exchange_api() == nullptr) return pybind11::none();
  for (int k = 0; k < Differentiable; ++k) {
    if (!torch->is_own(given[k]) || torch->wants_gradient(given[k])) return pybind11::none();
  }
  std::tuple<std::decay_t<Arguments>...> arguments;
  const bool plain = std::apply(
      [&](auto&... values) {
        PyObject* const* next = given;
        return (read(*torch, *next++, values) && ...);
      },
      arguments);
  if (!plain || !torch->is_unwatched()) return pybind11::none();
  return std::apply(
      [&](const auto&... values) -> pybind11::object {
        std::optional<Device> device;
        if (!(shares_device(device, values) && ...) || !device) return pybind11::none();
        const std::optional<Context> context = context_on(*torch, *device);
        if (!context) return pybind11::none();
        return Form(DirectCall(*torch, *device, *context), values...);
      },
      arguments);
}

template <class... Arguments>
constexpr Py_ssize_t count_arguments(pybind11::object (*)(const DirectCall&, Arguments...)) {
  return sizeof...(Arguments);
}

template <auto Form, int Differentiable>
PyObject* direct(PyObject*, PyObject* const* given, Py_ssize_t count) {
  return guarded([&]() -> pybind11::object {
    if (count != count_arguments(Form)) throw pybind11::type_error("wrong number of arguments");
    return call_directly<Form, Differentiable>(given, Form);
  });
}

// Adds `Form(const DirectCall&, tensors and plain values...) -> object` to the module. Where one of its first
// `Differentiable` arguments wants a gradient, the function returns None.
template <auto Form, int Differentiable>
void bind_direct(pybind11::module_& module, const char* name) {
  def_fastcall<direct<Form, Differentiable>>(module, name);
}

// Every direct function.
void register_direct(pybind11::module_& module);

}  // namespace fastmrcnn::bindings
