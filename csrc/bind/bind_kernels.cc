#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "bind/bind.h"
#include "core/cpu.h"
#include "core/error.h"
#include "core/os.h"
#include "core/topology.h"
#include "kernels/activation.h"
#include "kernels/dispatch.h"
#include "kernels/table.h"
#include "plan/matmul.h"

namespace py = pybind11;

namespace edgelm::bind {
namespace {

using Bytes = py::array_t<uint8_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;

constexpr int64_t kMaxAxis = 1 << 24;  // K times any element's bytes stays within int32

struct Free {
  void operator()(uint8_t* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
using Buffer = std::unique_ptr<uint8_t[], Free>;

Buffer allocate(size_t bytes) {
  return Buffer(static_cast<uint8_t*>(::operator new[](bytes, std::align_val_t{64})));
}

template <class Array>
Array checked(const py::array& array, const char* what, const char* dtype) {
  check(py::isinstance<Array>(array) && array.ndim() == 2, what, ": expected a C-contiguous 2-D ",
        dtype, " array, got ", py::str(array.dtype()).template cast<std::string>(), " of shape ",
        py::str(array.attr("shape")).template cast<std::string>(),
        "; use numpy.ascontiguousarray(x, ", dtype, ")");
  return py::reinterpret_borrow<Array>(array);
}

// body(i) for i in [0, n), in equal runs on n_threads.
template <class Body>
void split(int64_t n, int n_threads, const Body& body) {
  const auto run = [&](int64_t thread) {
    body(n * thread / n_threads, n * (thread + 1) / n_threads, static_cast<int>(thread));
  };
  std::vector<std::thread> others;
  for (int thread = 1; thread < n_threads; ++thread) others.emplace_back(run, thread);
  run(0);
  for (std::thread& other : others) other.join();
}

// T rows of x as a weight type's kernels read them.
struct Activations {
  Buffer bytes;
  size_t stride = 0;

  Activations(const KernelTable& table, ActFormat format, const float* x, int64_t n_tokens,
              int64_t k, int n_threads) {
    stride = table.act_bytes(format, static_cast<int32_t>(k));
    bytes = allocate(std::max<size_t>(1, stride * static_cast<size_t>(n_tokens)));
    split(n_tokens, n_threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t) {
        table.quantize(format, x + t * k, static_cast<int32_t>(k), bytes.get() + t * stride);
      }
    });
  }

  Rows rows() const { return {reinterpret_cast<std::byte*>(bytes.get()), stride}; }
};

void check_k(const char* what, QuantType type, int64_t k) {
  check(k > 0 && k <= kMaxAxis && k % info(type).block == 0, what, ": k is ", k, ", but ",
        info(type).name, " rows hold a positive multiple of ", info(type).block,
        " weights, at most ", kMaxAxis);
}

// A weight as the plan has it, and the plan's way to multiply it.
class PackedMatrix {
 public:
  PackedMatrix(const std::string& isa, const std::string& quant, const py::array& array, int64_t k,
               bool exact)
      : table_(kernels(isa)) {
    const QuantType type = quant_named(quant);
    check_k("PackedMatrix", type, k);
    const Bytes rows = checked<Bytes>(array, "PackedMatrix: rows", "uint8");
    const size_t bytes = row_bytes(type, k);
    check(rows.shape(1) == static_cast<int64_t>(bytes), "PackedMatrix: ", k, " weights of ", quant,
          " are ", bytes, " bytes a row, but rows has ", rows.shape(1));
    check(rows.shape(0) > 0 && rows.shape(0) <= kMaxAxis, "PackedMatrix: it needs 1 to ", kMaxAxis,
          " rows, got ", rows.shape(0));
    Weight weight;
    weight.type = type;
    weight.shape = {static_cast<int>(rows.shape(0)), static_cast<int>(k)};
    weight.exact = exact;
    weight_ = LoadedWeight(weight, WeightUse::kPacked, table_);
    groups_ = allocate(n_bytes());
    auto* const to = reinterpret_cast<std::byte*>(groups_.get());
    weight_.place(to);
    const uint8_t* from = rows.data();
    const Unlocked unlocked;
    split(n_groups(), current_topology().n_threads(), [&](int64_t begin, int64_t end, int) {
      const Range part = rows_of(begin, end);
      weight_.pack(from + part.begin * bytes, 0, part, to);
    });
  }

  int64_t n() const { return weight_.n; }
  int64_t k() const { return weight_.k; }
  size_t n_bytes() const { return weight_.n_bytes(); }

  Floats unpack_row(int64_t row) const {
    check(row >= 0 && row < n(), "unpack_row: row ", row, " is not in [0, ", n(), ")");
    Floats out(k());
    weight_.read_row(static_cast<int>(row), {}, out.mutable_data());
    return out;
  }

  Floats matmul(const py::array& array, const std::string& form_name, int n_threads) const {
    const Floats x = checked<Floats>(array, "matmul: x", "float32");
    const int64_t n_tokens = x.shape(0);
    check(x.shape(1) == k(), "matmul: x has rows of ", x.shape(1), " values, the weights of ", k());
    check(n_tokens <= kMaxAxis, "matmul: x has ", n_tokens, " rows; at most ", kMaxAxis);
    check(n_threads >= 1 && n_threads <= 256, "matmul: n_threads is ", n_threads,
          ", expected 1 to 256");
    const MatmulForm form = form_named(form_name);
    Floats result({n_tokens, n()});
    const float* from = x.data();
    const Rows out{reinterpret_cast<std::byte*>(result.mutable_data()),
                   static_cast<size_t>(n()) * sizeof(float)};
    const Unlocked unlocked;
    const Activations act(table_, weight_.kernels->act, from, n_tokens, k(), n_threads);
    const Buffer scratch = allocate(kMatmulScratchBytes * static_cast<size_t>(n_threads));
    split(n_groups(), n_threads, [&](int64_t begin, int64_t end, int thread) {
      if (begin == end) return;
      auto* const own = reinterpret_cast<std::byte*>(scratch.get()) + kMatmulScratchBytes * thread;
      const Matmul matmul{table_, weight_, nullptr, own, form};
      const Range columns = rows_of(begin, end);
      matmul.run(0, columns, act.rows(), static_cast<int>(n_tokens), out.from(0, columns.begin));
    });
    return result;
  }

 private:
  static MatmulForm form_named(const std::string& name) {
    if (name == "auto") return MatmulForm::kAuto;
    if (name == "fused") return MatmulForm::kFused;
    if (name == "panel") return MatmulForm::kPanel;
    fail(ErrorKind::kArgument, "matmul: unknown form '", name,
         "'; expected 'auto', 'fused' or 'panel'");
  }

  int64_t n_groups() const { return (n() + weight_.group_rows - 1) / weight_.group_rows; }
  Range rows_of(int64_t first_group, int64_t end_group) const {
    return {static_cast<int>(first_group * weight_.group_rows),
            static_cast<int>(std::min(end_group * weight_.group_rows, n()))};
  }

  const KernelTable& table_;
  LoadedWeight weight_;
  Buffer groups_;
};

// out[i] = scale * q[i] of every block of a row.
template <class Block, int kBlock>
void dequantize(const uint8_t* row, int64_t k, float* out) {
  const Block* blocks = reinterpret_cast<const Block*>(row);
  for (int64_t i = 0; i < k; ++i) {
    const Block& block = blocks[i / kBlock];
    out[i] = block.scale * static_cast<float>(block.q[i % kBlock]);
  }
}

Floats quantize(const std::string& isa, const std::string& quant, const py::array& array,
                bool exact) {
  const KernelTable& table = kernels(isa);
  const QuantType type = quant_named(quant);
  const Floats x = checked<Floats>(array, "quantize: x", "float32");
  const int64_t n_tokens = x.shape(0), k = x.shape(1);
  check_k("quantize", type, k);
  const ActFormat format = kernels_for(table, type, exact).act;
  const Activations act(table, format, x.data(), n_tokens, k, 1);
  Floats out({n_tokens, k});
  for (int64_t t = 0; t < n_tokens; ++t) {
    const uint8_t* row = act.bytes.get() + t * act.stride;
    float* to = out.mutable_data() + t * k;
    switch (format) {
      case ActFormat::kF32:
        std::memcpy(to, row, static_cast<size_t>(k) * sizeof(float));
        break;
      case ActFormat::kI8x32:
        dequantize<ActI8x32, 32>(row, k, to);
        break;
      case ActFormat::kI8x16:
        dequantize<ActI8x16, 32>(row, k, to);
        break;
      case ActFormat::kI16x32:
        dequantize<ActI16x32, 32>(row, k, to);
        break;
    }
  }
  return out;
}

// Where each kernel's code starts, by its name. A test overwrites one ISA's with traps, and so
// learns which kernels a run really used.
py::dict kernel_addresses(const std::string& isa) {
  const KernelTable& table = kernels(isa);
  py::dict all;
  const auto add = [&](const std::string& name, auto* kernel) {
    all[py::str(name + "-" + table.isa)] = reinterpret_cast<uintptr_t>(kernel);
  };
  for (int i = 0; i < kQuantCount; ++i) {
    add(std::string("matmul-") + kQuants[i].name, table.weight[i].matmul);
    if (table.exact[i].matmul != table.weight[i].matmul) {
      add(std::string("matmul-exact-") + kQuants[i].name, table.exact[i].matmul);
    }
    add(std::string("unpack_row-") + kQuants[i].name, table.weight[i].unpack_row);
  }
  add("quantize", table.quantize);
  add("rms_norm", table.rms_norm);
  add("gated", table.gated);
  add("rope", table.rope);
  add("store_kv", table.store_kv);
  add("attention", table.attention);
  add("merge_attention", table.merge_attention);
  return all;
}

}  // namespace

void kernel(py::module_& m) {
  m.def("usable_isas", &usable_isas);
  m.def("active_isa", [] { return std::string(active_kernels().isa); });
  m.def("cpu_features", &cpu_feature_names);
  m.def("physical_bytes", &os::physical_bytes);
  m.def("kernel_addresses", &kernel_addresses, py::arg("isa"));
  m.def("quantize", &quantize, py::arg("isa"), py::arg("quant"), py::arg("x"),
        py::arg("exact") = false);
  py::class_<PackedMatrix>(m, "PackedMatrix")
      .def(py::init<const std::string&, const std::string&, const py::array&, int64_t, bool>(),
           py::arg("isa"), py::arg("quant"), py::arg("rows"), py::arg("k"),
           py::arg("exact") = false)
      .def_property_readonly("n", &PackedMatrix::n)
      .def_property_readonly("k", &PackedMatrix::k)
      .def_property_readonly("n_bytes", &PackedMatrix::n_bytes)
      .def("unpack_row", &PackedMatrix::unpack_row, py::arg("row"))
      .def("matmul", &PackedMatrix::matmul, py::arg("x"), py::arg("form") = "auto",
           py::arg("n_threads") = 1);
}

}  // namespace edgelm::bind
