// The matmul kernels on buffers of exactly the promised sizes, so that a sanitizer sees any other
// access.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include "kernels/dispatch.h"
#include "quant/decode.h"
#include "testing.h"

namespace edgelm {
namespace {

struct Free {
  void operator()(uint8_t* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
using Buffer = std::unique_ptr<uint8_t[], Free>;

Buffer buffer(size_t bytes) {
  return Buffer(static_cast<uint8_t*>(::operator new[](bytes, std::align_val_t{64})));
}

// Any bytes are valid codes and integer scales; f16 and exponent bytes stay small and finite.
std::vector<uint8_t> random_rows(size_t bytes, std::mt19937& random) {
  std::vector<uint8_t> rows(bytes);
  for (uint8_t& byte : rows) byte = static_cast<uint8_t>(random() % 0x40);
  return rows;
}

void test_matmul(const KernelTable& table, QuantType type, int n, int k, int n_tokens) {
  const WeightKernels& weight = table.weight[static_cast<int>(type)];
  std::mt19937 random(static_cast<unsigned>(n + k));
  const size_t bytes = row_bytes(type, k), group_bytes = weight.group_bytes(k);
  const std::vector<uint8_t> rows = random_rows(bytes * n, random);
  const int group_rows = table.group_rows;
  const int n_groups = (n + group_rows - 1) / group_rows;
  const Buffer groups = buffer(group_bytes * n_groups);
  for (int g = 0; g < n_groups; ++g) {
    const int first = g * group_rows;
    weight.pack(rows.data() + first * bytes, bytes, std::min(group_rows, n - first), k,
                groups.get() + g * group_bytes);
  }

  std::vector<float> file_row(k), packed_row(k), x(static_cast<size_t>(k) * n_tokens);
  for (float& value : x) value = static_cast<float>(random() % 2001) / 1000 - 1;
  const size_t act_bytes = table.act_bytes(weight.act, k);
  const Buffer act = buffer(act_bytes * n_tokens), scratch = buffer(kMatmulScratchBytes);
  for (int t = 0; t < n_tokens; ++t) {
    table.quantize(weight.act, x.data() + static_cast<size_t>(t) * k, k, act.get() + t * act_bytes);
  }

  std::vector<float> fused(static_cast<size_t>(n) * n_tokens), panel(fused);
  const auto run = [&](MatmulForm form, std::vector<float>& out) {
    weight.matmul({groups.get(), n, k, act.get(), act_bytes, n_tokens, out.data(),
                   static_cast<size_t>(n), scratch.get(), form});
  };
  run(MatmulForm::kFused, fused);
  run(MatmulForm::kPanel, panel);
  EXPECT(std::memcmp(fused.data(), panel.data(), fused.size() * sizeof(float)) == 0)
      << table.isa << " " << info(type).name << " n " << n << " k " << k << " T " << n_tokens;

  std::vector<uint32_t> aligned(bytes / 4 + 1);
  for (int r = 0; r < n; ++r) {
    std::memcpy(aligned.data(), rows.data() + r * bytes, bytes);
    decode_row(type, reinterpret_cast<const uint8_t*>(aligned.data()), k, file_row.data());
    weight.unpack_row(groups.get() + r / group_rows * group_bytes, r % group_rows, k,
                      packed_row.data());
    EXPECT(std::memcmp(file_row.data(), packed_row.data(), k * sizeof(float)) == 0)
        << table.isa << " " << info(type).name << " row " << r;
    for (int t = 0; t < n_tokens; ++t) {
      double sum = 0, magnitude = 0;
      for (int i = 0; i < k; ++i) {
        const double product = static_cast<double>(file_row[i]) * x[static_cast<size_t>(t) * k + i];
        sum += product, magnitude += std::abs(static_cast<double>(file_row[i]));
      }
      const double error = std::abs(sum - fused[static_cast<size_t>(t) * n + r]);
      // Half a step of an int8 activation in [-1, 1], and rounding.
      EXPECT(error <= magnitude * (1.01 / 254) + 1e-30)
          << table.isa << " " << info(type).name << " row " << r << " token " << t << " off by "
          << error;
    }
  }
}

}  // namespace
}  // namespace edgelm

TEST(matmul_stays_within_its_buffers) {
  using namespace edgelm;
  for (const std::string& isa : usable_isas()) {
    for (int i = 0; i < kQuantCount; ++i) {
      const QuantType type = static_cast<QuantType>(i);
      const int block = info(type).block;
      test_matmul(kernels(isa), type, 1, block, 1);
      test_matmul(kernels(isa), type, 17, 3 * block, 7);
      test_matmul(kernels(isa), type, 33, block == 1 ? 1031 : 2048 + 256, 4);
    }
  }
}
