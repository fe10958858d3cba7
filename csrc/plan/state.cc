#include "plan/state.h"

#include <algorithm>
#include <iterator>

#include "core/arena.h"
#include "core/error.h"

namespace edgelm {

void check_state(const StateSpec& state) {
  check(state.layer >= 0 && state.layer < kMaxLayers, "layer ", state.layer, ", expected 0 to ",
        kMaxLayers - 1);
  const auto is_width = [](int width, int least) {
    return width >= least && width <= 4096 && width % kHeadWidthUnit == 0;
  };
  check(state.fixed_bytes >= 0, "layer ", state.layer, ": a state of ", state.fixed_bytes,
        " bytes makes no sense");
  if (state.fixed_bytes > 0) {
    check(state.n_heads == 0 && state.k_width == 0 && state.v_width == 0 && state.window == 0,
          "layer ", state.layer, ": a state is either of fixed size or of a size a token");
    return;
  }
  check(is_width(state.k_width, kHeadWidthUnit) && is_width(state.v_width, 0), "layer ",
        state.layer, ": keys and values of ", state.k_width, " and ", state.v_width,
        " a head, expected multiples of ", kHeadWidthUnit, " up to 4096");
  check(state.n_heads >= 1 && state.n_heads <= 65536 && state.window >= 0, "layer ", state.layer,
        ": ", state.n_heads, " heads and a window of ", state.window, " tokens make no sense");
}

size_t page_bytes(const StateSpec& state, KvType type) {
  if (state.fixed_bytes > 0) return aligned(static_cast<size_t>(state.fixed_bytes));
  return static_cast<size_t>(state.n_heads) *
         (kv_tile_bytes(type, state.k_width) + kv_tile_bytes(type, state.v_width));
}

int first_page(const StateSpec& state, int n_tokens) {
  return state.window == 0 ? 0 : std::max(0, n_tokens + 1 - state.window) / kPageTokens;
}

int window_pages(const StateSpec& state) {
  return (state.window + kPageTokens - 1) / kPageTokens + 1;
}

size_t state_bytes(std::span<const StateSpec> states, KvType type, int64_t n_tokens) {
  check(n_tokens >= 0 && n_tokens <= INT32_MAX, "a sequence of ", n_tokens,
        " tokens, expected 0 to ", INT32_MAX);
  size_t bytes = 0;
  for (const StateSpec& state : states) {
    check_state(state);
    int64_t n_pages = (n_tokens + kPageTokens - 1) / kPageTokens;
    if (state.window > 0) {
      n_pages = std::min(n_pages, int64_t{1 + kMarkWindows} * window_pages(state) + 1);
    }
    if (state.fixed_bytes > 0) n_pages = 1;
    bytes += static_cast<size_t>(n_pages) * page_bytes(state, type);
  }
  return bytes;
}

KvType kv_type_named(std::string_view name) {
  const auto* found = std::find(std::begin(kKvTypes), std::end(kKvTypes), name);
  check(found != std::end(kKvTypes), "kv_type is '", name, "'; expected one of f16, q8_0");
  return static_cast<KvType>(found - std::begin(kKvTypes));
}

}  // namespace edgelm
