#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "quant/quant.h"

namespace edgelm::bind {

// Releases the GIL for a scope. A daemon thread that returns while the interpreter exits would be
// ended by force, right through C++ frames; it sleeps instead until the process is gone.
class Unlocked {
 public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  ~Unlocked() noexcept(false);
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  PyThreadState* state_;
};

// Python runs signal handlers on its main thread only.
bool on_main_thread();

// One function a part of the engine, each in its own bind_<part>.cc.
void errors(pybind11::module_& m);
void gil(pybind11::module_& m);
void select(pybind11::module_& m);
void topology(pybind11::module_& m);
void kernel(pybind11::module_& m);
void quant(pybind11::module_& m);
void peaks(pybind11::module_& m);

// The weight type of that name, as in quants.def; throws kArgument naming them all.
QuantType quant_named(const std::string& name);
void gguf(pybind11::module_& m);
void tokenize(pybind11::module_& m);
void cache(pybind11::module_& m);
void plan(pybind11::module_& m);
void vector(pybind11::module_& m);
void attention(pybind11::module_& m);

}  // namespace edgelm::bind
