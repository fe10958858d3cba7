#pragma once

// GGUF type 30: the upper halves of floats, in "blocks" of one.
#include "quant/half.h"

namespace edgelm {

static inline void decode(const bf16& block, float* out) { *out = to_float(block); }

}  // namespace edgelm
