#include "exchange.h"

#include <algorithm>
#include <new>

namespace py = pybind11;

namespace fastmrcnn::bindings {
namespace {

DLDataType to_dlpack(DType dtype) {
  switch (dtype) {
    case DType::f16: return {kDLFloat, 16, 1};
    case DType::bf16: return {kDLBfloat, 16, 1};
    case DType::f32: return {kDLFloat, 32, 1};
    case DType::f64: return {kDLFloat, 64, 1};
    case DType::i32: return {kDLInt, 32, 1};
    case DType::i64: return {kDLInt, 64, 1};
    case DType::u8: return {kDLUInt, 8, 1};
    case DType::boolean: return {kDLBool, 8, 1};
  }
  throw std::bad_alloc();
}

DLDevice to_dlpack(Device device) {
  return {device.type == DeviceType::cuda ? kDLCUDA : kDLCPU, device.index};
}

// Writes the strides of a dense tensor whose dimensions are stored in the order of `view`, channels innermost or not.
void set_dense_strides(TensorView& view, bool channels_last) {
  std::int64_t stride = 1;
  if (channels_last) {
    view.strides[1] = stride;
    stride *= view.shape[1];
  }
  for (int d = view.ndim - 1; d >= 0; --d) {
    if (channels_last && d == 1) continue;
    view.strides[d] = stride;
    stride *= std::max<std::int64_t>(view.shape[d], 1);  // as torch has them for empty tensors
  }
}

}  // namespace

const DLPackExchangeAPI* exchange_api(PyTypeObject* type) {
  static PyTypeObject* cached_type = nullptr;  // guarded by the GIL; held, lest another type take its address
  static const DLPackExchangeAPI* cached_api = nullptr;
  if (type == cached_type) return cached_api;
  py::object capsule = py::getattr(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__", py::none());
  if (capsule.is_none()) return nullptr;
  auto* api = static_cast<const DLPackExchangeAPI*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (api == nullptr) throw py::error_already_set();
  if (api->header.version.major != DLPACK_MAJOR_VERSION || api->dltensor_from_py_object_no_sync == nullptr)
    return nullptr;
  Py_INCREF(type);
  Py_XDECREF(cached_type);
  cached_type = type;
  cached_api = api;
  return api;
}

std::optional<DType> dtype_of(DLDataType dtype) {
  if (dtype.lanes != 1) return {};
  const int code = dtype.code, bits = dtype.bits;
  if (code == kDLFloat && bits == 16) return DType::f16;
  if (code == kDLBfloat && bits == 16) return DType::bf16;
  if (code == kDLFloat && bits == 32) return DType::f32;
  if (code == kDLFloat && bits == 64) return DType::f64;
  if (code == kDLInt && bits == 32) return DType::i32;
  if (code == kDLInt && bits == 64) return DType::i64;
  if (code == kDLUInt && bits == 8) return DType::u8;
  if (code == kDLBool && bits == 8) return DType::boolean;
  return {};
}

std::optional<Device> device_of(DLDevice device) {
  if (device.device_type == kDLCPU || device.device_type == kDLCUDAHost) return Device{DeviceType::cpu, 0};
  if (device.device_type == kDLCUDA) return Device{DeviceType::cuda, device.device_id};
  return {};
}

DLTensor borrow(const DLPackExchangeAPI& api, py::handle object) {
  DLTensor tensor{};
  if (api.dltensor_from_py_object_no_sync(object.ptr(), &tensor) != 0) throw py::error_already_set();
  return tensor;
}

std::optional<TensorView> view_of(const DLTensor& tensor) {
  const std::optional<DType> dtype = dtype_of(tensor.dtype);
  const std::optional<Device> device = device_of(tensor.device);
  if (!dtype || !device || tensor.ndim > kMaxDims) return {};
  TensorView view;
  view.ndim = tensor.ndim;
  view.dtype = *dtype;
  view.device = *device;
  if (tensor.data != nullptr) view.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  std::int64_t dense = 1;
  for (int d = tensor.ndim - 1; d >= 0; --d) {
    view.shape[d] = tensor.shape[d];
    view.strides[d] = tensor.strides != nullptr ? tensor.strides[d] : dense;
    dense *= tensor.shape[d];
  }
  return view;
}

std::optional<void*> current_stream(const DLPackExchangeAPI& api, Device device) {
  if (api.current_work_stream == nullptr) return {};
  const DLDevice on = to_dlpack(device);
  void* stream = nullptr;
  if (api.current_work_stream(on.device_type, on.device_id, &stream) != 0) throw py::error_already_set();
  return stream;
}

// DLPack allocates dense tensors in the order of their dimensions only. This is the same memory under the shape and
// the strides of a view.
struct NewTensor::Reshaped {
  DLManagedTensorVersioned managed;
  TensorView view;
  Owner memory;

  static Owner make(Owner memory, const TensorView& view) {
    auto* made = new Reshaped{*memory, view, nullptr};
    made->memory = std::move(memory);
    made->managed.manager_ctx = made;
    made->managed.deleter = [](DLManagedTensorVersioned* tensor) {
      delete static_cast<Reshaped*>(tensor->manager_ctx);
    };
    made->managed.dl_tensor.shape = made->view.shape;
    made->managed.dl_tensor.strides = made->view.strides;
    return Owner(&made->managed);
  }
};

NewTensor::NewTensor(const DLPackExchangeAPI& api, DType dtype, Device device,
                     std::initializer_list<std::int64_t> shape, bool channels_last)
    : api_(api) {
  view_.ndim = static_cast<int>(shape.size());
  view_.dtype = dtype;
  view_.device = device;
  std::copy(shape.begin(), shape.end(), view_.shape);
  set_dense_strides(view_, channels_last);

  DLTensor prototype{};
  prototype.dtype = to_dlpack(dtype);
  prototype.device = to_dlpack(device);
  prototype.ndim = view_.ndim;
  prototype.shape = view_.shape;
  DLManagedTensorVersioned* memory = nullptr;
  const int refused =
      api.managed_tensor_allocator(&prototype, &memory, nullptr, [](void*, const char*, const char*) {});
  if (refused != 0 || memory == nullptr) throw std::bad_alloc();
  memory_.reset(memory);
  view_.data = static_cast<char*>(memory->dl_tensor.data) + memory->dl_tensor.byte_offset;
  if (channels_last) memory_ = Reshaped::make(std::move(memory_), view_);
}

py::object NewTensor::hand_over() && {
  void* object = nullptr;
  if (api_.managed_tensor_to_py_object_no_sync(memory_.release(), &object) != 0) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(static_cast<PyObject*>(object));
}

}  // namespace fastmrcnn::bindings
