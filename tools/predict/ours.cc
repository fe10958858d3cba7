// One call of a matmul of ours between two marks, for tools/predict.
//
//     ours TYPE FORM N_ROWS N_TOKENS K      FORM: auto, fused or panel
//
// Compiled with EDGELM_ISA and, as UNITS, the units that fill the table. Weights are zeros: no
// kernel's path depends on them.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/table.h"

extern "C" {
#define NOINLINE __attribute__((noinline))
NOINLINE void trace_begin() { asm volatile(""); }
NOINLINE void trace_end() { asm volatile(""); }
}

#define X(unit) EDGELM_UNIT(unit);
UNITS
#undef X

namespace {

template <class T>
T* zeros(size_t n) {
  const size_t bytes = (n * sizeof(T) + 63) / 64 * 64;
  void* p = aligned_alloc(64, bytes);
  memset(p, 0, bytes);
  return static_cast<T*>(p);
}

int type_of(const char* name) {
#define X(type, id, weights, bytes) \
  if (strcmp(name, #type) == 0) return static_cast<int>(edgelm::QuantType::type);
#include "quant/quants.def"
#undef X
  return -1;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace edgelm;
  if (argc != 6) return 2;
  KernelTable table = {};
#define X(unit) EDGELM_PASTE(EDGELM_ISA, unit)(table);
  UNITS
#undef X
  const int type = type_of(argv[1]);
  if (type < 0) return 2;
  const WeightKernels& weight = table.weight[type];
  if (weight.matmul == nullptr) return 2;

  MatmulArgs args = {};
  args.form = strcmp(argv[2], "fused") == 0   ? MatmulForm::kFused
              : strcmp(argv[2], "panel") == 0 ? MatmulForm::kPanel
                                              : MatmulForm::kAuto;
  args.n_rows = atoi(argv[3]);
  args.n_tokens = atoi(argv[4]);
  args.k = atoi(argv[5]);

  const size_t group = weight.group_bytes(args.k), row_bytes = args.k * sizeof(float);
  const int32_t n_packed = table.group_rows, n_groups = args.n_rows / n_packed;
  uint8_t* groups = zeros<uint8_t>((n_groups + 1) * group);
  const uint8_t* rows = zeros<uint8_t>(n_packed * row_bytes);
  for (int g = 0; g < n_groups; ++g) {
    weight.pack(rows, row_bytes, n_packed, args.k, groups + g * group);
  }
  args.groups = groups;

  float* x = zeros<float>(args.k);
  for (int i = 0; i < args.k; ++i) x[i] = static_cast<float>(i % 7 - 3);
  args.act_stride = table.act_bytes(weight.act, args.k);
  uint8_t* act = zeros<uint8_t>(args.n_tokens * args.act_stride);
  for (int t = 0; t < args.n_tokens; ++t) {
    table.quantize(weight.act, x, args.k, act + t * args.act_stride);
  }
  args.act = act;
  args.out_stride = args.n_rows;
  args.out = zeros<float>(args.n_tokens * args.out_stride);
  args.scratch = zeros<uint8_t>(kMatmulScratchBytes);
  trace_begin();
  weight.matmul(args);
  trace_end();
  return 0;
}
