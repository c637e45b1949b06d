// Binds an operator's two kernels as one function, which runs the one of the device that the tensors lie on.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "fastmrcnn/check.h"
#include "fastmrcnn/device_guard.h"
#include "tensor_caster.h"

// The CUDA kernel of an operator, where the build has it.
#if defined(FASTMRCNN_WITH_CUDA)
#define CUDA_KERNEL(op) &cuda::op
#else
#define CUDA_KERNEL(op) nullptr
#endif

namespace fastmrcnn::bindings {

inline std::string name_of(Device device) {
  return device.type == DeviceType::cpu ? "cpu" : "cuda:" + std::to_string(device.index);
}

// The one device of all the tensors of a call.
class CallDevice {
 public:
  explicit CallDevice(const char* op) : op_(op) {}

  void include(const TensorView& tensor) {
    if (!tensor.defined()) return;
    if (!device_) device_ = tensor.device;
    check(tensor.device == *device_, op_, ": all tensors must be on one device; got ", name_of(*device_), " and ",
          name_of(tensor.device));
  }
  void include(const std::vector<TensorView>& tensors) {
    for (const TensorView& tensor : tensors) include(tensor);
  }
  template <class Value>
  void include(const Value&) {}

  Device get() const { return device_.value_or(Device{}); }

 private:
  const char* op_;
  std::optional<Device> device_;
};

template <class... Arguments>
using Kernel = void (*)(const Context&, Arguments...);

// T, where the compiler shall not deduce it.
template <class T>
using Same = std::common_type_t<T>;

template <class... Arguments>
void run_on_cuda(const char* op, Kernel<Arguments...> kernel, int device, const Context& context,
                 const std::decay_t<Arguments>&... arguments) {
#if defined(FASTMRCNN_WITH_CUDA)
  check(kernel != nullptr, op, ": runs on the CPU only; move the tensors there with .cpu()");
  const cuda::DeviceGuard guard(device);
  kernel(context, arguments...);
#else
  (void)kernel, (void)device, (void)context, ((void)arguments, ...);
  fail(op, ": this build of fastmrcnn has no CUDA kernels; reinstall it from source where nvcc is on the PATH (",
       "pip install --force-reinstall --no-binary fastmrcnn fastmrcnn), or move the tensors to the CPU with .cpu()");
#endif
}

// Arguments after the context are tensors and plain values, in the order of the kernels' declaration. A kernel for
// CUDA that is null marks an operator of the CPU alone; the module's list `cuda_kernels` names the others.
template <class... Arguments>
void def_op(pybind11::module_& module, const char* op, Kernel<Arguments...> on_cpu,
            Same<Kernel<Arguments...>> on_cuda) {
  if (on_cuda != nullptr) module.attr("cuda_kernels").cast<pybind11::list>().append(op);
  module.def(op, [op, on_cpu, on_cuda](const Context& context, std::decay_t<Arguments>... arguments) {
    CallDevice device(op);
    (device.include(arguments), ...);
    pybind11::gil_scoped_release unlocked;
    if (device.get().type == DeviceType::cpu) {
      on_cpu(context, arguments...);
    } else {
      run_on_cuda<Arguments...>(op, on_cuda, device.get().index, context, arguments...);
    }
  });
}

}  // namespace fastmrcnn::bindings
