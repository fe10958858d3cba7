// The row kernels of one ISA, for tests and benches.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "bind/bind.h"
#include "core/error.h"
#include "kernels/dispatch.h"
#include "plan/attrs.h"

namespace py = pybind11;

namespace edgelm::bind {
namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

struct RowKernels {
  const KernelTable& table;
};

int32_t width(const Floats& x) {
  check(x.ndim() == 2 && x.shape(1) > 0 && x.shape(1) < INT32_MAX, "expected (T, D) floats, got ",
        x.ndim(), " axes");
  return static_cast<int32_t>(x.shape(1));
}

const float* vector_of(const std::optional<Floats>& v, int32_t d) {
  if (!v) return nullptr;
  check(v->ndim() == 1 && v->shape(0) == d, "expected a vector of ", d, " floats");
  return v->data();
}

// out row = f(x row, out row) for every row of x
template <class F>
Floats each_row(const Floats& x, F f) {
  const int32_t d = width(x);
  Floats out({x.shape(0), x.shape(1)});
  float* to = out.mutable_data();
  for (py::ssize_t t = 0; t < x.shape(0); ++t) f(x.data() + t * d, d, to + t * d);
  return out;
}

template <class F>
Floats each_row(const Floats& a, const Floats& b, F f) {
  const int32_t d = width(a);
  check(width(b) == d && a.shape(0) == b.shape(0), "the two arrays must have one shape");
  Floats out({a.shape(0), a.shape(1)});
  float* to = out.mutable_data();
  for (py::ssize_t t = 0; t < a.shape(0); ++t) f(a.data() + t * d, b.data() + t * d, d, to + t * d);
  return out;
}

GluKind glu_kind(const std::string& name) { return Attrs({{"kind", name}}).glu_kind("kind"); }

Floats rope(const RowKernels& k, const Floats& x, const Floats& cos_sin, bool interleaved) {
  const int32_t c = width(x);
  check(cos_sin.ndim() == 2 && cos_sin.shape(0) == x.shape(0) && cos_sin.shape(1) % 2 == 0 &&
            cos_sin.shape(1) <= c,
        "rope: cos_sin must be (T, 2 * n_pairs) with 2 * n_pairs <= ", c);
  const auto n_pairs = static_cast<int32_t>(cos_sin.shape(1) / 2);
  const float* angles = cos_sin.data();
  return each_row(x, [&](const float* row, int32_t, float* out) {
    k.table.rope(row, angles, n_pairs, c, interleaved, out);
    angles += cos_sin.shape(1);
  });
}

}  // namespace

void vector(py::module_& m) {
  py::class_<RowKernels>(m, "RowKernels")
      .def(py::init([](const std::string& isa) { return RowKernels{kernels(isa)}; }),
           py::arg("isa"))
      .def(
          "rms_norm",
          [](const RowKernels& k, const Floats& x, const std::optional<Floats>& w, float eps) {
            const float* weight = vector_of(w, width(x));
            return each_row(x, [&](const float* row, int32_t d, float* out) {
              k.table.rms_norm(row, weight, d, eps, out);
            });
          },
          py::arg("x"), py::arg("w"), py::arg("eps"))
      .def(
          "layer_norm",
          [](const RowKernels& k, const Floats& x, const std::optional<Floats>& w,
             const std::optional<Floats>& b, float eps) {
            const float* weight = vector_of(w, width(x));
            const float* bias = vector_of(b, width(x));
            return each_row(x, [&](const float* row, int32_t d, float* out) {
              k.table.layer_norm(row, weight, bias, d, eps, out);
            });
          },
          py::arg("x"), py::arg("w"), py::arg("b"), py::arg("eps"))
      .def(
          "add",
          [](const RowKernels& k, const Floats& a, const Floats& b) {
            return each_row(a, b, k.table.add);
          },
          py::arg("a"), py::arg("b"))
      .def(
          "mul",
          [](const RowKernels& k, const Floats& a, const Floats& b) {
            return each_row(a, b, k.table.mul);
          },
          py::arg("a"), py::arg("b"))
      .def(
          "scale",
          [](const RowKernels& k, const Floats& x, float s) {
            return each_row(
                x, [&](const float* row, int32_t d, float* out) { k.table.scale(row, s, d, out); });
          },
          py::arg("x"), py::arg("s"))
      .def(
          "softcap",
          [](const RowKernels& k, const Floats& x, float cap) {
            return each_row(x, [&](const float* row, int32_t d, float* out) {
              k.table.softcap(row, cap, d, out);
            });
          },
          py::arg("x"), py::arg("cap"))
      .def(
          "activation",
          [](const RowKernels& k, const std::string& name, const Floats& x) {
            const GluKind kind = glu_kind(name);
            return each_row(x, [&](const float* row, int32_t d, float* out) {
              k.table.activation(kind, row, d, out);
            });
          },
          py::arg("kind"), py::arg("x"))
      .def(
          "gated",
          [](const RowKernels& k, const std::string& name, const Floats& gate, const Floats& up) {
            const GluKind kind = glu_kind(name);
            return each_row(gate, up, [&](const float* g, const float* u, int32_t d, float* out) {
              k.table.gated(kind, g, u, d, out);
            });
          },
          py::arg("kind"), py::arg("gate"), py::arg("up"))
      .def("rope", &rope, py::arg("x"), py::arg("cos_sin"), py::arg("interleaved"));
}

}  // namespace edgelm::bind
