#pragma once

#include <pybind11/pybind11.h>

namespace edgelm::bind {

// One function a part of the engine, each in its own bind_<part>.cc.
void errors(pybind11::module_& m);

}  // namespace edgelm::bind
