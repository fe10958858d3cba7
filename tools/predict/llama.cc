// One call of a kernel of llama.cpp between two marks, for tools/predict.
//
//     llama KERNEL N_ROWS N_TOKENS K
//
// Bytes of weights and activations are noise: no kernel's path depends on them.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

extern "C" {
#define NOINLINE __attribute__((noinline))
NOINLINE void trace_begin() { asm volatile(""); }
NOINLINE void trace_end() { asm volatile(""); }

int ggml_cpu_get_sve_cnt() { return 16; }  // bytes: 128-bit SVE

using Dot = void(int, float*, size_t, const void*, size_t, const void*, size_t, int);
using Tile = void(int, float*, size_t, const void*, const void*, int, int);
#define DOT(name) Dot ggml_vec_dot_##name;
#define TILE(name) Tile ggml_gemv_##name, ggml_gemm_##name;
#include "llama.def"
#undef DOT
#undef TILE
}

namespace {

constexpr size_t kBytesEach = 2;  // no format needs more a weight or an activation

struct Call {
  int n_rows, n_tokens, k;
  std::vector<uint8_t> weights, acts;
  std::vector<float> out;
};

// As ggml_compute_forward_mul_mat_one_chunk does: rows within a token, `step` of each at once.
void call_dot(Dot* dot, Call& c, int step) {
  const size_t w = c.k * kBytesEach, a = c.k * kBytesEach;
  for (int t = 0; t < c.n_tokens; t += step) {
    for (int r = 0; r < c.n_rows; r += step) {
      dot(c.k, c.out.data() + t * c.n_rows + r, step > 1 ? c.n_rows : 0, c.weights.data() + r * w,
          step > 1 ? w : 0, c.acts.data() + t * a, step > 1 ? a : 0, step);
    }
  }
}

void call_tile(Tile* gemv, Tile* gemm, Call& c) {
  if (c.n_tokens == 1) {
    gemv(c.k, c.out.data(), c.n_rows, c.weights.data(), c.acts.data(), 1, c.n_rows);
  } else {
    gemm(c.k, c.out.data(), c.n_rows, c.weights.data(), c.acts.data(), c.n_tokens, c.n_rows);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const char* name = argv[1];
  Call c = {atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), {}, {}, {}};
  c.weights.assign(c.n_rows * c.k * kBytesEach, 17);
  c.acts.assign(c.n_tokens * c.k * kBytesEach, 17);
  c.out.resize(c.n_rows * c.n_tokens);
#define DOT(kernel)                                                     \
  if (strcmp(name, #kernel) == 0 || strcmp(name, #kernel "_x2") == 0) { \
    trace_begin();                                                      \
    call_dot(ggml_vec_dot_##kernel, c, strcmp(name, #kernel) ? 2 : 1);  \
    trace_end();                                                        \
    return 0;                                                           \
  }
#define TILE(kernel)                                      \
  if (strcmp(name, #kernel) == 0) {                       \
    trace_begin();                                        \
    call_tile(ggml_gemv_##kernel, ggml_gemm_##kernel, c); \
    trace_end();                                          \
    return 0;                                             \
  }
#include "llama.def"
  fprintf(stderr, "no kernel is called %s\n", name);
  return 2;
}
