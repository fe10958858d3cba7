// Rows of floats: norms, elementwise operations, rotations. Every function gives a row the same
// bits wherever it stands, and `out` may be the same row as an input.
#include "kernels/float_math.inl"
#include "kernels/table.h"

namespace edgelm {
namespace {

// out[i] = f(x[i])
template <class F>
inline void map(const float* x, int32_t n, float* out, F f) {
  int32_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, f(load(x + i)));
  if (i < n) store_first(out + i, n - i, f(load_first(x + i, n - i)));
}

// out[i] = f(a[i], b[i])
template <class F>
inline void map(const float* a, const float* b, int32_t n, float* out, F f) {
  int32_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, f(load(a + i), load(b + i)));
  if (i < n) store_first(out + i, n - i, f(load_first(a + i, n - i), load_first(b + i, n - i)));
}

// Adds up x: f(s, x) is s with x taken in. What is left over a whole vector follows one by one.
template <class F>
inline float sum_of(const float* x, int32_t n, F f) {
  Floats part[4] = {};
  int32_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) part[j] = f(part[j], load(x + i + j * kLanes));
  }
  for (int j = 0; i + kLanes <= n; i += kLanes, ++j) part[j] = f(part[j], load(x + i));
  float total = sum((part[0] + part[1]) + (part[2] + part[3]));
  for (; i < n; ++i) total += f(Floats{}, Floats{x[i]})[0];
  return total;
}

void rms_norm(const float* x, const float* weight, int32_t d, float eps, float* out) {
  const float squares = sum_of(x, d, [](Floats s, Floats v) { return fma(v, v, s); });
  const float factor = 1.0f / __builtin_sqrtf(squares / static_cast<float>(d) + eps);
  if (weight == nullptr) {
    map(x, d, out, [=](Floats v) { return v * factor; });
  } else {
    map(x, weight, d, out, [=](Floats v, Floats w) { return v * factor * w; });
  }
}

void layer_norm(const float* x, const float* weight, const float* bias, int32_t d, float eps,
                float* out) {
  const float width = static_cast<float>(d);
  const float mean = sum_of(x, d, [](Floats s, Floats v) { return s + v; }) / width;
  const float squares =
      sum_of(x, d, [=](Floats s, Floats v) { return fma(v - mean, v - mean, s); });
  const float factor = 1.0f / __builtin_sqrtf(squares / width + eps);
  map(x, d, out, [=](Floats v) { return (v - mean) * factor; });
  if (weight != nullptr) map(out, weight, d, out, [](Floats v, Floats w) { return v * w; });
  if (bias != nullptr) map(out, bias, d, out, [](Floats v, Floats b) { return v + b; });
}

void add(const float* a, const float* b, int32_t n, float* out) {
  map(a, b, n, out, [](Floats x, Floats y) { return x + y; });
}

void mul(const float* a, const float* b, int32_t n, float* out) {
  map(a, b, n, out, [](Floats x, Floats y) { return x * y; });
}

void scale(const float* x, float s, int32_t n, float* out) {
  map(x, n, out, [=](Floats v) { return v * s; });
}

void softcap(const float* x, float cap, int32_t n, float* out) {
  map(x, n, out, [=](Floats v) { return cap * tanh(v / cap); });
}

// Calls f with the kind's function, so that the loop around it is compiled once per kind.
template <class F>
inline void with_activation(GluKind kind, F f) {
  switch (kind) {
    case GluKind::kSilu:
      return f([](Floats x) { return x * sigmoid(x); });
    case GluKind::kGelu:
      return f([](Floats x) { return gelu(x); });
    case GluKind::kGeluTanh:
      return f([](Floats x) { return gelu_tanh(x); });
    case GluKind::kRelu:
      return f([](Floats x) { return max(x, Floats{}); });
    case GluKind::kRelu2:
      return f([](Floats x) { return max(x, Floats{}) * max(x, Floats{}); });
    case GluKind::kSigmoid:
      return f([](Floats x) { return sigmoid(x); });
    case GluKind::kTanh:
      return f([](Floats x) { return tanh(x); });
    case GluKind::kQuickGelu:
      return f([](Floats x) { return x * sigmoid(1.702f * x); });
  }
}

void activation(GluKind kind, const float* x, int32_t n, float* out) {
  with_activation(kind, [=](auto act) { map(x, n, out, act); });
}

void gated(GluKind kind, const float* gate, const float* up, int32_t n, float* out) {
  with_activation(kind, [=](auto act) {
    map(gate, up, n, out, [=](Floats g, Floats u) { return act(g) * u; });
  });
}

// (a, b) -> (a cos - b sin, a sin + b cos)
inline void rotate(Floats cosine, Floats sine, Floats& a, Floats& b) {
  const Floats a0 = a, b0 = b;
  a = fma(a0, cosine, -(b0 * sine));
  b = fma(a0, sine, b0 * cosine);
}

void rope(const float* x, const float* cos_sin, int32_t n_pairs, int32_t head_width,
          bool interleaved, float* out) {
  const float* cosines = cos_sin;
  const float* sines = cos_sin + n_pairs;
  int32_t i = 0;
  for (; i + kLanes <= n_pairs; i += kLanes) {
    Floats a, b;
    if (interleaved) {
      deinterleave(load(x + 2 * i), load(x + 2 * i + kLanes), a, b);
      rotate(load(cosines + i), load(sines + i), a, b);
      interleave(a, b, a, b);
      store(out + 2 * i, a);
      store(out + 2 * i + kLanes, b);
    } else {
      a = load(x + i);
      b = load(x + n_pairs + i);
      rotate(load(cosines + i), load(sines + i), a, b);
      store(out + i, a);
      store(out + n_pairs + i, b);
    }
  }
  for (; i < n_pairs; ++i) {
    const int32_t first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : n_pairs + i;
    Floats a{x[first]}, b{x[second]};
    rotate(Floats{cosines[i]}, Floats{sines[i]}, a, b);
    out[first] = a[0];
    out[second] = b[0];
  }
  if (out != x)
    map(x + 2 * n_pairs, head_width - 2 * n_pairs, out + 2 * n_pairs, [](Floats v) { return v; });
}

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(vector) {
  using namespace edgelm;
  table.rms_norm = rms_norm;
  table.layer_norm = layer_norm;
  table.add = add;
  table.mul = mul;
  table.scale = scale;
  table.softcap = softcap;
  table.activation = activation;
  table.gated = gated;
  table.rope = rope;
}
