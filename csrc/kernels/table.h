#pragma once

// The seam between the engine and one ISA's kernels. Kernel units include this: no STL here.
#include "quant/quant.h"

namespace edgelm {

// How a weight type wants the rows of x. A type's kernels name one; rows are quantized once per
// distinct input and format, then shared by every matmul that reads them.
enum class ActFormat : uint8_t {
  kF32,     // plain floats: F32, F16, BF16 weights
  kI8x32,   // int8, one scale and one sum per 32: most types
  kI8x16,   // int8, one scale per 32, sums per 16: Q2_K, Q3_K, Q6_K, whose scales are for 16
  kI16x32,  // int16, one scale per 32: Q8_0, IQ4_NL, IQ4_XS where exactness is asked or free
};
inline constexpr int kActFormatCount = 4;

inline constexpr size_t kMatmulScratchBytes = 256 << 10;  // a thread, 64-byte aligned

// Which form of the matmul runs. All of them give the same bits; kAuto picks the fastest.
enum class MatmulForm : uint8_t { kAuto, kFused, kPanel };

// out[t * out_stride + r] = sum_k w[r][k] * x[t][k]   for r in [0, n_rows), t in [0, n_tokens)
struct MatmulArgs {
  const uint8_t*
      groups;      // first packed group; ceil(n_rows / group_rows) of them follow one another
  int32_t n_rows;  // rows to write; only the last group may be partial
  int32_t k;
  const uint8_t* act;  // n_tokens quantized rows, act_stride bytes apart, 64-byte aligned
  size_t act_stride;
  int32_t n_tokens;
  float* out;
  size_t out_stride;  // floats between the tokens of out
  uint8_t* scratch;   // kMatmulScratchBytes
  MatmulForm form;
};

struct WeightKernels {
  ActFormat act;
  // Bytes of one packed group of rows of k weights: a multiple of 64.
  size_t (*group_bytes)(int32_t k);
  // Packs n_rows (1 to group_rows) file rows, row_bytes apart; missing rows become zeros.
  void (*pack)(const uint8_t* rows, size_t row_bytes, int32_t n_rows, int32_t k, uint8_t* group);
  // Decodes one row of a packed group into k floats: embedding look-ups in a tied table.
  void (*unpack_row)(const uint8_t* group, int32_t row, int32_t k, float* out);
  void (*matmul)(const MatmulArgs& args);
};

enum class GluKind : uint8_t {
  kSilu,
  kGelu,
  kGeluTanh,
  kRelu,
  kRelu2,
  kSigmoid,
  kTanh,
  kQuickGelu
};

// In kernels/attention.h.
struct AttentionArgs;
struct KvStore;

// Loops that only measure: each arithmetic one returns the multiply-accumulates of `turns` turns,
// on operands in registers; `read` touches n bytes, a multiple of 256.
struct PeakKernels {
  int64_t (*u8s8)(int64_t turns);
  int64_t (*i16)(int64_t turns);
  int64_t (*f32)(int64_t turns);
  void (*read)(const uint8_t* bytes, size_t n);
};

struct KernelTable {
  const char* isa;
  int32_t group_rows;  // rows of w packed together
  WeightKernels weight[kQuantCount];
  // The same with 16-bit activations for the types whose weights have 8 bits or are levels of as
  // many: 100 times as exact, slower where sums are wide.
  WeightKernels exact[kQuantCount];

  // Activations. Bytes of one quantized row (a multiple of 64), and the quantizer of one row.
  size_t (*act_bytes)(ActFormat format, int32_t k);
  void (*quantize)(ActFormat format, const float* x, int32_t k, uint8_t* out);

  // Rows of floats. `out` may be the same row as an input.
  void (*rms_norm)(const float* x, const float* weight_or_null, int32_t d, float eps, float* out);
  void (*layer_norm)(const float* x, const float* weight_or_null, const float* bias_or_null,
                     int32_t d, float eps, float* out);
  void (*add)(const float* a, const float* b, int32_t n, float* out);
  void (*mul)(const float* a, const float* b, int32_t n, float* out);
  void (*scale)(const float* x, float s, int32_t n, float* out);
  void (*softcap)(const float* x, float cap, int32_t n, float* out);  // cap * tanh(x / cap)
  void (*activation)(GluKind kind, const float* x, int32_t n, float* out);
  void (*gated)(GluKind kind, const float* gate, const float* up, int32_t n, float* out);
  // Rotates the first 2 * n_pairs of one head. cos_sin: n_pairs cosines, then n_pairs sines.
  void (*rope)(const float* x, const float* cos_sin, int32_t n_pairs, int32_t head_width,
               bool interleaved, float* out);

  // The KV cache: one token into its tiles; attention, and the merge of its partials into `out`.
  void (*store_kv)(const KvStore& store);
  void (*attention)(const AttentionArgs& args);
  void (*merge_attention)(const AttentionArgs& args);

  PeakKernels peaks;
};

// Every unit of csrc/kernels/units is compiled once per ISA, and exports one function that fills in
// its part of that ISA's table: edgelm_<isa>_<unit>.
#define EDGELM_PASTE_(isa, unit) edgelm_##isa##_##unit
#define EDGELM_PASTE(isa, unit) EDGELM_PASTE_(isa, unit)
#define EDGELM_UNIT(unit) \
  extern "C" void EDGELM_PASTE(EDGELM_ISA, unit)(edgelm::KernelTable & table)

}  // namespace edgelm
