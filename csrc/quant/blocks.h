#pragma once

// The block of every type in quants.def: a struct of that name with kBlock, and
//   decode(block, float*)   its exact float32 values
//   codes(block, int8_t*)   its integers in element order, offsets and levels applied (quantized
//   types) scale(block, sub), min(block, sub)   integer factors of each kSub weights (256-weight
//   blocks)
// Included by kernel units: no STL here, and everything has internal linkage.
#include "quant/bf16.h"
#include "quant/f16.h"
#include "quant/f32.h"
#include "quant/iq4_nl.h"
#include "quant/iq4_xs.h"
#include "quant/mxfp4.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q4_k.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"
