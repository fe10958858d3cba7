#include <chrono>
#include <thread>

#include "bind/bind.h"

namespace py = pybind11;

namespace edgelm::bind {
namespace {

bool interpreter_exits() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

unsigned long main_thread() {
  const py::module_ threading = py::module_::import("threading");
  return threading.attr("main_thread")().attr("ident").cast<unsigned long>();
}

unsigned long main_ident = 0;

}  // namespace

Unlocked::~Unlocked() noexcept(false) {
  while (interpreter_exits()) std::this_thread::sleep_for(std::chrono::seconds(1));
  PyEval_RestoreThread(state_);
}

void gil(py::module_&) { main_ident = main_thread(); }

bool on_main_thread() { return PyThread_get_thread_ident() == main_ident; }

}  // namespace edgelm::bind
