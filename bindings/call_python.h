// Functions of the module that are called so often with so little to do that pybind11's dispatch would be most of it.
#pragma once

#include <pybind11/pybind11.h>

#include <exception>
#include <new>
#include <stdexcept>

namespace fastmrcnn::bindings {

// Runs `body`, which returns a py::object, as the body of a C function of Python: exceptions become Python's.
template <class Body>
PyObject* guarded(const Body& body) noexcept {
  try {
    return body().release().ptr();
  } catch (pybind11::error_already_set& error) {
    error.restore();
  } catch (const pybind11::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc& error) {
    PyErr_SetString(PyExc_MemoryError, error.what());
  } catch (const std::invalid_argument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

using FastFunction = PyObject* (*)(PyObject* module, PyObject* const* arguments, Py_ssize_t count);

// Adds `function` to the module, to be called with positional arguments only.
template <FastFunction function>
void def_fastcall(pybind11::module_& module, const char* name) {
  static PyMethodDef definition{};
  definition.ml_name = name;
  definition.ml_meth = reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
  definition.ml_flags = METH_FASTCALL;
  const pybind11::object module_name = module.attr("__name__");
  module.attr(name) =
      pybind11::reinterpret_steal<pybind11::object>(PyCFunction_NewEx(&definition, nullptr, module_name.ptr()));
}

}  // namespace fastmrcnn::bindings
