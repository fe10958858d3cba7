#include <pybind11/numpy.h>

#include <algorithm>

#include "bind/bind.h"
#include "core/error.h"
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

using Logits = py::array_t<double, py::array::c_style>;

std::span<const double> candidates(const Logits& logits) {
  check(logits.ndim() == 1 && logits.size() > 0, "logits must be (n,), n >= 1");
  return {logits.data(), size_t(logits.size())};
}

// A function of candidates' logits and one number.
template <size_t (*function)(std::span<const double>, double)>
size_t of_candidates(const Logits& logits, double number) {
  return function(candidates(logits), number);
}

Logits temperature(const Logits& logits, double t) {
  const auto in = candidates(logits);
  Logits out{py::ssize_t(in.size())};
  std::transform(in.begin(), in.end(), out.mutable_data(),
                 [&](double logit) { return (logit - in[0]) / t; });
  return out;
}

}  // namespace

void select(py::module_& m) {
  m.def("argmax", argmax_of, py::arg("logits").noconvert());
  m.def("top", top_arrays, py::arg("logits").noconvert(), py::arg("k"));
  m.def("top_p", of_candidates<top_p>, py::arg("logits").noconvert(), py::arg("p"));
  m.def("min_p", of_candidates<min_p>, py::arg("logits").noconvert(), py::arg("p"));
  m.def("temperature", temperature, py::arg("logits").noconvert(), py::arg("t"));
  m.def("draw", of_candidates<draw>, py::arg("logits").noconvert(), py::arg("u"));
  m.def("log_sum_exp", log_sum_exp_rows, py::arg("logits").noconvert());
}

}  // namespace edgelm::bind
