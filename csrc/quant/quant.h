#pragma once

// Included by kernel units: no STL here.
#include <cstddef>
#include <cstdint>

namespace edgelm {

enum class QuantType : uint8_t {
#define X(name, gguf_id, block, bytes) name,
#include "quant/quants.def"
#undef X
};

inline constexpr int kQuantCount = 0
#define X(name, gguf_id, block, bytes) +1
#include "quant/quants.def"
#undef X
    ;

struct QuantInfo {
  const char* name;     // as in the kernel names: q4_k
  int32_t gguf_id;      // ggml_type in the file
  int32_t block;        // weights a block
  int32_t block_bytes;  // bytes a block in the file
};

inline constexpr QuantInfo kQuants[kQuantCount] = {
#define X(name, gguf_id, block, bytes) {#name, gguf_id, block, bytes},
#include "quant/quants.def"
#undef X
};

constexpr const QuantInfo& info(QuantType type) { return kQuants[static_cast<int>(type)]; }

// Bytes of one row of k weights in the file; k must be a multiple of the block.
constexpr size_t row_bytes(QuantType type, int64_t k) {
  return static_cast<size_t>(k / info(type).block) * static_cast<size_t>(info(type).block_bytes);
}

}  // namespace edgelm
