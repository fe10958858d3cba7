#include <pybind11/numpy.h>

#include <cstring>
#include <string>
#include <vector>

#include "bind/bind.h"
#include "core/error.h"
#include "quant/decode.h"

namespace py = pybind11;

namespace edgelm::bind {
namespace {

using Bytes = py::array_t<uint8_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;

Floats decode_rows(const std::string& quant, const Bytes& rows, int64_t k) {
  const QuantType type = quant_named(quant);
  const QuantInfo& q = info(type);
  check(k > 0 && k <= INT32_MAX && k % q.block == 0, "decode_rows: k is ", k, ", but ", quant,
        " rows hold a positive multiple of ", q.block, " weights, below 2^31");
  const int64_t bytes = static_cast<int64_t>(row_bytes(type, k));
  check(rows.ndim() == 2 && rows.shape(1) == bytes, "decode_rows: ", k, " weights of ", quant,
        " are ", bytes, " bytes a row, but rows has shape ",
        py::str(rows.attr("shape")).cast<std::string>());
  const int64_t n = rows.shape(0);
  Floats out({n, k});
  const uint8_t* from = rows.data();
  float* to = out.mutable_data();
  {
    const Unlocked unlocked;
    std::vector<uint32_t> aligned((bytes + 3) / 4);  // the array may start at an odd address
    uint8_t* row = reinterpret_cast<uint8_t*>(aligned.data());
    for (int64_t i = 0; i < n; ++i) {
      std::memcpy(row, from + i * bytes, static_cast<size_t>(bytes));
      decode_row(type, row, k, to + i * k);
    }
  }
  return out;
}

py::list quants() {
  py::list all;
  for (const QuantInfo& q : kQuants) {
    all.append(py::make_tuple(q.name, q.gguf_id, q.block, q.block_bytes));
  }
  return all;
}

}  // namespace

QuantType quant_named(const std::string& name) {
  std::string known;
  for (int i = 0; i < kQuantCount; ++i) {
    if (name == kQuants[i].name) return static_cast<QuantType>(i);
    if (i > 0) known += ", ";
    known += kQuants[i].name;
  }
  fail(ErrorKind::kArgument, "unknown weight type '", name, "'; the types are ", known);
}

void quant(py::module_& m) {
  m.def("quants", &quants);
  m.def("decode_rows", &decode_rows, py::arg("quant"), py::arg("rows"), py::arg("k"));
}

}  // namespace edgelm::bind
