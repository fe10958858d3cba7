#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string>
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

// A request's way from a row of logits to a token: how many candidates it takes, and what narrows
// them.
class Chain {
 public:
  Chain(size_t top_k, const std::vector<std::pair<std::string, double>>& narrowers)
      : top_k_(top_k) {
    for (const auto& [name, value] : narrowers) steps_.emplace_back(named(name), value);
  }

  py::tuple candidates(const Floats& logits) const {
    const Candidates c = narrowed(row_of(logits));
    return py::make_tuple(py::array_t<int32_t>(py::ssize_t(c.ids.size()), c.ids.data()),
                          py::array_t<double>(py::ssize_t(c.ids.size()), c.logits.data()));
  }

  int32_t choose(const Floats& logits, double u) const {
    const auto row = row_of(logits);
    const Unlocked unlocked;
    return draw(narrowed(row), u);
  }

 private:
  using Apply = decltype(Narrower::apply);

  static Apply named(const std::string& name) {
    for (const Narrower& narrower : narrowers()) {
      if (name == narrower.name) return narrower.apply;
    }
    fail(ErrorKind::kArgument, "unknown sampler ", name);
  }

  Candidates narrowed(std::span<const float> row) const {
    Candidates c = candidates_of(row, top_k_);
    for (const auto& [apply, value] : steps_) apply(c, value);
    return c;
  }

  size_t top_k_;
  std::vector<std::pair<Apply, double>> steps_;
};

std::vector<std::string> chain_names() {
  std::vector<std::string> names;
  for (const Narrower& narrower : narrowers()) names.emplace_back(narrower.name);
  return names;
}

}  // namespace

void select(py::module_& m) {
  m.def("argmax", argmax_of, py::arg("logits").noconvert());
  m.def("top", top_arrays, py::arg("logits").noconvert(), py::arg("k"));
  m.def("chain_names", chain_names);
  py::class_<Chain>(m, "Chain")
      .def(py::init<size_t, const std::vector<std::pair<std::string, double>>&>(), py::arg("top_k"),
           py::arg("samplers"))
      .def("candidates", &Chain::candidates, py::arg("logits").noconvert())
      .def("choose", &Chain::choose, py::arg("logits").noconvert(), py::arg("u"));
  m.def("log_sum_exp", log_sum_exp_rows, py::arg("logits").noconvert());
}

}  // namespace edgelm::bind
