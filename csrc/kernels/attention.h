#pragma once

// Included by kernel units: no STL here.
#include <cstddef>
#include <cstdint>

namespace edgelm {

inline constexpr int kPageTokens = 64;        // tokens in one page of the KV cache
inline constexpr int kAttentionBlock = 256;   // slots summed together: the unit of split and merge

enum class KvType : uint8_t { kF16, kQ8_0 };

}  // namespace edgelm
