#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/attention.h"

namespace edgelm {

inline constexpr int kMaxLayers = 4096;

// What an op keeps of every sequence of a KvCache: keys and values of its tokens, or plain bytes.
struct StateSpec {
  int layer = 0;  // below kMaxLayers, once a graph

  // Keys (n_heads, k_width) and values (n_heads, v_width) of each token, or of a window's.
  int n_heads = 0, k_width = 0, v_width = 0;
  int window = 0;  // 0: all tokens

  // Or bytes that do not grow, zeros before the first token.
  int fixed_bytes = 0;

  bool operator==(const StateSpec&) const = default;
};

// Throws kArgument if no cache can hold it.
void check_state(const StateSpec& state);

// Of 64 tokens; of a fixed state, all of it. A multiple of 64.
size_t page_bytes(const StateSpec& state, KvType type);

// Windows of pages that a sequence may keep beside its last one, to go back to.
inline constexpr int kMarkWindows = 3;
// The first page that a query at slot n_tokens sees.
int first_page(const StateSpec& state, int n_tokens);
// Pages of a window at any place.
int window_pages(const StateSpec& state);

// What one sequence takes, in whole pages. A window keeps a page on each side of it, to roll back
// and to begin in, and what marks need.
size_t state_bytes(std::span<const StateSpec> states, KvType type, int64_t n_tokens);

inline constexpr std::string_view kKvTypes[] = {"f16", "q8_0"};  // in the order of KvType
KvType kv_type_named(std::string_view name);                     // throws kArgument

}  // namespace edgelm
