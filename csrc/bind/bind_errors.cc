#include <string_view>

#include "bind/bind.h"
#include "core/error.h"

namespace py = pybind11;

namespace edgelm::bind {
namespace {

const char* python_class(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kModelFormat:
      return "ModelFormatError";
    case ErrorKind::kUnsupportedModel:
      return "UnsupportedModelError";
    case ErrorKind::kCacheFull:
      return "CacheFullError";
    case ErrorKind::kBusy:
      return "Busy";
    case ErrorKind::kLogits:
      return "LogitsError";
    case ErrorKind::kArgument:
    case ErrorKind::kIo:
    case ErrorKind::kMemory:
      return nullptr;
  }
  return nullptr;
}

PyObject* builtin_class(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kIo:
      return PyExc_OSError;
    case ErrorKind::kMemory:
      return PyExc_MemoryError;
    default:
      return PyExc_ValueError;
  }
}

}  // namespace

void errors(py::module_&) {
  py::register_local_exception_translator([](std::exception_ptr pending) {
    try {
      if (pending) std::rethrow_exception(pending);
    } catch (const Error& error) {
      const char* name = python_class(error.kind());
      const py::object type = name == nullptr
                                  ? py::reinterpret_borrow<py::object>(builtin_class(error.kind()))
                                  : py::module_::import("edgelm.errors").attr(name);
      // It may quote a file's bytes: what is no UTF-8 becomes U+FFFD.
      const std::string_view what = error.what();
      const auto text = py::reinterpret_steal<py::object>(
          PyUnicode_DecodeUTF8(what.data(), static_cast<py::ssize_t>(what.size()), "replace"));
      if (text) PyErr_SetObject(type.ptr(), text.ptr());
    }
  });
}

}  // namespace edgelm::bind
