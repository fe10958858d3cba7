#include "plan/kv_cache.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/os.h"
#include "testing.h"

using edgelm::Batch;
using edgelm::ErrorKind;
using edgelm::KvCache;
using edgelm::KvType;
using edgelm::StateSpec;

namespace {

constexpr int kHeadWidth = 64;

StateSpec kv(int layer, int n_heads, int width, int window) {
  return {layer, n_heads, width, width, window, 0};
}
StateSpec fixed(int layer, int n_bytes) { return {layer, 0, 0, 0, 0, n_bytes}; }

// Layers 0 and 1 keep everything, layer 2 a window of 128 tokens.
KvCache small_cache(int n_ctx = 1024, int n_parallel = 3) {
  return KvCache({kv(0, 2, kHeadWidth, 0), kv(1, 2, kHeadWidth, 0), kv(2, 1, kHeadWidth, 128)},
                 KvType::kF16, n_ctx, n_parallel);
}

// The next n tokens of a sequence, as a batch that owns its arrays.
struct Tokens {
  std::vector<int32_t> token, sequence, slot;
  Tokens() = default;
  Tokens(int32_t handle, int n) { append(handle, n); }
  void append(int32_t handle, int n) {
    token.resize(token.size() + static_cast<size_t>(n));
    slot.resize(token.size(), -1);
    sequence.resize(token.size(), handle);
  }
  Batch batch() const { return {token, sequence}; }
};

uint8_t& byte_of(const KvCache& cache, int32_t handle, int layer, int token) {
  const KvCache::LayerPages pages = cache.pages(handle, layer);
  return pages.table[token / 64][pages.k_offset + static_cast<size_t>(token % 64)];
}

// Appends n tokens and leaves `mark` in each, in every layer.
void append(KvCache& cache, int32_t handle, int n, uint8_t mark) {
  Tokens tokens(handle, n);
  const Batch batch = tokens.batch();
  const int length = cache.length(handle);
  KvCache::Reservation reservation(cache, batch, tokens.slot);
  EXPECT(tokens.slot.front() == length && tokens.slot.back() == length + n - 1);
  for (const StateSpec& state : cache.states()) {
    if (state.fixed_bytes > 0) *cache.fixed(handle, state.layer) = mark;
    for (const int32_t slot : tokens.slot) {
      if (state.n_heads > 0) byte_of(cache, handle, state.layer, slot) = mark;
    }
  }
  reservation.commit();
}

bool holds(const KvCache& cache, int32_t handle, int layer, int begin, int end, uint8_t mark) {
  for (int t = begin; t < end; ++t) {
    if (byte_of(cache, handle, layer, t) != mark) return false;
  }
  return true;
}

const auto kSystemPage = static_cast<size_t>(edgelm::os::page_bytes());

// Of 64 tokens' keys and values.
size_t tile_bytes(int layers, int heads) {
  return static_cast<size_t>(layers) * 2 * static_cast<size_t>(heads) *
         edgelm::kv_tile_bytes(KvType::kF16, kHeadWidth);
}

// In whole pages of the system, which may have 4, 16 or 64 KiB.
size_t page_bytes(int layers, int heads) {
  return (tile_bytes(layers, heads) + kSystemPage - 1) / kSystemPage * kSystemPage;
}
const size_t kWhole = page_bytes(2, 2);   // of the pool without a window
const size_t kWindow = page_bytes(1, 1);  // of the pool with one

std::string message_of(const auto& statement) {
  try {
    statement();
  } catch (const edgelm::Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST(kv_cache_grows_by_pages_and_keeps_what_was_written) {
  KvCache cache = small_cache();
  EXPECT(cache.committed_bytes() == 0);
  EXPECT(cache.reserved_bytes() == 3 * 16 * (kWhole + kWindow));
  const int32_t a = cache.create();
  append(cache, a, 1, 7);
  EXPECT(cache.committed_bytes() == kWhole + kWindow);
  append(cache, a, 63, 7);
  EXPECT(cache.committed_bytes() == kWhole + kWindow) << "64 tokens are one page";
  append(cache, a, 1, 8);
  EXPECT(cache.committed_bytes() == 2 * (kWhole + kWindow));
  EXPECT(cache.length(a) == 65);
  for (const int layer : {0, 1, 2}) {
    EXPECT(holds(cache, a, layer, 0, 64, 7) && holds(cache, a, layer, 64, 65, 8)) << layer;
  }
  cache.drop(a);
  EXPECT(cache.committed_bytes() == 0);
}

TEST(kv_cache_gives_memory_back_to_the_system) {
  KvCache cache({kv(0, 4, kHeadWidth, 0)}, KvType::kF16, 1024, 1);  // pages of kWhole bytes
  const int32_t a = cache.create();
  append(cache, a, 640, 1);
#ifdef __linux__
  uint8_t* page = cache.pages(a, 0).table[5];
  const auto resident = [&] {
    std::vector<unsigned char> pages(kWhole / kSystemPage);
    if (mincore(page, kWhole, pages.data()) != 0) return -1;
    int n = 0;
    for (const unsigned char flags : pages) n += flags & 1;
    return n;
  };
  EXPECT(resident() > 0);
  cache.truncate(a, 10);
  EXPECT(resident() == 0);
#else
  cache.truncate(a, 10);
#endif
  append(cache, a, 600, 2);
  EXPECT(holds(cache, a, 0, 0, 10, 1) && holds(cache, a, 0, 10, 610, 2));
}

TEST(kv_cache_fork_shares_pages_until_one_writes) {
  KvCache cache = small_cache();
  const int32_t a = cache.create();
  append(cache, a, 100, 1);
  const size_t before = cache.committed_bytes();
  const int32_t b = cache.fork(a);
  EXPECT(cache.length(b) == 100);
  EXPECT(cache.committed_bytes() == before) << "a fork alone takes no memory";
  append(cache, b, 1, 2);
  EXPECT(cache.committed_bytes() == before + kWhole + kWindow) << "only the partial page is copied";
  append(cache, a, 1, 3);
  EXPECT(cache.committed_bytes() == before + kWhole + kWindow) << "its other owner keeps it";
  for (const int layer : {0, 1, 2}) {
    EXPECT(holds(cache, a, layer, 0, 100, 1) && holds(cache, a, layer, 100, 101, 3));
    EXPECT(holds(cache, b, layer, 0, 100, 1) && holds(cache, b, layer, 100, 101, 2));
    EXPECT(cache.pages(a, layer).table[0] == cache.pages(b, layer).table[0]);
  }
  cache.drop(a);
  EXPECT(holds(cache, b, 0, 0, 100, 1)) << "shared pages outlive one owner";
  cache.drop(b);
  EXPECT(cache.committed_bytes() == 0);
}

TEST(kv_cache_truncate_then_write_copies_a_shared_full_page) {
  KvCache cache = small_cache();
  const int32_t a = cache.create();
  append(cache, a, 128, 1);
  const int32_t b = cache.fork(a);
  EXPECT(cache.truncate(b, 30) == 30);
  append(cache, b, 10, 2);
  EXPECT(holds(cache, a, 0, 0, 128, 1)) << "the original is untouched";
  EXPECT(holds(cache, b, 0, 0, 30, 1) && holds(cache, b, 0, 30, 40, 2));
  EXPECT(cache.truncate(a, 0) == 0 && cache.length(a) == 0);
  EXPECT(holds(cache, b, 0, 0, 30, 1));
}

TEST(kv_cache_window_pools_keep_only_their_window) {
  KvCache cache = small_cache();
  const int32_t a = cache.create();
  for (int i = 0; i < 1000; ++i) append(cache, a, 1, 5);
  // The next query is at 1000 and sees from 873 on; 64 tokens more may be taken back.
  const KvCache::LayerPages pages = cache.pages(a, 2);
  const int first = (1000 + 1 - 128 - 64) / 64;
  for (int i = 0; i < 16; ++i) EXPECT((pages.table[i] != nullptr) == (i >= first)) << i;
  EXPECT(cache.committed_bytes() == 16 * kWhole + static_cast<size_t>(16 - first) * kWindow);
  EXPECT(holds(cache, a, 2, first * 64, 1000, 5));
  EXPECT(cache.truncate(a, 1000 - 64) == 1000 - 64) << "a rollback of 64 tokens always works";
  EXPECT(cache.truncate(a, 500) == 0) << "the window of a query at 500 is gone";
  EXPECT(cache.length(a) == 0 && cache.committed_bytes() == 0);
  append(cache, a, 130, 6);
  EXPECT(holds(cache, a, 2, 0, 130, 6));
  EXPECT(cache.truncate(a, 20) == 20) << "nothing was let go yet";
}

TEST(kv_cache_goes_back_to_marks_that_prompts_leave) {
  KvCache cache = small_cache(2048);
  const int32_t a = cache.create();
  for (const int n : {500, 500}) append(cache, a, n, 5);
  for (int i = 0; i < 300; ++i) append(cache, a, 1, 6);
  const auto goes_back = [&](int n, int kept) {
    const int32_t b = cache.fork(a);
    EXPECT(cache.truncate(b, n) == kept) << n;
    EXPECT(holds(cache, b, 0, 0, std::min(kept, 1000), 5)) << n;
    EXPECT(holds(cache, b, 2, std::max(0, kept + 1 - 128), std::min(kept, 1000), 5)) << n;
    append(cache, b, 200, 7);
    EXPECT(holds(cache, b, 2, std::max(kept, kept + 72 + 1), kept + 200, 7)) << n;
    cache.drop(b);
  };
  goes_back(1290, 1290);
  goes_back(1000, 960);  // page 15; the others are 1, 2 and 4 pages before it
  goes_back(960, 960);
  goes_back(959, 896);
  goes_back(840, 832);
  goes_back(800, 704);
  goes_back(703, 0);
  // 1,300 tokens, and the window's 3 pages four times, and one.
  EXPECT(cache.committed_bytes() <= 21 * kWhole + (4 * 3 + 1) * kWindow);
  EXPECT(holds(cache, a, 2, 1300 - 128, 1300, 6)) << "as it was";
  const int32_t b = cache.fork(a);
  cache.drop(a);
  EXPECT(cache.truncate(b, 800) == 704);
  EXPECT(cache.truncate(b, 703) == 703) << "the mark's pages reach as far";
  EXPECT(cache.truncate(b, 500) == 0);
  cache.drop(b);
  EXPECT(cache.committed_bytes() == 0);
}

TEST(kv_cache_without_commit_is_as_before) {
  KvCache cache = small_cache();
  const int32_t a = cache.create();
  append(cache, a, 50, 1);
  const size_t before = cache.committed_bytes();
  {
    Tokens tokens(a, 500);
    const Batch batch = tokens.batch();
    const KvCache::Reservation cancelled(cache, batch, tokens.slot);
    EXPECT(cache.committed_bytes() > before);
    EXPECT(cache.length(a) == 50);
    EXPECT_ERROR(ErrorKind::kBusy, cache.drop(a));
    EXPECT_ERROR(ErrorKind::kBusy, cache.fork(a));
    EXPECT_ERROR(ErrorKind::kBusy, cache.truncate(a, 1));
    EXPECT_ERROR(ErrorKind::kBusy, KvCache::Reservation(cache, batch, tokens.slot));
    cache.drop(cache.create());  // others may go on
  }
  EXPECT(cache.length(a) == 50 && cache.committed_bytes() == before);
  EXPECT(holds(cache, a, 0, 0, 50, 1));
  cache.drop(a);
}

TEST(kv_cache_full_says_so_with_numbers) {
  KvCache cache = small_cache(100, 2);
  const int32_t a = cache.create(), b = cache.create();
  EXPECT_ERROR(ErrorKind::kCacheFull, cache.create());
  EXPECT_ERROR(ErrorKind::kCacheFull, cache.fork(a));
  EXPECT(message_of([&] { cache.create(); }).find("all 2 sequences") != std::string::npos);
  append(cache, a, 90, 1);
  const size_t before = cache.committed_bytes();
  Tokens tokens;
  tokens.append(b, 70);
  tokens.append(a, 11);
  const Batch batch = tokens.batch();
  const std::string message = message_of([&] { KvCache::Reservation(cache, batch, tokens.slot); });
  EXPECT(message.find("holds 90 tokens; another 11 do not fit into n_ctx 100") != std::string::npos)
      << message;
  EXPECT(cache.committed_bytes() == before) << "what b had been given is returned";
  append(cache, a, 10, 1);
  append(cache, b, 100, 2);
  EXPECT(holds(cache, a, 0, 0, 90, 1) && holds(cache, b, 0, 0, 100, 2));
}

TEST(kv_cache_refuses_batches_that_do_not_continue_it) {
  KvCache cache = small_cache();
  const int32_t a = cache.create(), b = cache.create();
  const auto refused = [&](std::vector<int32_t> sequence) {
    std::vector<int32_t> token(sequence.size()), slot(sequence.size());
    const Batch batch{token, sequence};
    EXPECT_ERROR(ErrorKind::kArgument, KvCache::Reservation(cache, batch, slot));
  };
  refused({a, b, a});
  refused({-1});
  refused({INT32_MAX});
  cache.drop(b);
  refused({b});
  EXPECT_ERROR(ErrorKind::kArgument, cache.drop(b));
  EXPECT_ERROR(ErrorKind::kArgument, cache.length(b));
  EXPECT_ERROR(ErrorKind::kArgument, cache.truncate(a, 1));
  EXPECT_ERROR(ErrorKind::kArgument, cache.truncate(a, -1));
  EXPECT(cache.create() != b) << "handles are not reused";
  EXPECT(cache.committed_bytes() == 0);
}

TEST(kv_cache_says_in_which_slots_tokens_go) {
  KvCache cache = small_cache();
  const int32_t a = cache.create(), b = cache.create();
  append(cache, a, 70, 1);
  Tokens tokens;
  tokens.append(b, 2);
  tokens.append(a, 3);
  const Batch batch = tokens.batch();
  KvCache::Reservation(cache, batch, tokens.slot).commit();
  EXPECT((tokens.slot == std::vector<int32_t>{0, 1, 70, 71, 72}));
  EXPECT(cache.length(a) == 73 && cache.length(b) == 2);
}

TEST(kv_cache_keys_and_values_may_have_widths_of_their_own) {
  // Layer 4's values are a part of its keys.
  KvCache cache({{2, 3, 64, 16}, {3, 3, 64, 16}, {4, 1, 576, 0}}, KvType::kQ8_0, 128, 1);
  const int32_t a = cache.create();
  append(cache, a, 1, 1);
  const size_t k = edgelm::kv_tile_bytes(KvType::kQ8_0, 64);
  const size_t v = edgelm::kv_tile_bytes(KvType::kQ8_0, 16);
  const KvCache::LayerPages second = cache.pages(a, 3);
  EXPECT(second.k_tile_bytes == k && second.v_tile_bytes == v);
  EXPECT(second.k_offset == 3 * (k + v) && second.v_offset == second.k_offset + 3 * k);
  EXPECT(cache.pages(a, 4).v_tile_bytes == 0);
  EXPECT(edgelm::state_bytes(cache.states(), KvType::kQ8_0, 65) ==
         2 * (2 * 3 * (k + v) + edgelm::kv_tile_bytes(KvType::kQ8_0, 576)));
}

TEST(kv_cache_fixed_states_are_as_before_without_commit) {
  KvCache cache({kv(0, 1, kHeadWidth, 0), fixed(1, 100), fixed(7, 100)}, KvType::kF16, 256, 2);
  const int32_t a = cache.create();
  // What a run would see.
  const auto peek = [&](int32_t handle, int layer, int i = 0) {
    Tokens tokens(handle, 1);
    const Batch batch = tokens.batch();
    const KvCache::Reservation cancelled(cache, batch, tokens.slot);
    uint8_t& byte = cache.fixed(handle, layer)[i];
    return std::exchange(byte, uint8_t{99});  // which nobody is to see
  };
  append(cache, a, 200, 5);
  const size_t one = cache.committed_bytes();
  EXPECT(peek(a, 1) == 5 && peek(a, 7) == 5 && peek(a, 1, 99) == 0);
  EXPECT(cache.fixed(a, 7) - cache.fixed(a, 1) == 128) << "a page holds both";
  EXPECT(cache.committed_bytes() == one && cache.length(a) == 200);

  const int32_t b = cache.fork(a);
  EXPECT(cache.committed_bytes() == one) << "a fork alone takes no memory";
  append(cache, b, 1, 6);
  EXPECT(peek(a, 1) == 5 && peek(b, 1) == 6 && peek(b, 7) == 6);
  EXPECT(cache.truncate(b, 201) == 201 && peek(b, 1) == 6);
  EXPECT(cache.truncate(b, 200) == 0) << "it cannot go back";
  EXPECT(peek(b, 1) == 0 && peek(a, 1) == 5) << "it begins with zeros";
  append(cache, a, 3, 7);
  EXPECT(peek(a, 7) == 7);
  cache.drop(a);
  cache.drop(b);
  EXPECT(cache.committed_bytes() == 0);
  EXPECT(edgelm::state_bytes(cache.states(), KvType::kF16, 1) ==
         edgelm::state_bytes(cache.states(), KvType::kF16, 0) + tile_bytes(1, 1));
  EXPECT(edgelm::state_bytes(cache.states(), KvType::kF16, 0) == 2 * 128);
}

TEST(kv_cache_refuses_impossible_shapes) {
  const auto make = [](StateSpec layer, int n_ctx, int n_parallel) {
    KvCache({layer}, KvType::kF16, n_ctx, n_parallel);
  };
  EXPECT_ERROR(ErrorKind::kArgument, make(kv(0, 1, 60, 0), 64, 1));
  EXPECT_ERROR(ErrorKind::kArgument, make(kv(-1, 1, 64, 0), 64, 1));
  EXPECT_ERROR(ErrorKind::kArgument, make(kv(4096, 1, 64, 0), 64, 1));
  EXPECT_ERROR(ErrorKind::kArgument, make(kv(0, 0, 64, 0), 64, 1));
  EXPECT_ERROR(ErrorKind::kArgument, make(kv(0, 1, 64, 0), 0, 1));
  EXPECT_ERROR(ErrorKind::kArgument, make(kv(0, 1, 64, 0), 64, 0));
  EXPECT_ERROR(ErrorKind::kArgument, KvCache({}, KvType::kF16, 64, 1));
  EXPECT_ERROR(ErrorKind::kArgument,
               KvCache({kv(3, 1, 64, 0), kv(3, 1, 64, 0)}, KvType::kF16, 64, 1));
  EXPECT_ERROR(ErrorKind::kArgument,
               KvCache({kv(3, 1, 64, 0), kv(3, 2, 64, 0)}, KvType::kF16, 64, 1));
  EXPECT_ERROR(ErrorKind::kArgument, make({0, 1, 64, 12}, 64, 1));
  EXPECT_ERROR(ErrorKind::kArgument, make({0, 1, 64, 64, -1}, 64, 1));
  EXPECT_ERROR(ErrorKind::kArgument, make({0, 1, 64, 64, 0, 100}, 64, 1));
  EXPECT_ERROR(ErrorKind::kArgument, make(fixed(0, -1), 64, 1));
  EXPECT_ERROR(ErrorKind::kArgument, edgelm::state_bytes({}, KvType::kF16, -1));
  EXPECT_ERROR(ErrorKind::kArgument, edgelm::kv_type_named("f32"));
  EXPECT_ERROR(ErrorKind::kMemory, make(kv(0, 65536, 4096, 0), 1 << 24, 1 << 16));
}

TEST(kv_cache_costs_nothing_until_it_is_used) {
  // 30 layers of 32 heads, 131,072 tokens, 8 sequences: 270 GB, less than TSan leaves.
  std::vector<StateSpec> states;
  for (int i = 0; i < 30; ++i) states.push_back(kv(i, 32, 128, 0));
  KvCache cache(states, KvType::kQ8_0, 131072, 8);
  EXPECT(cache.reserved_bytes() > size_t{1} << 37);
  const int32_t a = cache.create();
  append(cache, a, 65, 1);
  EXPECT(cache.committed_bytes() == edgelm::state_bytes(states, KvType::kQ8_0, 65));
}
