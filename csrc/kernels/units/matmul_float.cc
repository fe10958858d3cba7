#include EDGELM_ISA_HEADER

#include "kernels/matmul_float.inl"

namespace edgelm {
namespace {

EDGELM_INLINE Floats1 load_f32_bytes(const uint8_t* p) {
  return load_f32(reinterpret_cast<const float*>(p));
}

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(matmul_float) {
  using namespace edgelm;
  const auto of = [&](QuantType type) -> WeightKernels& {
    return table.weight[static_cast<int>(type)];
  };
  of(QuantType::f32) = weight_kernels<FloatWeight<f32, load_f32_bytes>>();
  of(QuantType::f16) = weight_kernels<FloatWeight<f16, load_f16>>();
  of(QuantType::bf16) = weight_kernels<FloatWeight<bf16, load_bf16>>();
}
