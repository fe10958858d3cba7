#include "plan/kv_cache.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/memory_room.h"

namespace edgelm {
namespace {

constexpr size_t kMostMarks = 32;  // of a sequence: more than distances can double

int pages_of(int n_tokens) { return (n_tokens + kPageTokens - 1) / kPageTokens; }

}  // namespace

KvCache::KvCache(std::vector<StateSpec> states, KvType type, int n_ctx, int n_parallel)
    : states_(std::move(states)), type_(type), n_ctx_(n_ctx), n_parallel_(n_parallel) {
  check(!states_.empty(), "the KV cache needs at least one layer");
  check(n_ctx >= 1 && n_ctx <= 1 << 24, "n_ctx is ", n_ctx, ", expected 1 to ", 1 << 24);
  check(n_parallel >= 1 && n_parallel <= 1 << 16, "n_parallel is ", n_parallel, ", expected 1 to ",
        1 << 16);
  add_pools();
  sequences_.resize(static_cast<size_t>(n_parallel));
  for (Sequence& sequence : sequences_) {
    sequence.marks.reserve(kMostMarks);
    for (const Pool& pool : pools_) {
      const auto n_pages = static_cast<size_t>(pool.is_fixed() ? 2 : pages_of(n_ctx));
      sequence.tables.push_back({0, 0, std::vector<uint8_t*>(n_pages)});
    }
  }
}

void KvCache::add_pools() {
  layers_.resize(kMaxLayers);
  std::vector<StateSpec> kinds;
  std::vector<size_t> bytes;  // of their pages
  for (const StateSpec& state : states_) {
    check_state(state);
    StateSpec kind = state;
    kind.layer = 0;
    const auto pool =
        static_cast<size_t>(std::find(kinds.begin(), kinds.end(), kind) - kinds.begin());
    if (pool == kinds.size()) {
      kinds.push_back(kind);
      bytes.push_back(0);
    }
    Layer& layer = layers_[static_cast<size_t>(state.layer)];
    check(layer.pool < 0, "layer ", state.layer, " has two states; each needs a number of its own");
    layer.pool = static_cast<int>(pool);
    layer.k_offset = bytes[pool];
    layer.k_tile_bytes = kv_tile_bytes(type_, state.k_width);
    layer.v_offset = bytes[pool] + static_cast<size_t>(state.n_heads) * layer.k_tile_bytes;
    layer.v_tile_bytes = kv_tile_bytes(type_, state.v_width);
    bytes[pool] += page_bytes(state, type_);
  }
  for (size_t p = 0; p < kinds.size(); ++p) {
    const int n_pages = kinds[p].fixed_bytes > 0 ? 2 : pages_of(n_ctx_);
    pools_.push_back({kinds[p], PageArena(bytes[p], static_cast<size_t>(n_parallel_) *
                                                        static_cast<size_t>(n_pages))});
  }
}

size_t KvCache::index_of(int32_t handle) const {
  check(handle >= 0, "sequence ", handle, " is no handle of a KV cache");
  const auto index = static_cast<size_t>(handle % n_parallel_);
  check(sequences_[index].handle == handle, "sequence ", handle,
        " is not alive in this KV cache: it was dropped, or belongs to another cache");
  return index;
}

KvCache::Sequence& KvCache::idle(int32_t handle) {
  Sequence& sequence = sequences_[index_of(handle)];
  if (sequence.run != nullptr) {
    fail(ErrorKind::kBusy, "sequence ", handle, " is part of a run on another thread");
  }
  return sequence;
}

// A free one, under a new handle that tells where it is: handle % n_parallel.
KvCache::Sequence& KvCache::new_sequence() {
  const auto found = std::find_if(sequences_.begin(), sequences_.end(),
                                  [](const Sequence& s) { return s.handle < 0; });
  if (found == sequences_.end()) {
    fail(ErrorKind::kCacheFull, "all ", n_parallel_,
         " sequences of the KV cache are in use; drop one, or load the model with a greater "
         "n_parallel");
  }
  const auto index = static_cast<int32_t>(found - sequences_.begin());
  if (n_created_ >= INT32_MAX / n_parallel_ - 1) n_created_ = 0;
  found->handle = n_created_++ * n_parallel_ + index;
  found->length = 0;
  return *found;
}

int32_t KvCache::create() {
  const std::lock_guard lock(mutex_);
  return new_sequence().handle;
}

int32_t KvCache::fork(int32_t handle) {
  const std::lock_guard lock(mutex_);
  const Sequence& from = idle(handle);
  Sequence& to = new_sequence();
  to.length = from.length;
  to.marks = from.marks;
  for (size_t p = 0; p < pools_.size(); ++p) {
    to.tables[p] = from.tables[p];
    for (const uint8_t* page : to.tables[p].pages) {
      if (page != nullptr) pools_[p].arena.share(page);
    }
  }
  return to.handle;
}

void KvCache::drop(int32_t handle) {
  const std::lock_guard lock(mutex_);
  Sequence& sequence = idle(handle);
  sequence.marks.clear();
  for (size_t p = 0; p < pools_.size(); ++p) keep_pages(sequence, p, 0, 0);
  sequence.handle = -1;
}

std::vector<int32_t> KvCache::sequences() const {
  const std::lock_guard lock(mutex_);
  std::vector<int32_t> alive;
  for (const Sequence& sequence : sequences_) {
    if (sequence.handle >= 0) alive.push_back(sequence.handle);
  }
  return alive;
}

int KvCache::length(int32_t handle) const {
  const std::lock_guard lock(mutex_);
  return sequences_[index_of(handle)].length;
}

int KvCache::truncate(int32_t handle, int n) {
  const std::lock_guard lock(mutex_);
  Sequence& sequence = idle(handle);
  check(n >= 0 && n <= sequence.length, "truncate: sequence ", handle, " holds ", sequence.length,
        " tokens and cannot keep ", n);
  const auto beyond = [&](int mark) { return mark * kPageTokens > n; };
  std::erase_if(sequence.marks, beyond);
  if (!seen(sequence, n)) n = sequence.marks.empty() ? 0 : sequence.marks[0] * kPageTokens;
  for (size_t p = 0; p < pools_.size(); ++p) {
    if (pools_[p].is_fixed() && n < sequence.length) n = 0;
  }
  if (n == 0) sequence.marks.clear();
  for (size_t p = 0; p < pools_.size(); ++p) {
    Table& table = sequence.tables[p];
    table.first = std::min(table.first, first_page(pools_[p].kind, n));
    keep_pages(sequence, p, table.first, pages_of(n));
  }
  sequence.length = n;
  return n;
}

// Whether no window has moved on from what a query behind the first n tokens sees.
bool KvCache::seen(const Sequence& sequence, int n_tokens) const noexcept {
  for (size_t p = 0; p < pools_.size(); ++p) {
    if (sequence.tables[p].first > first_page(pools_[p].kind, n_tokens)) return false;
  }
  return true;
}

// Behind a run of several tokens, while all pages of its windows are there.
void KvCache::mark(Sequence& sequence) noexcept {
  int window = 0;  // the widest, in pages
  for (const Pool& pool : pools_) {
    if (pool.kind.window > 0) window = std::max(window, window_pages(pool.kind));
  }
  if (window == 0) return;
  std::array<int, kMostMarks> marks;
  size_t n = 0;
  const int last = sequence.length / kPageTokens;
  int distance = 0, pages = window;  // of the mark before; that marks keep
  for (int mark = last; mark > 0 && n < kMostMarks; --mark) {
    const int next = last - mark;
    if (n > 0 && next < std::max(1, 2 * distance)) continue;
    const auto& before = sequence.marks;
    const bool kept = std::find(before.begin(), before.end(), mark) != before.end();
    if (!kept && !seen(sequence, mark * kPageTokens)) continue;
    pages += std::min(next - distance, window);
    if (pages > kMarkWindows * window) break;
    marks[n++] = mark;
    distance = next;
  }
  sequence.marks.assign(marks.begin(), marks.begin() + static_cast<ptrdiff_t>(n));
}

// Lets go of the pages of `pool` outside [first, end), of a fixed state if there are none.
void KvCache::keep_pages(Sequence& sequence, size_t pool, int first, int end) noexcept {
  PageArena& arena = pools_[pool].arena;
  Table& table = sequence.tables[pool];
  if (pools_[pool].is_fixed()) {
    if (end == 0) arena.release(std::exchange(table.pages[0], nullptr));
    return;
  }
  const StateSpec& kind = pools_[pool].kind;
  const auto marked = [&](int page) {
    const auto needs = [&](int mark) {
      return page < mark && page >= first_page(kind, mark * kPageTokens);
    };
    return std::any_of(sequence.marks.begin(), sequence.marks.end(), needs);
  };
  for (int i = table.low; i < table.end; ++i) {
    if ((i >= first && i < end) || marked(i)) continue;
    arena.release(std::exchange(table.pages[static_cast<size_t>(i)], nullptr));
  }
  table.end = std::min(table.end, end);
  table.first = std::min(std::max(table.first, first), table.end);
  while (table.low < table.end && table.pages[static_cast<size_t>(table.low)] == nullptr) {
    ++table.low;
  }
  table.low = std::min(table.low, table.end);
}

// Gives the sequence pages of its own for the n tokens after its length.
void KvCache::reserve(Sequence& sequence, int n_tokens) {
  for (size_t p = 0; p < pools_.size(); ++p) {
    PageArena& arena = pools_[p].arena;
    Table& table = sequence.tables[p];
    if (pools_[p].is_fixed()) {
      table.pages[1] = arena.acquire();
      if (table.pages[0] == nullptr) {
        std::memset(table.pages[1], 0, arena.page_bytes());
      } else {
        std::memcpy(table.pages[1], table.pages[0], arena.page_bytes());
      }
      continue;
    }
    const auto partial = static_cast<size_t>(sequence.length / kPageTokens);
    if (sequence.length % kPageTokens != 0 && arena.shared(table.pages[partial])) {
      uint8_t* copy = arena.acquire();
      std::memcpy(copy, table.pages[partial], arena.page_bytes());
      arena.release(std::exchange(table.pages[partial], copy));
    }
    while (table.end < pages_of(sequence.length + n_tokens)) {
      table.pages[static_cast<size_t>(table.end)] = arena.acquire();
      ++table.end;
    }
  }
}

// A page takes memory when it is written to, and a system that has none left then ends the process.
// So ask before, each time that the cache has grown by what was left of the last answer.
void KvCache::check_memory(size_t bytes_before) {
  constexpr size_t kMargin = 16 << 20, kMostAhead = 64 << 20;
  const size_t bytes = used_bytes();
  if (bytes <= checked_bytes_ || bytes <= bytes_before) return;
  const size_t more = bytes - bytes_before;
  const MemoryRoom room = memory_room();
  if (room.bytes < more + kMargin) {
    fail(ErrorKind::kMemory, "the KV cache holds ", bytes_before, " bytes and needs ", more,
         " more, but ", room.bytes, " are left ", room.limit,
         "; end other sessions, or load the model with a smaller n_ctx or kv_type 'q8_0'");
  }
  checked_bytes_ = bytes + std::min<size_t>((room.bytes - more - kMargin) / 4, kMostAhead);
}

// The end of a run: its copy of a fixed state takes the state's place, or is forgotten.
void KvCache::settle(Sequence& sequence, size_t pool, bool keep_copy) noexcept {
  std::vector<uint8_t*>& pages = sequence.tables[pool].pages;
  if (keep_copy) std::swap(pages[0], pages[1]);
  pools_[pool].arena.release(std::exchange(pages[1], nullptr));
}

KvCache::Reservation::Reservation(KvCache& cache, const Batch& batch, std::span<int32_t> slots)
    : cache_(cache), batch_(batch) {
  const std::lock_guard lock(cache.mutex_);
  try {
    const size_t before = cache.used_bytes();
    each_sequence(batch, [&](int32_t handle, size_t first, size_t end) {
      claim(handle, slots.subspan(first, end - first));
    });
    cache.check_memory(before);
  } catch (...) {
    close(false);
    throw;
  }
}

KvCache::Reservation::~Reservation() {
  if (!open_) return;
  const std::lock_guard lock(cache_.mutex_);
  close(false);
}

void KvCache::Reservation::commit() {
  const std::lock_guard lock(cache_.mutex_);
  close(true);
  open_ = false;
}

// Tokens are to be appended to a sequence.
void KvCache::Reservation::claim(int32_t handle, std::span<int32_t> slots) {
  Sequence& sequence = cache_.sequences_[cache_.index_of(handle)];
  check(sequence.run != this, "the tokens of sequence ", handle,
        " do not stand together in the batch");
  cache_.idle(handle);
  const int n_tokens = static_cast<int>(slots.size());
  if (n_tokens > cache_.n_ctx_ - sequence.length) {
    fail(ErrorKind::kCacheFull, "sequence ", handle, " holds ", sequence.length,
         " tokens; another ", n_tokens, " do not fit into n_ctx ", cache_.n_ctx_,
         "; shorten it, or load the model with a greater n_ctx");
  }
  sequence.run = this;
  cache_.reserve(sequence, n_tokens);
  std::iota(slots.begin(), slots.end(), sequence.length);
}

// Gives up the claim, and either counts the batch's tokens or returns their pages.
void KvCache::Reservation::close(bool keep_tokens) noexcept {
  for (Sequence& sequence : cache_.sequences_) {
    if (sequence.run != this) continue;
    sequence.run = nullptr;
    if (keep_tokens) {
      const auto n_tokens = static_cast<int>(
          std::count(batch_.sequence.begin(), batch_.sequence.end(), sequence.handle));
      sequence.length += n_tokens;
      if (n_tokens > 1) cache_.mark(sequence);
    }
    for (size_t p = 0; p < cache_.pools_.size(); ++p) {
      const int window = cache_.pools_[p].kind.window;
      const int unseen = sequence.length + 1 - window - kRollbackTokens;
      const int first = window == 0 ? 0 : std::max(0, unseen) / kPageTokens;
      if (cache_.pools_[p].is_fixed()) {
        cache_.settle(sequence, p, keep_tokens);
      } else {
        cache_.keep_pages(sequence, p, first, pages_of(sequence.length));
      }
    }
  }
}

const KvCache::Table& KvCache::table(int32_t sequence, const Layer& layer) const noexcept {
  return sequences_[static_cast<size_t>(sequence % n_parallel_)]
      .tables[static_cast<size_t>(layer.pool)];
}

KvCache::LayerPages KvCache::pages(int32_t sequence, int number) const noexcept {
  const Layer& layer = layers_[static_cast<size_t>(number)];
  return {table(sequence, layer).pages.data(), layer.k_offset, layer.k_tile_bytes, layer.v_offset,
          layer.v_tile_bytes};
}

uint8_t* KvCache::fixed(int32_t sequence, int number) const noexcept {
  const Layer& layer = layers_[static_cast<size_t>(number)];
  return table(sequence, layer).pages[1] + layer.k_offset;
}

size_t KvCache::reserved_bytes() const {
  size_t bytes = 0;
  for (const Pool& pool : pools_) bytes += pool.arena.reserved_bytes();
  return bytes;
}

size_t KvCache::context_bytes() const { return state_bytes(states_, type_, n_ctx_); }

size_t KvCache::committed_bytes() const {
  const std::lock_guard lock(mutex_);
  return used_bytes();
}

size_t KvCache::used_bytes() const noexcept {
  size_t bytes = 0;
  for (const Pool& pool : pools_) bytes += pool.arena.committed_bytes();
  return bytes;
}

}  // namespace edgelm
