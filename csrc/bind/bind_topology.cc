#include <pybind11/stl.h>

#include <string>

#include "bind/bind.h"
#include "core/memory_room.h"
#include "core/topology.h"

namespace py = pybind11;

namespace edgelm::bind {

void topology(py::module_& m) {
  py::class_<Cpu>(m, "Cpu")
      .def_readonly("cpu", &Cpu::cpu)
      .def_readonly("core", &Cpu::core)
      .def_readonly("cluster", &Cpu::cluster)
      .def_readonly("capacity", &Cpu::capacity)
      .def_readonly("max_mhz", &Cpu::max_mhz)
      .def_readonly("midr", &Cpu::midr)
      .def_readonly("speed", &Cpu::speed)
      .def_readonly("usable", &Cpu::usable)
      .def_readonly("fast", &Cpu::fast);
  py::class_<Core>(m, "Core")
      .def_readonly("cpus", &Core::cpus)
      .def_readonly("cluster", &Core::cluster)
      .def_readonly("speed", &Core::speed)
      .def_readonly("fast", &Core::fast);
  py::class_<Topology>(m, "Topology")
      .def_readonly("cpus", &Topology::cpus)
      .def_readonly("cores", &Topology::cores)
      .def_readonly("quota", &Topology::quota)
      .def_property_readonly("n_threads", &Topology::n_threads);
  m.def("read_topology", &read_topology, py::arg("root") = "");
  py::class_<MemoryRoom>(m, "MemoryRoom")
      .def_readonly("bytes", &MemoryRoom::bytes)
      .def_readonly("limit", &MemoryRoom::limit);
  m.def("memory_room", &memory_room, py::arg("root") = "");
  m.def("usable_cores", [] { return read_topology().n_threads(); });
}

}  // namespace edgelm::bind
