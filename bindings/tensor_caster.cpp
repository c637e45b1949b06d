#include "tensor_caster.h"

#include <dlpack/dlpack.h>

#include <string>

#include "fastmrcnn/check.h"

namespace py = pybind11;

namespace fastmrcnn::bindings {
namespace {

std::string type_name(py::handle object) {
  return py::str(py::type::handle_of(object).attr("__name__"));
}

DType dtype_from_dlpack(DLDataType dtype, py::handle object) {
  if (dtype.lanes == 1) {
    const int code = dtype.code, bits = dtype.bits;
    if (code == kDLFloat && bits == 16) return DType::f16;
    if (code == kDLBfloat && bits == 16) return DType::bf16;
    if (code == kDLFloat && bits == 32) return DType::f32;
    if (code == kDLFloat && bits == 64) return DType::f64;
    if (code == kDLInt && bits == 32) return DType::i32;
    if (code == kDLInt && bits == 64) return DType::i64;
    if (code == kDLUInt && bits == 8) return DType::u8;
    if (code == kDLBool && bits == 8) return DType::boolean;
  }
  throw py::type_error("unsupported tensor dtype " + std::string(py::str(object.attr("dtype"))));
}

Device device_from_dlpack(DLDevice device, py::handle object) {
  if (device.device_type == kDLCPU || device.device_type == kDLCUDAHost) return {DeviceType::cpu, 0};
  if (device.device_type == kDLCUDA) return {DeviceType::cuda, device.device_id};
  throw py::type_error("unsupported tensor device " + std::string(py::str(object.attr("device"))) +
                       "; expected cpu or cuda");
}

void set_dimensions(TensorView& view, int ndim) {
  check(ndim <= kMaxDims, "tensors have at most ", kMaxDims, " dimensions here; got ", ndim);
  view.ndim = ndim;
}

// FakeTensors and meta tensors have a shape but no memory.
const TensorView& require_memory(const TensorView& view, py::handle object) {
  if (view.data == nullptr && view.numel() > 0) throw py::type_error("tensor has no data: " + type_name(object));
  return view;
}

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

TensorView from_exchange_api(const DLPackExchangeAPI& api, py::handle object) {
  DLTensor tensor{};
  if (api.dltensor_from_py_object_no_sync(object.ptr(), &tensor) != 0) throw py::error_already_set();
  TensorView view;
  set_dimensions(view, tensor.ndim);
  view.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  if (tensor.data == nullptr) view.data = nullptr;
  view.dtype = dtype_from_dlpack(tensor.dtype, object);
  view.device = device_from_dlpack(tensor.device, object);
  std::int64_t dense = 1;
  for (int d = tensor.ndim - 1; d >= 0; --d) {
    view.shape[d] = tensor.shape[d];
    view.strides[d] = tensor.strides != nullptr ? tensor.strides[d] : dense;
    dense *= tensor.shape[d];
  }
  return view;
}

DType dtype_from_torch(const std::string& name) {
  if (name == "torch.float16") return DType::f16;
  if (name == "torch.bfloat16") return DType::bf16;
  if (name == "torch.float32") return DType::f32;
  if (name == "torch.float64") return DType::f64;
  if (name == "torch.int32") return DType::i32;
  if (name == "torch.int64") return DType::i64;
  if (name == "torch.uint8") return DType::u8;
  if (name == "torch.bool") return DType::boolean;
  throw py::type_error("unsupported tensor dtype " + name);
}

TensorView from_torch_attributes(py::handle object) {
  TensorView view;
  const auto shape = object.attr("shape").cast<py::tuple>();
  const auto strides = object.attr("stride")().cast<py::tuple>();
  set_dimensions(view, static_cast<int>(shape.size()));
  for (int d = 0; d < view.ndim; ++d) {
    view.shape[d] = shape[d].cast<std::int64_t>();
    view.strides[d] = strides[d].cast<std::int64_t>();
  }
  view.data = reinterpret_cast<void*>(object.attr("data_ptr")().cast<std::uintptr_t>());
  view.dtype = dtype_from_torch(py::str(object.attr("dtype")));
  const py::object device = object.attr("device");
  const auto type = device.attr("type").cast<std::string>();
  if (type == "cuda") {
    view.device = {DeviceType::cuda, device.attr("index").cast<int>()};
  } else if (type != "cpu") {
    throw py::type_error("unsupported tensor device " + type + "; expected cpu or cuda");
  }
  return view;
}

DType dtype_from_buffer(const py::buffer_info& info) {
  const std::string& format = info.format;
  if (format == "e") return DType::f16;
  if (format == "f") return DType::f32;
  if (format == "d") return DType::f64;
  if (format == "i") return DType::i32;
  if (format == "l" || format == "q") return info.itemsize == 8 ? DType::i64 : DType::i32;
  if (format == "B") return DType::u8;
  if (format == "?") return DType::boolean;
  throw py::type_error("unsupported array format '" + format + "'");
}

TensorView from_buffer(py::handle object) {
  const py::buffer_info info = py::reinterpret_borrow<py::buffer>(object).request();
  TensorView view;
  set_dimensions(view, static_cast<int>(info.ndim));
  view.data = info.ptr;
  view.writable = !info.readonly;
  view.dtype = dtype_from_buffer(info);
  for (int d = 0; d < view.ndim; ++d) {
    view.shape[d] = info.shape[d];
    view.strides[d] = info.strides[d] / info.itemsize;
  }
  return view;
}

}  // namespace

TensorView view_of(py::handle object) {
  if (const DLPackExchangeAPI* api = exchange_api(Py_TYPE(object.ptr()))) {
    return require_memory(from_exchange_api(*api, object), object);
  }
  if (py::hasattr(object, "data_ptr")) return require_memory(from_torch_attributes(object), object);
  if (PyObject_CheckBuffer(object.ptr())) return from_buffer(object);
  throw py::type_error("expected a torch tensor or a numpy array; got " + type_name(object));
}

}  // namespace fastmrcnn::bindings
