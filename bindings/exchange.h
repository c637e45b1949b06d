// torch's tensors through the DLPack C exchange API, which torch has from 2.10 on: they are read in place, and new ones
// come from torch's own allocator. Nothing of torch is linked.
#pragma once

#include <dlpack/dlpack.h>
#include <pybind11/pybind11.h>

#include <initializer_list>
#include <memory>
#include <optional>

#include "fastmrcnn/tensor.h"

namespace fastmrcnn::bindings {

// The API of a type of tensors, or null where the type has none or one of another major version.
const DLPackExchangeAPI* exchange_api(PyTypeObject* type);

std::optional<DType> dtype_of(DLDataType dtype);
std::optional<Device> device_of(DLDevice device);

// The object as DLPack describes it; raises what torch raises.
DLTensor borrow(const DLPackExchangeAPI& api, pybind11::handle object);

// The view of a described tensor whose dtype, device and number of dimensions are known here, else nothing.
std::optional<TensorView> view_of(const DLTensor& tensor);

// torch's current stream on a CUDA device; nothing where the API cannot tell.
std::optional<void*> current_stream(const DLPackExchangeAPI& api, Device device);

// A tensor of torch's that nobody has seen yet. Unless it is handed over, it frees its memory.
class NewTensor {
 public:
  // Dense memory; four dimensions are stored as N, H, W, C where `channels_last` is true. Throws std::bad_alloc where
  // torch refuses.
  NewTensor(const DLPackExchangeAPI& api, DType dtype, Device device, std::initializer_list<std::int64_t> shape,
            bool channels_last = false);

  const TensorView& view() const { return view_; }

  // The torch.Tensor, which now owns the memory.
  pybind11::object hand_over() &&;

 private:
  struct Free {
    void operator()(DLManagedTensorVersioned* tensor) const {
      if (tensor->deleter != nullptr) tensor->deleter(tensor);
    }
  };
  using Owner = std::unique_ptr<DLManagedTensorVersioned, Free>;
  struct Reshaped;

  const DLPackExchangeAPI& api_;
  TensorView view_;
  Owner memory_;
};

}  // namespace fastmrcnn::bindings
