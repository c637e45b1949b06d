#include "tensor_caster.h"

#include <string>

#include "exchange.h"
#include "fastmrcnn/check.h"

namespace py = pybind11;

namespace fastmrcnn::bindings {
namespace {

std::string type_name(py::handle object) {
  return py::str(py::type::handle_of(object).attr("__name__"));
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

TensorView from_exchange_api(const DLPackExchangeAPI& api, py::handle object) {
  const DLTensor tensor = borrow(api, object);
  if (const std::optional<TensorView> view = view_of(tensor)) return *view;
  if (!dtype_of(tensor.dtype)) {
    throw py::type_error("unsupported tensor dtype " + std::string(py::str(object.attr("dtype"))));
  }
  if (!device_of(tensor.device)) {
    throw py::type_error("unsupported tensor device " + std::string(py::str(object.attr("device"))) +
                         "; expected cpu or cuda");
  }
  fail("tensors have at most ", kMaxDims, " dimensions here; got ", tensor.ndim);
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
