#include EDGELM_ISA_HEADER

#include "kernels/matmul_u8.inl"

EDGELM_UNIT(matmul_q5) {
  using namespace edgelm;
  const auto of = [&](QuantType type) -> WeightKernels& {
    return table.weight[static_cast<int>(type)];
  };
  of(QuantType::q5_0) = weight_kernels<U8Weight<Affine<q5_0, Bits5, 16, 0, false>>>();
  of(QuantType::q5_1) = weight_kernels<U8Weight<Affine<q5_1, Bits5, 0, 0, true>>>();
}
