#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <atomic>
#include <cctype>
#include <chrono>
#include <climits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "bind/bind.h"
#include "core/error.h"
#include "gguf/reader.h"
#include "plan/graph.h"
#include "plan/kv_cache.h"
#include "plan/plan.h"

namespace py = pybind11;

namespace edgelm::bind {
namespace {

using Ids = py::array_t<int32_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;
using WeightPtr = std::shared_ptr<Weight>;

// The graph as Python builds it: each tensor of a file becomes one Weight however often it is asked
// for. Threads may share it; nothing under its mutex calls Python, which might wait for the holder.
struct PyGraph {
  std::mutex mutex;
  Graph graph;
  std::map<std::pair<const void*, std::string>, WeightPtr> weights;
};

struct PyValue {
  std::shared_ptr<PyGraph> owner;
  int id;

  Shape shape() const {
    const std::lock_guard held(owner->mutex);
    return owner->graph.type(id).shape;
  }
};

struct CancelFlag {
  std::atomic<bool> set{false};
};

constexpr std::chrono::milliseconds kSignalInterval{30};
constexpr int64_t kMaxAxis = 1 << 28;  // so that rounding up to whole groups stays within an int

// What the caller's thread asks during a run: the flag and, less often, Python's signal handlers.
class Interrupts {
 public:
  explicit Interrupts(const CancelFlag* flag) : flag_(flag) {}

  bool operator()() {
    if (flag_ != nullptr && flag_->set.load(std::memory_order_relaxed)) return true;
    if (!on_main_thread()) return false;
    const auto now = Clock::now();
    if (now - last_ < kSignalInterval) return false;
    {
      const py::gil_scoped_acquire locked;
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    }
    last_ = Clock::now();
    return false;
  }

 private:
  using Clock = std::chrono::steady_clock;
  const CancelFlag* flag_;
  Clock::time_point last_ = Clock::now();
};

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

py::tuple tuple_of(const Shape& shape) {
  py::list axes;
  axes.append(shape.axis == Axis::kTokens ? "T" : "R");
  for (const int width : shape.widths) axes.append(width);
  return py::tuple(axes);
}

WeightPtr file_weight(PyGraph& self, const std::shared_ptr<GgufFile>& file, const std::string& name,
                      bool exact) {
  const std::lock_guard held(self.mutex);
  WeightPtr& weight = self.weights[{file.get(), name}];
  if (weight != nullptr) return weight;
  const GgufTensor* tensor = file->find_tensor(name);
  const File& part = file->parts()[0];
  if (tensor == nullptr) {
    self.weights.erase({file.get(), name});
    fail(ErrorKind::kModelFormat, utf8(part.path().filename()), ": there is no tensor '", name,
         "'");
  }
  auto made = std::make_shared<Weight>();
  made->name = name;
  made->type = tensor->type;
  made->exact = exact;
  int n_axes = tensor->n_dims;  // but for ones in front, which some writers add
  while (n_axes > 1 && tensor->dims[n_axes - 1] == 1) --n_axes;
  for (int i = n_axes - 1; i >= 0; --i) {
    if (tensor->dims[i] < 1 || tensor->dims[i] > kMaxAxis) {
      fail(ErrorKind::kUnsupportedModel, utf8(part.path().filename()), ": tensor '", name,
           "' has an axis of ", tensor->dims[i], "; edgelm handles 1 to ", kMaxAxis);
    }
    made->shape.push_back(static_cast<int>(tensor->dims[i]));
  }
  made->file = {file, &file->parts()[static_cast<size_t>(tensor->part)]};
  made->offset = tensor->offset;
  return weight = made;
}

WeightPtr constant(const std::string& name, const Floats& array) {
  check(array.ndim() >= 1 && array.ndim() <= 3, "constant '", name, "' has ", array.ndim(),
        " axes, expected 1 to 3");
  check(array.size() > 0 && array.size() <= INT_MAX, "constant '", name, "' has ", array.size(),
        " values, expected 1 to ", INT_MAX);
  auto weight = std::make_shared<Weight>();
  weight->name = name;
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    weight->shape.push_back(static_cast<int>(array.shape(i)));
  }
  weight->constant.assign(array.data(), array.data() + array.size());
  return weight;
}

// Of a copy: a number's __index__ or another thread may change the dict meanwhile.
Attrs attrs_of(const py::dict& given) {
  const auto dict = py::reinterpret_steal<py::dict>(PyDict_Copy(given.ptr()));
  if (!dict) throw py::error_already_set();
  std::map<std::string, Attr, std::less<>> values;
  for (const auto& [key, value] : dict) {
    const std::string name = py::cast<std::string>(key);
    if (py::isinstance<py::bool_>(value)) {
      values[name] = value.cast<bool>();
    } else if (py::isinstance<py::str>(value)) {
      values[name] = value.cast<std::string>();
    } else if (PyIndex_Check(value.ptr()) != 0) {
      values[name] = value.cast<int64_t>();
    } else if (PyNumber_Check(value.ptr()) != 0) {
      values[name] = value.cast<double>();
    } else {
      fail(ErrorKind::kArgument, "attribute '", name, "' must be a number, bool or str, got ",
           py::repr(value).cast<std::string>());
    }
  }
  return Attrs(std::move(values));
}

PyValue add(const std::shared_ptr<PyGraph>& self, const std::string& op,
            const std::vector<PyValue>& inputs, const std::vector<WeightPtr>& weights,
            const py::dict& attrs) {
  std::vector<int> ids;
  for (const PyValue& input : inputs) {
    check(input.owner == self, op, ": an input belongs to another graph");
    ids.push_back(input.id);
  }
  const Attrs named = attrs_of(attrs);
  const std::lock_guard held(self->mutex);
  return {self, self->graph.add(op, std::move(ids), {weights.begin(), weights.end()}, named)};
}

std::unique_ptr<Plan> compile(PyGraph& self, int n_batch, int max_rows, int n_threads) {
  auto graph = [&] {
    const std::lock_guard held(self.mutex);
    return std::make_shared<const Graph>(self.graph);
  }();
  const Unlocked unlocked;
  return std::make_unique<Plan>(std::move(graph), Limits{n_batch, max_rows, n_threads},
                                Interrupts(nullptr));
}

template <class T>
std::vector<T> copied(const py::array_t<T, py::array::c_style>& array) {
  check(array.size() <= INT_MAX, "an array of a batch has ", array.size(), " entries");
  return {array.data(), array.data() + array.size()};
}

std::vector<int32_t> ids_of(const Ids& array, const char* name) {
  check(array.ndim() == 1, name, " must be one-dimensional, got ", array.ndim(), " axes");
  return copied(array);
}

// A batch of its own ids: what was checked must not change in the caller's arrays during the run.
class OwnBatch {
 public:
  OwnBatch(const Ids& tokens, const Ids& sequences, const Ids& wanted,
           const std::optional<Ids>& positions, const std::optional<Floats>& embeddings,
           const std::optional<Ids>& adapters)
      : tokens_(ids_of(tokens, "tokens")),
        sequences_(ids_of(sequences, "sequences")),
        wanted_(ids_of(wanted, "wanted")) {
    if (positions) {
      check((positions->ndim() == 1 || (positions->ndim() == 2 && positions->shape(1) > 0)) &&
                positions->shape(0) == tokens.shape(0),
            "positions must have the shape (", tokens.size(), ",) or (", tokens.size(), ", P)");
      positions_ = copied(*positions);
    }
    if (embeddings) {
      check(embeddings->ndim() == 2 && embeddings->shape(1) > 0, "embeddings must have the shape ",
            "(n, D), a row for each token of id -1");
      embeddings_ = copied(*embeddings);
      embedding_width_ = static_cast<int>(embeddings->shape(1));
    }
    if (adapters) {
      adapters_ = ids_of(*adapters, "adapters");
      check(!adapters_.empty(), "adapters are none; give one a sequence");
    }
  }

  Batch view() const {
    return {tokens_, sequences_, wanted_, positions_, embeddings_, embedding_width_, adapters_};
  }

 private:
  std::vector<int32_t> tokens_, sequences_, wanted_, positions_, adapters_;
  std::vector<float> embeddings_;
  int embedding_width_ = 0;
};

// The caller's array for an output, if it gave one.
Floats given(const py::dict& out, const std::string& name, py::ssize_t n_rows, py::ssize_t width) {
  if (!out.contains(name)) return Floats({n_rows, width});
  const py::object found = out[py::str(name)];
  check(py::isinstance<Floats>(found), "out['", name, "'] must be a C-contiguous float32 array");
  auto rows = py::reinterpret_borrow<Floats>(found);
  check(rows.ndim() == 2 && rows.shape(0) == n_rows && rows.shape(1) == width && rows.writeable(),
        "out['", name, "'] must be writable and of the shape (", n_rows, ", ", width, ")");
  return rows;
}

py::object run(Plan& self, KvCache* cache, const Ids& tokens, const Ids& sequences,
               const Ids& wanted, const std::optional<Ids>& positions,
               const std::optional<Floats>& embeddings, const std::optional<Ids>& adapters,
               const CancelFlag* cancel, const py::dict& out) {
  const OwnBatch own(tokens, sequences, wanted, positions, embeddings, adapters);
  const Batch batch = own.view();
  self.check_batch(batch);
  py::dict results;
  std::vector<float*> outputs;
  for (size_t i = 0; i < self.graph().outputs().size(); ++i) {
    const Graph::Output& output = self.graph().outputs()[i];
    Floats rows = given(out, output.name, self.output_rows(static_cast<int>(i), batch),
                        self.graph().type(output.value).shape.row_width());
    outputs.push_back(rows.mutable_data());
    results[py::str(output.name)] = rows;
  }
  Plan::Status status;
  {
    Interrupts interrupts(cancel);
    const Unlocked unlocked;
    status = self.run(batch, cache, outputs, std::ref(interrupts));
  }
  if (status == Plan::Status::kCancelled) return py::none();
  return results;
}

py::list trace(Plan& self, KvCache* cache, const Ids& tokens, const Ids& sequences,
               const Ids& wanted, const std::optional<Ids>& positions) {
  const OwnBatch own(tokens, sequences, wanted, positions, {}, {});
  const Batch batch = own.view();
  std::vector<Traced> results;
  {
    const Unlocked unlocked;
    results = self.trace(batch, cache);
  }
  py::list arrays;
  for (const Traced& traced : results) {
    std::vector<py::ssize_t> shape{traced.n_rows};
    for (const int width : traced.shape.widths) shape.push_back(width);
    Floats array(shape);
    std::copy(traced.values.begin(), traced.values.end(), array.mutable_data());
    arrays.append(array);
  }
  return arrays;
}

std::shared_ptr<KvCache> kv_cache(const Plan& self, int n_ctx, int n_parallel,
                                  const std::string& kv_type) {
  return std::make_shared<KvCache>(self.states(), kv_type_named(kv_type), n_ctx, n_parallel);
}

py::list profile(Plan& self) {
  py::list steps;
  for (const StepProfile& step : self.profile()) {
    using py::literals::operator""_a;
    steps.append(py::dict("name"_a = step.name, "node"_a = step.node, "ns"_a = step.ns,
                          "wait_ns"_a = step.wait_ns, "bytes"_a = step.bytes, "macs"_a = step.macs,
                          "runs"_a = step.runs, "barrier"_a = step.barrier));
  }
  return steps;
}

}  // namespace

void plan(py::module_& m) {
  py::class_<Weight, WeightPtr>(m, "Weight")
      .def_readonly("name", &Weight::name)
      .def_property_readonly("type", [](const Weight& w) { return upper(info(w.type).name); })
      .def_property_readonly("shape", [](const Weight& w) { return py::tuple(py::cast(w.shape)); })
      .def("__repr__", [](const Weight& w) {
        return py::str("Weight({!r}, {}, {})")
            .format(w.name, upper(info(w.type).name), py::tuple(py::cast(w.shape)));
      });

  py::class_<PyValue>(m, "Value")
      .def_property_readonly("shape", [](const PyValue& v) { return tuple_of(v.shape()); })
      .def("__repr__",
           [](const PyValue& v) { return py::str("Value{}").format(tuple_of(v.shape())); });

  py::class_<PyGraph, std::shared_ptr<PyGraph>>(m, "Graph")
      .def(py::init<>())
      .def("weight", &file_weight, py::arg("file"), py::arg("name"), py::arg("exact") = false)
      .def(
          "constant",
          [](const PyGraph&, const std::string& name, const Floats& array) {
            return constant(name, array);
          },
          py::arg("name"), py::arg("array"))
      .def(
          "input",
          [](const std::shared_ptr<PyGraph>& self, const std::string& name) {
            const std::lock_guard held(self->mutex);
            return PyValue{self, self->graph.input(name)};
          },
          py::arg("name"))
      .def("add", &add, py::arg("op"), py::arg("inputs"), py::arg("weights"), py::arg("attrs"))
      .def(
          "output",
          [](const std::shared_ptr<PyGraph>& self, const std::string& name, const PyValue& value) {
            check(value.owner == self, "output '", name, "' belongs to another graph");
            const std::lock_guard held(self->mutex);
            self->graph.output(name, value.id);
          },
          py::arg("name"), py::arg("value"))
      .def("states",
           [](PyGraph& self) {
             const std::lock_guard held(self.mutex);
             return self.graph.states();
           })
      .def("compile", &compile, py::kw_only(), py::arg("n_batch"), py::arg("max_rows"),
           py::arg("n_threads"));

  py::class_<CancelFlag>(m, "CancelFlag").def(py::init<>()).def("set", [](CancelFlag& flag) {
    flag.set.store(true, std::memory_order_relaxed);
  });

  py::class_<Plan>(m, "Plan")
      .def_property_readonly("isa", &Plan::isa)
      .def_property_readonly("n_threads", [](const Plan& p) { return p.limits().n_threads; })
      .def_property_readonly("n_batch", [](const Plan& p) { return p.limits().n_batch; })
      .def_property_readonly("max_rows", [](const Plan& p) { return p.limits().max_rows; })
      .def_property_readonly("weight_bytes", &Plan::weight_bytes)
      .def_property_readonly("arena_bytes", &Plan::arena_bytes)
      .def("kv_cache", &kv_cache, py::kw_only(), py::arg("n_ctx"), py::arg("n_parallel"),
           py::arg("kv_type"))
      .def("run", &run, py::arg("cache"), py::arg("tokens"), py::arg("sequences"),
           py::arg("wanted"), py::kw_only(), py::arg("positions") = py::none(),
           py::arg("embeddings") = py::none(), py::arg("adapters") = py::none(),
           py::arg("cancel") = nullptr, py::arg("out") = py::dict())
      .def("trace", &trace, py::arg("cache"), py::arg("tokens"), py::arg("sequences"),
           py::arg("wanted"), py::kw_only(), py::arg("positions") = py::none())
      .def("force_threads", &Plan::force_threads, py::arg("n_threads"))
      .def("profile", &profile);
}

}  // namespace edgelm::bind
