#include "bind/bind.h"

PYBIND11_MODULE(_core, m) {
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
