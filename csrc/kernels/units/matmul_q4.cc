#include EDGELM_ISA_HEADER

#include "kernels/matmul_u8.inl"

EDGELM_UNIT(matmul_q4) {
  using namespace edgelm;
  const auto of = [&](QuantType type) -> WeightKernels& {
    return table.weight[static_cast<int>(type)];
  };
  of(QuantType::q4_0) = weight_kernels<U8Weight<Affine<q4_0, Bits4, 8, 1, false>>>();
  of(QuantType::q4_1) = weight_kernels<U8Weight<Affine<q4_1, Bits4, 0, -1, true>>>();
}
