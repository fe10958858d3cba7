#pragma once

#include "quant/quant.h"

namespace edgelm {

// Decodes one file row of k weights, a multiple of the type's block, into k floats. `row` has the
// alignment that its block needs: 4 for F32, 1 for MXFP4, else 2.
void decode_row(QuantType type, const uint8_t* row, int64_t k, float* out) noexcept;

}  // namespace edgelm
