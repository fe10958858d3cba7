#pragma once

// GGUF type 1: half-precision floats, in "blocks" of one.
#include "quant/half.h"

namespace edgelm {

static inline void decode(const f16& block, float* out) { *out = to_float(block); }

}  // namespace edgelm
