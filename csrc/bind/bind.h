#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "quant/quant.h"

namespace edgelm::bind {

// One function a part of the engine, each in its own bind_<part>.cc.
void errors(pybind11::module_& m);
void select(pybind11::module_& m);
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
