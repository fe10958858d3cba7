#include "plan/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace edgelm {
namespace {

int pages_of(int n_tokens) { return (n_tokens + kPageTokens - 1) / kPageTokens; }

// Calls f(handle, first, end) for each run of equal sequences in the batch.
template <class F>
void each_sequence(const Batch& batch, F f) {
  const int n = batch.n_tokens();
  for (int first = 0, end = 0; first < n; first = end) {
    const int32_t handle = batch.sequence[static_cast<size_t>(first)];
    while (end < n && batch.sequence[static_cast<size_t>(end)] == handle) ++end;
    f(handle, first, end);
  }
}

}  // namespace

KvCache::KvCache(std::vector<KvLayer> layers, KvType type, int n_ctx, int n_parallel)
    : layers_(std::move(layers)), type_(type), n_ctx_(n_ctx), n_parallel_(n_parallel) {
  check(!layers_.empty(), "the KV cache needs at least one layer");
  check(n_ctx >= 1 && n_ctx <= 1 << 24, "n_ctx is ", n_ctx, ", expected 1 to ", 1 << 24);
  check(n_parallel >= 1 && n_parallel <= 1 << 16, "n_parallel is ", n_parallel, ", expected 1 to ",
        1 << 16);
  places_.resize(kMaxLayers);
  std::vector<bool> placed(layers_.size());
  for (size_t i = 0; i < layers_.size(); ++i) {
    const KvLayer& kind = layers_[i];
    check(kind.layer >= 0 && kind.layer < kMaxLayers, "layer ", kind.layer, ", expected 0 to ",
          kMaxLayers - 1);
    check(kind.head_width >= 1 && kind.head_width <= 4096 && kind.head_width % kHeadWidthUnit == 0,
          "layer ", kind.layer, ": the head width is ", kind.head_width,
          ", expected a multiple of ", kHeadWidthUnit, " up to 4096");
    check(kind.n_kv_heads >= 1 && kind.n_kv_heads <= 65536 && kind.window >= 0, "layer ",
          kind.layer, ": ", kind.n_kv_heads, " heads and a window of ", kind.window,
          " tokens make no sense");
    if (placed[i]) continue;
    const size_t tile = kv_tile_bytes(type, kind.head_width);
    const size_t half = tile * static_cast<size_t>(kind.n_kv_heads);
    size_t page_bytes = 0;
    for (size_t j = i; j < layers_.size(); ++j) {
      KvLayer other = layers_[j];
      const int layer = std::exchange(other.layer, kind.layer);
      if (!(other == kind)) continue;
      Place& place = places_[static_cast<size_t>(std::clamp(layer, 0, kMaxLayers - 1))];
      check(place.group < 0, "layer ", layer, " has two kv ops; each needs a number of its own");
      place = {static_cast<int>(groups_.size()), page_bytes, page_bytes + half, tile};
      page_bytes += 2 * half;
      placed[j] = true;
    }
    const size_t n_pages = static_cast<size_t>(n_parallel) * static_cast<size_t>(pages_of(n_ctx));
    groups_.push_back({kind.window, PageArena(page_bytes, n_pages)});
  }
  sequences_.resize(static_cast<size_t>(n_parallel));
  for (Sequence& sequence : sequences_) {
    sequence.tables.resize(groups_.size());
    for (Table& table : sequence.tables) table.pages.resize(static_cast<size_t>(pages_of(n_ctx)));
  }
}

size_t KvCache::place_of(int32_t handle) const {
  check(handle >= 0, "sequence ", handle, " is no handle of a KV cache");
  const auto place = static_cast<size_t>(handle % n_parallel_);
  check(sequences_[place].handle == handle, "sequence ", handle,
        " is not alive in this KV cache: it was dropped, or belongs to another cache");
  return place;
}

KvCache::Sequence& KvCache::idle(int32_t handle) {
  Sequence& sequence = sequences_[place_of(handle)];
  if (sequence.run != nullptr) {
    fail(ErrorKind::kBusy, "sequence ", handle, " is part of a run on another thread");
  }
  return sequence;
}

// A free place, under a new handle that tells where it is: handle % n_parallel.
KvCache::Sequence& KvCache::new_sequence() {
  const auto found = std::find_if(sequences_.begin(), sequences_.end(),
                                  [](const Sequence& s) { return s.handle < 0; });
  if (found == sequences_.end()) {
    fail(ErrorKind::kCacheFull, "all ", n_parallel_,
         " sequences of the KV cache are in use; drop one, or load the model with a greater "
         "n_parallel");
  }
  const auto place = static_cast<int32_t>(found - sequences_.begin());
  if (n_created_ >= INT32_MAX / n_parallel_ - 1) n_created_ = 0;
  found->handle = n_created_++ * n_parallel_ + place;
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
  for (size_t g = 0; g < groups_.size(); ++g) {
    const Table& source = from.tables[g];
    Table& table = to.tables[g];
    table.first = source.first;
    table.end = source.end;
    for (int i = source.first; i < source.end; ++i) {
      const auto page = static_cast<size_t>(i);
      table.pages[page] = source.pages[page];
      groups_[g].arena.share(source.pages[page]);
    }
  }
  return to.handle;
}

void KvCache::drop(int32_t handle) {
  const std::lock_guard lock(mutex_);
  Sequence& sequence = idle(handle);
  for (size_t g = 0; g < groups_.size(); ++g) keep_pages(sequence, g, 0, 0);
  sequence.handle = -1;
}

int KvCache::length(int32_t handle) const {
  const std::lock_guard lock(mutex_);
  return sequences_[place_of(handle)].length;
}

int KvCache::truncate(int32_t handle, int n) {
  const std::lock_guard lock(mutex_);
  Sequence& sequence = idle(handle);
  check(n >= 0 && n <= sequence.length, "truncate: sequence ", handle, " holds ", sequence.length,
        " tokens and cannot keep ", n);
  for (size_t g = 0; g < groups_.size(); ++g) {
    const int seen_from = std::max(0, n + 1 - groups_[g].window);
    if (groups_[g].window > 0 && sequence.tables[g].first * kPageTokens > seen_from) n = 0;
  }
  for (size_t g = 0; g < groups_.size(); ++g) {
    keep_pages(sequence, g, n == 0 ? 0 : sequence.tables[g].first, pages_of(n));
  }
  sequence.length = n;
  return n;
}

// Lets go of the pages of `group` outside [first, end).
void KvCache::keep_pages(Sequence& sequence, size_t group, int first, int end) noexcept {
  Table& table = sequence.tables[group];
  for (int i = table.first; i < table.end; ++i) {
    if (i >= first && i < end) continue;
    groups_[group].arena.release(std::exchange(table.pages[static_cast<size_t>(i)], nullptr));
  }
  table.end = std::min(table.end, end);
  table.first = std::min(std::max(table.first, first), table.end);
}

// Gives the sequence pages of its own for the n tokens after its length.
void KvCache::reserve(Sequence& sequence, int n_tokens) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    PageArena& arena = groups_[g].arena;
    Table& table = sequence.tables[g];
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

KvCache::Reservation::Reservation(KvCache& cache, const Batch& batch)
    : cache_(cache), batch_(batch) {
  const std::lock_guard lock(cache.mutex_);
  try {
    each_sequence(batch, [&](int32_t handle, int first, int end) { claim(handle, first, end); });
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

// Tokens [first, end) of the batch are to be appended to a sequence.
void KvCache::Reservation::claim(int32_t handle, int first, int end) {
  Sequence& sequence = cache_.sequences_[cache_.place_of(handle)];
  check(sequence.run != this, "the tokens of sequence ", handle,
        " do not stand together in the batch");
  cache_.idle(handle);
  for (int i = first; i < end; ++i) {
    const int expected = sequence.length + i - first;
    const int32_t position = batch_.position[static_cast<size_t>(i)];
    check(position == expected, "batch index ", i, " has position ", position, " in sequence ",
          handle, ", expected ", expected, ": it holds ", sequence.length, " tokens");
  }
  if (end - first > cache_.n_ctx_ - sequence.length) {
    fail(ErrorKind::kCacheFull, "sequence ", handle, " holds ", sequence.length,
         " tokens; another ", end - first, " do not fit into n_ctx ", cache_.n_ctx_,
         "; shorten it, or load the model with a greater n_ctx");
  }
  sequence.run = this;
  cache_.reserve(sequence, end - first);
}

// Gives up the claim, and either counts the batch's tokens or returns their pages.
void KvCache::Reservation::close(bool keep_tokens) noexcept {
  for (Sequence& sequence : cache_.sequences_) {
    if (sequence.run != this) continue;
    sequence.run = nullptr;
    if (keep_tokens) {
      sequence.length += static_cast<int>(
          std::count(batch_.sequence.begin(), batch_.sequence.end(), sequence.handle));
    }
    for (size_t g = 0; g < cache_.groups_.size(); ++g) {
      const int window = cache_.groups_[g].window;
      const int unseen = sequence.length + 1 - window - kRollbackTokens;
      const int first = window == 0 ? 0 : std::max(0, unseen) / kPageTokens;
      cache_.keep_pages(sequence, g, first, pages_of(sequence.length));
    }
  }
}

KvCache::Tiles KvCache::tiles(int32_t sequence, int layer) const noexcept {
  const Place& place = places_[static_cast<size_t>(layer)];
  const Sequence& s = sequences_[static_cast<size_t>(sequence % n_parallel_)];
  return {s.tables[static_cast<size_t>(place.group)].pages.data(), place.k_offset, place.v_offset,
          place.tile_bytes};
}

size_t KvCache::reserved_bytes() const {
  size_t bytes = 0;
  for (const Group& group : groups_) bytes += group.arena.reserved_bytes();
  return bytes;
}

size_t KvCache::committed_bytes() const {
  const std::lock_guard lock(mutex_);
  size_t bytes = 0;
  for (const Group& group : groups_) bytes += group.arena.committed_bytes();
  return bytes;
}

size_t KvCache::bytes_per_token() const {
  size_t bytes = 0;
  for (const Group& group : groups_) bytes += group.arena.page_bytes() / kPageTokens;
  return bytes;
}

}  // namespace edgelm
