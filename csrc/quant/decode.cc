#include "quant/decode.h"

#include "quant/blocks.h"

namespace edgelm {
namespace {

template <class Block>
void decode_blocks(const uint8_t* row, int64_t k, float* out) noexcept {
  const Block* block = reinterpret_cast<const Block*>(row);
  for (int64_t i = 0; i < k; i += Block::kBlock) decode(*block++, out + i);
}

#define X(name, gguf_id, block, bytes)                          \
  static_assert(name::kBlock == block && sizeof(name) == bytes, \
                "quants.def disagrees "                         \
                "with " #name);
#include "quant/quants.def"
#undef X

}  // namespace

void decode_row(QuantType type, const uint8_t* row, int64_t k, float* out) noexcept {
  switch (type) {
#define X(name, gguf_id, block, bytes) \
  case QuantType::name:                \
    return decode_blocks<name>(row, k, out);
#include "quant/quants.def"
#undef X
  }
}

}  // namespace edgelm
