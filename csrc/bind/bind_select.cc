#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bind/bind.h"
#include "core/error.h"
#include "select/chain.h"
#include "select/select.h"

namespace py = pybind11;

namespace edgelm::bind {
namespace {

using Floats = py::array_t<float, py::array::c_style>;
using Ids = py::array_t<int32_t, py::array::c_style>;
using Row = std::tuple<Floats, const Edits*, const Chain*, Ids, double>;

std::span<const float> row_of(const Floats& logits) {
  check(logits.ndim() == 1, "logits must have one axis, (V,); got ", logits.ndim());
  return {logits.data(), size_t(logits.size())};
}

py::tuple top_arrays(const Floats& logits, size_t k) {
  const auto row = row_of(logits);
  std::vector<Candidate> best;
  {
    const Unlocked unlocked;
    best = top(row, k);
  }
  py::array_t<int32_t> ids{py::ssize_t(best.size())};
  py::array_t<float> values{py::ssize_t(best.size())};
  for (size_t i = 0; i < best.size(); ++i) {
    ids.mutable_data()[i] = best[i].id;
    values.mutable_data()[i] = best[i].logit;
  }
  return py::make_tuple(ids, values);
}

int32_t argmax_of(const Floats& logits) {
  const auto row = row_of(logits);
  const Unlocked unlocked;
  return argmax(row);
}

py::array_t<double> log_sum_exp_rows(const Floats& logits) {
  check(logits.ndim() == 2, "logits must have two axes, (R, V); got ", logits.ndim());
  const size_t rows = size_t(logits.shape(0)), width = size_t(logits.shape(1));
  py::array_t<double> out{py::ssize_t(rows)};
  const float* in = logits.data();
  double* sums = out.mutable_data();
  const Unlocked unlocked;
  for (size_t r = 0; r < rows; ++r) sums[r] = log_sum_exp({in + r * width, width});
  return out;
}

py::tuple candidates(const Chain& chain, const Floats& logits) {
  const Candidates c = chain.candidates(row_of(logits));
  return py::make_tuple(py::array_t<int32_t>(py::ssize_t(c.ids.size()), c.ids.data()),
                        py::array_t<double>(py::ssize_t(c.ids.size()), c.logits.data()));
}

int32_t choose(const Chain& chain, const Floats& logits, double u) {
  const auto row = row_of(logits);
  const Unlocked unlocked;
  return chain.choose(row, u);
}

Edits edits(const Ids& biased, const Floats& bias, double repeat, double presence,
            double frequency) {
  check(biased.size() == bias.size(), "got ", biased.size(), " biased tokens and ", bias.size(),
        " numbers");
  return {{biased.data(), biased.data() + biased.size()},
          {bias.data(), bias.data() + bias.size()},
          repeat,
          presence,
          frequency};
}

// The ids of `recent`; all tokens that the edits touch must be of a row of `width` logits.
std::span<const int32_t> recent_of(const Edits& edits, const Ids& recent, size_t width) {
  const std::span<const int32_t> ids(recent.data(), size_t(recent.size()));
  for (const std::span<const int32_t> tokens : {ids, std::span<const int32_t>(edits.biased)}) {
    for (const int32_t token : tokens) {
      check(token >= 0 && size_t(token) < width, "token ", token, " is not in a row of ", width);
    }
  }
  return ids;
}

void apply(const Edits& self, Floats row, const Ids& recent) {
  const std::span<float> logits(row.mutable_data(), row_of(row).size());
  const auto tokens = recent_of(self, recent, logits.size());
  const Unlocked unlocked;
  self.apply(logits, tokens);
}

std::vector<int32_t> choose_tokens(const std::vector<Row>& rows) {
  std::vector<Asked> asked;
  for (const auto& [logits, edits, chain, recent, u] : rows) {
    const auto row = row_of(logits);
    asked.push_back({row, edits, chain, recent_of(*edits, recent, row.size()), u});
  }
  const Unlocked unlocked;
  return choose(asked);
}

}  // namespace

void select(py::module_& m) {
  m.def("argmax", argmax_of, py::arg("logits").noconvert());
  m.def("top", top_arrays, py::arg("logits").noconvert(), py::arg("k"));
  m.def("chain_names", chain_names);
  py::class_<Chain>(m, "Chain")
      .def(py::init([](size_t top_k, const std::vector<std::pair<std::string, double>>& samplers) {
             return Chain(top_k, samplers);
           }),
           py::arg("top_k"), py::arg("samplers"))
      .def("candidates", candidates, py::arg("logits").noconvert())
      .def("choose", choose, py::arg("logits").noconvert(), py::arg("u"));
  py::class_<Edits>(m, "Edits")
      .def(py::init(&edits), py::arg("biased"), py::arg("bias"), py::arg("repeat"),
           py::arg("presence"), py::arg("frequency"))
      .def_property_readonly("empty", &Edits::empty)
      .def_property_readonly("penalizes", &Edits::penalizes)
      .def("apply", apply, py::arg("row").noconvert(), py::arg("recent"));
  m.def("choose", choose_tokens, py::arg("rows").noconvert());
  m.def("log_sum_exp", log_sum_exp_rows, py::arg("logits").noconvert());
}

}  // namespace edgelm::bind
