#include <pybind11/stl.h>

#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "bind/bind.h"
#include "plan/kv_cache.h"
#include "plan/state.h"

namespace py = pybind11;

namespace edgelm::bind {

void cache(py::module_& m) {
  py::class_<StateSpec>(m, "StateSpec")
      .def(py::init<int, int, int, int, int, int>(), py::kw_only(), py::arg("layer") = 0,
           py::arg("n_heads") = 0, py::arg("k_width") = 0, py::arg("v_width") = 0,
           py::arg("window") = 0, py::arg("fixed_bytes") = 0)
      .def_readonly("layer", &StateSpec::layer)
      .def_readonly("n_heads", &StateSpec::n_heads)
      .def_readonly("k_width", &StateSpec::k_width)
      .def_readonly("v_width", &StateSpec::v_width)
      .def_readonly("window", &StateSpec::window)
      .def_readonly("fixed_bytes", &StateSpec::fixed_bytes);
  m.attr("PAGE_TOKENS") = kPageTokens;
  m.attr("KV_TYPES") =
      py::tuple(py::cast(std::vector<std::string>(std::begin(kKvTypes), std::end(kKvTypes))));
  m.def(
      "state_bytes",
      [](const std::vector<StateSpec>& states, int64_t n_tokens, const std::string& kv_type) {
        return state_bytes(states, kv_type_named(kv_type), n_tokens);
      },
      py::arg("states"), py::arg("n_tokens"), py::arg("kv_type"));

  py::class_<KvCache, std::shared_ptr<KvCache>>(m, "KvCache")
      .def_property_readonly("n_ctx", &KvCache::n_ctx)
      .def_property_readonly("n_parallel", &KvCache::n_parallel)
      .def_property_readonly("reserved_bytes", &KvCache::reserved_bytes)
      .def_property_readonly("sequences", &KvCache::sequences)
      .def_property_readonly("context_bytes", &KvCache::context_bytes)
      .def_property_readonly("committed_bytes", &KvCache::committed_bytes)
      .def("create", &KvCache::create)
      .def("fork", &KvCache::fork, py::arg("sequence"))
      .def("drop", &KvCache::drop, py::arg("sequence"))
      .def("length", &KvCache::length, py::arg("sequence"))
      .def("truncate", &KvCache::truncate, py::arg("sequence"), py::arg("n"));
}

}  // namespace edgelm::bind
