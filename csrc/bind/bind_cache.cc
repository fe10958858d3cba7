#include <memory>

#include "bind/bind.h"
#include "plan/kv_cache.h"

namespace py = pybind11;

namespace edgelm::bind {

void cache(py::module_& m) {
  py::class_<KvCache, std::shared_ptr<KvCache>>(m, "KvCache")
      .def_property_readonly("n_ctx", &KvCache::n_ctx)
      .def_property_readonly("n_parallel", &KvCache::n_parallel)
      .def_property_readonly("reserved_bytes", &KvCache::reserved_bytes)
      .def_property_readonly("committed_bytes", &KvCache::committed_bytes)
      .def("create", &KvCache::create)
      .def("fork", &KvCache::fork, py::arg("sequence"))
      .def("drop", &KvCache::drop, py::arg("sequence"))
      .def("length", &KvCache::length, py::arg("sequence"))
      .def("truncate", &KvCache::truncate, py::arg("sequence"), py::arg("n"));
}

}  // namespace edgelm::bind
