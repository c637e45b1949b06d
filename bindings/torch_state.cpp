#include "torch_state.h"

#include "call_python.h"
#include "exchange.h"

namespace py = pybind11;

namespace fastmrcnn::bindings {
namespace {

const TorchState* introduced = nullptr;  // guarded by the GIL; never destroyed, for Python may be gone by then

py::object interned(const char* name) {
  return py::reinterpret_steal<py::object>(PyUnicode_InternFromString(name));
}

// True when nothing watches the call and every tensor among its arguments is ordinary: its memory holds its values.
PyObject* is_plain(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  return guarded([&]() -> py::object {
    if (introduced == nullptr) return py::bool_(false);
    for (Py_ssize_t k = 0; k < count; ++k) {
      PyObject* argument = arguments[k];
      if (!introduced->is_tensor(argument)) continue;
      const bool ordinary =
          introduced->is_own(argument) && !introduced->is_meta(argument) && !introduced->is_negated_view(argument);
      if (!ordinary) return py::bool_(false);
    }
    return py::bool_(introduced->is_unwatched());
  });
}

}  // namespace

TorchState::TorchState(py::module_ torch, py::tuple watchers, py::dict forward_mode)
    : types_(py::make_tuple(torch.attr("Tensor"), torch.attr("nn").attr("Parameter"))),
      watchers_(std::move(watchers)),
      forward_mode_(std::move(forward_mode)),
      is_neg_(torch.attr("Tensor").attr("is_neg")),
      is_grad_enabled_(torch.attr("is_grad_enabled")),
      get_num_threads_(torch.attr("get_num_threads")),
      is_meta_(interned("is_meta")),
      requires_grad_(interned("requires_grad")),
      current_level_(interned("_current_level")) {
  tensor_ = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(types_.ptr(), 0));
  parameter_ = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(types_.ptr(), 1));
  api_ = bindings::exchange_api(tensor_);
}

bool TorchState::is_unwatched() const {
  for (const py::handle watcher : watchers_) {
    if (call_is_true(py::reinterpret_borrow<py::object>(watcher))) return false;
  }
  PyObject* level = PyDict_GetItemWithError(forward_mode_.ptr(), current_level_.ptr());
  if (level == nullptr) throw py::key_error("torch.autograd.forward_ad._current_level");
  return PyLong_AsLong(level) < 0;
}

int TorchState::num_threads() const {
  const auto count = py::reinterpret_steal<py::object>(PyObject_CallNoArgs(get_num_threads_.ptr()));
  const long threads = count ? PyLong_AsLong(count.ptr()) : -1;
  if (PyErr_Occurred()) throw py::error_already_set();
  return static_cast<int>(threads);
}

bool TorchState::call_is_true(const py::object& function, PyObject* const* arguments, std::size_t count) {
  const auto result = py::reinterpret_steal<py::object>(PyObject_Vectorcall(function.ptr(), arguments, count, nullptr));
  const int truth = result ? PyObject_IsTrue(result.ptr()) : -1;
  if (truth < 0) throw py::error_already_set();
  return truth != 0;
}

bool TorchState::attribute_is_true(PyObject* object, const py::object& name) {
  const auto value = py::reinterpret_steal<py::object>(PyObject_GetAttr(object, name.ptr()));
  const int truth = value ? PyObject_IsTrue(value.ptr()) : -1;
  if (truth < 0) throw py::error_already_set();
  return truth != 0;
}

const TorchState* torch_state() {
  return introduced;
}

void register_torch_state(py::module_& module) {
  module.def("introduce_torch", [](py::module_ torch, py::tuple watchers, py::dict forward_mode) {
    introduced = new TorchState(std::move(torch), std::move(watchers), std::move(forward_mode));
  });
  def_fastcall<is_plain>(module, "is_plain");
}

}  // namespace fastmrcnn::bindings
