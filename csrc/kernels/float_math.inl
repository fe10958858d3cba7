#pragma once

// Elementary functions on vectors of floats, the same on every ISA. Included by kernel units: no
// STL. The polynomials are minimax fits (iteratively reweighted least squares against 40 digits).
#include <cstddef>
#include <cstdint>

#include EDGELM_FLOAT_HEADER

namespace edgelm {

static inline Floats load(const float* p) {
  Floats x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
static inline void store(float* p, Floats x) { __builtin_memcpy(p, &x, sizeof x); }

static inline Floats splat(float x) { return x - Floats{}; }

// The first n < kLanes floats; the other lanes are 0.
static inline Floats load_first(const float* p, int32_t n) {
  Floats x{};
  __builtin_memcpy(&x, p, static_cast<size_t>(n) * sizeof(float));
  return x;
}
static inline void store_first(float* p, int32_t n, Floats x) {
  __builtin_memcpy(p, &x, static_cast<size_t>(n) * sizeof(float));
}

// In a fixed order: halves are added until one lane is left.
static inline float sum(Floats x) {
  float lane[kLanes];
  store(lane, x);
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  return lane[0];
}

static inline float max_lane(Floats x) {
  float greatest = x[0];
  for (int i = 1; i < kLanes; ++i) greatest = x[i] > greatest ? x[i] : greatest;
  return greatest;
}

typedef uint32_t Bits __attribute__((vector_size(4 * kLanes)));

static inline Floats abs(Floats x) { return (Floats)((Bits)x & 0x7fffffff); }
static inline Floats copy_sign(Floats magnitude, Floats sign) {
  return (Floats)(((Bits)magnitude & 0x7fffffff) | ((Bits)sign & 0x80000000));
}

// Horner's scheme, the highest coefficient first.
template <int N>
static inline Floats polynomial(Floats x, const float (&coefficient)[N]) {
  Floats y = splat(coefficient[0]);
  for (int i = 1; i < N; ++i) y = fma(y, x, splat(coefficient[i]));
  return y;
}

// e^x within 1.5 ulp; 0 below -87.33, where results would be subnormal, infinity above 88.72.
// e^x = 2^n e^r with n = round(x / ln 2): adding 1.5 * 2^23 leaves n in the low bits.
static inline Floats exp(Floats x) {
  constexpr float kRounder = 0x1.8p23f, kLog2e = 0x1.715476p0f;
  constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;  // n * high is exact
  constexpr float kTerms[] = {1.381453789e-3f, 8.368745320e-3f, 4.166839083e-2f, 1.666652040e-1f,
                              4.999999343e-1f};
  const Floats shifted = fma(x, splat(kLog2e), splat(kRounder));
  const Floats n = shifted - kRounder;
  const Floats r = fma(n, splat(-kLn2Low), fma(n, splat(-kLn2High), x));
  const Floats power = 1.0f + fma(r * r, polynomial(r, kTerms), r);
  Floats y = (Floats)((Bits)power + ((Bits)shifted << 23));  // wraps where y is replaced below
  y = x < -87.33f ? Floats{} : y;
  y = x > 88.72283f ? splat(__builtin_inff()) : y;
  return x == x ? y : x;
}

static inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp(-x)); }

// Within 3 ulp: an odd polynomial near 0, 1 - 2 / (e^2x + 1) beyond.
static inline Floats tanh(Floats x) {
  constexpr float kTerms[] = {2.147536865e-3f,  -8.182673862e-3f, 2.170296711e-2f,
                              -5.394720427e-2f, 1.333320976e-1f,  -3.333333091e-1f};
  const Floats size = abs(x), square = x * x;
  const Floats near = fma(x * square, polynomial(square, kTerms), x);
  const Floats far = 1.0f - 2.0f / (exp(size + size) + 1.0f);
  return size < 0.625f ? near : copy_sign(far, x);
}

// x times the normal distribution: x / 2 * erfc(-x / sqrt 2), with
// erfc(z) = t e^(-z^2 + p(t)), t = 1 / (1 + z / 2) for z >= 0. The form is that of W. J. Cody as
// Numerical Recipes give it; the coefficients are fitted anew.
static inline Floats gelu(Floats x) {
  constexpr float kTerms[] = {1.626851171e-1f, -7.770480501e-1f, 1.381800268f,    -9.935520458e-1f,
                              1.632803884e-1f, -1.265714526e-1f, 7.741199709e-2f, 3.778599934e-1f,
                              9.996293485e-1f, -1.265495503f};
  const Floats z = abs(x) * 0x1.6a09e6p-1f;
  const Floats t = 1.0f / fma(z, splat(0.5f), splat(1.0f));
  const Floats tail = 0.5f * t * exp(fma(-z, z, polynomial(t, kTerms)));
  return x * (x < 0.0f ? tail : 1.0f - tail);
}

// x / 2 * (1 + tanh u) = x * sigmoid(2u) with u = sqrt(2 / pi) (x + 0.044715 x^3)
static inline Floats gelu_tanh(Floats x) {
  const Floats u = x * fma(x * x, splat(0.044715f), splat(1.0f));
  return x * sigmoid(1.5957691216f * u);
}

}  // namespace edgelm
