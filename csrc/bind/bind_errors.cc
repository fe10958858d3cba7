#include "bind/bind.h"
#include "core/error.h"

namespace py = pybind11;

namespace edgelm::bind {
namespace {

const char* python_class(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kModelFormat: return "ModelFormatError";
    case ErrorKind::kUnsupportedModel: return "UnsupportedModelError";
    case ErrorKind::kCacheFull: return "CacheFullError";
    case ErrorKind::kBusy: return "Busy";
    case ErrorKind::kLogits: return "LogitsError";
    case ErrorKind::kArgument:
    case ErrorKind::kIo:
    case ErrorKind::kMemory: return nullptr;
  }
  return nullptr;
}

PyObject* builtin_class(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kIo: return PyExc_OSError;
    case ErrorKind::kMemory: return PyExc_MemoryError;
    default: return PyExc_ValueError;
  }
}

}  // namespace

void errors(py::module_&) {
  py::register_local_exception_translator([](std::exception_ptr pending) {
    try {
      if (pending) std::rethrow_exception(pending);
    } catch (const Error& error) {
      const char* name = python_class(error.kind());
      if (name == nullptr) {
        PyErr_SetString(builtin_class(error.kind()), error.what());
      } else {
        PyErr_SetString(py::module_::import("edgelm.errors").attr(name).ptr(), error.what());
      }
    }
  });
}

}  // namespace edgelm::bind
