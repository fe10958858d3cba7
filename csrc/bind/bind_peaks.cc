#include <string>

#include "bind/bind.h"
#include "core/clock.h"
#include "core/error.h"
#include "kernels/dispatch.h"
#include "kernels/peaks.h"

namespace py = pybind11;

namespace edgelm::bind {
namespace {

py::dict measure(const std::string& isa, int n_threads, int64_t n_bytes) {
  check(n_threads >= 1 && n_threads <= 256, "measure_peaks: n_threads is ", n_threads,
        ", expected 1 to 256");
  check(n_bytes >= 1 << 20 && n_bytes <= int64_t{1} << 36, "measure_peaks: n_bytes is ", n_bytes,
        ", expected 1 MiB to 64 GiB");
  const KernelTable& table = kernels(isa);
  Peaks peaks;
  {
    const Unlocked unlocked;
    peaks = measure_peaks(table, n_threads, static_cast<size_t>(n_bytes));
  }
  py::dict out;
  out["clock_hz"] = peaks.clock_hz;
  out["u8s8_mac_cycle"] = peaks.u8s8_mac_cycle;
  out["i16_mac_cycle"] = peaks.i16_mac_cycle;
  out["f32_mac_cycle"] = peaks.f32_mac_cycle;
  out["read_gb_s"] = peaks.read_gb_s;
  return out;
}

}  // namespace

void peaks(py::module_& m) {
  m.def("clock_hz", &clock_hz, py::call_guard<Unlocked>());
  m.def("measure_peaks", &measure, py::arg("isa"), py::arg("n_threads") = 1,
        py::arg("n_bytes") = int64_t{1} << 28);
}

}  // namespace edgelm::bind
