#include "bind/bind.h"

// Without the GIL, too: what threads share guards itself or is immutable, and what callers may change
// is copied before it is read.
PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  m.doc() = "edgelm's native engine. The public surface is the edgelm package; see _core.pyi.";
  edgelm::bind::errors(m);
  edgelm::bind::gil(m);
  edgelm::bind::topology(m);
  edgelm::bind::kernel(m);
  edgelm::bind::quant(m);
  edgelm::bind::peaks(m);
  edgelm::bind::gguf(m);
  edgelm::bind::select(m);
  edgelm::bind::tokenize(m);
  edgelm::bind::cache(m);
  edgelm::bind::plan(m);
  edgelm::bind::vector(m);
  edgelm::bind::attention(m);
}
