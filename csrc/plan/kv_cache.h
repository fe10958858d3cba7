#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "plan/batch.h"
#include "plan/page_arena.h"
#include "plan/state.h"

namespace edgelm {

// The state of up to n_parallel sequences of up to n_ctx tokens. Its i-th token is slot i of a
// sequence, whatever position it stands for.
//
// States that are equal but for their layers share a pool. A page holds 64 tokens of a pool's
// layers, as tiles [layer][K|V][head] (kernels/attention.h), and every sequence has a table of
// pages for each pool. Forks share pages; a shared page is copied when a token must be written into
// it. A pool with a window lets go of pages that lie behind it by more than kRollbackTokens, but
// for those that a mark needs. A fixed state is one page, and a run writes to a copy of it.
//
// Marks are lengths to which truncate() can go back, whatever windows have moved on. A run of
// several tokens leaves them in its wake, at distances that double: 0, 1, 2, 4, ... pages. What
// they keep is at most kMarkWindows windows.
//
// Every function may be called from any thread; a sequence that is part of a run raises kBusy.
class KvCache {
 public:
  static constexpr int kRollbackTokens = kPageTokens;  // that truncate() takes back behind a window

  KvCache(std::vector<StateSpec> states, KvType type, int n_ctx, int n_parallel);

  // Handles are never reused while the process runs into fewer than 2^31 of them.
  int32_t create();                // kCacheFull if n_parallel are alive
  int32_t fork(int32_t sequence);  // likewise
  void drop(int32_t sequence);
  std::vector<int32_t> sequences() const;  // that are alive
  int length(int32_t sequence) const;
  // Forgets all but the first n tokens. Returns how many are kept: n, or if a window has moved on
  // from what a query at n would see, the last mark before it, or 0 if there is none, or a fixed
  // state has gone beyond n. The caller then replays them.
  int truncate(int32_t sequence, int n);

  // A run's claim on its sequences.
  class Reservation {
   public:
    // Checks that the batch is grouped by sequence (kArgument), that each has room (kCacheFull) and
    // is in no other run (kBusy), makes its pages writable (kMemory), and says in which slot each
    // token goes: those that follow what its sequence holds.
    Reservation(KvCache& cache, const Batch& batch, std::span<int32_t> slots);
    // Without commit() lengths are as before, and the pages that were added are returned.
    ~Reservation();
    Reservation(const Reservation&) = delete;
    Reservation& operator=(const Reservation&) = delete;
    // The batch's tokens now belong to their sequences.
    void commit();

   private:
    void claim(int32_t handle, std::span<int32_t> slots);
    void close(bool keep_tokens) noexcept;

    KvCache& cache_;
    const Batch& batch_;
    bool open_ = true;
  };

  // Where a layer's keys and values are for a sequence of a run: table[i] holds slots
  // [64 i, 64 i + 64), the keys of head h at k_offset + h * k_tile_bytes, the values likewise.
  struct LayerPages {
    uint8_t* const* table;
    size_t k_offset, k_tile_bytes, v_offset, v_tile_bytes;
  };
  LayerPages pages(int32_t sequence, int layer) const noexcept;
  // A layer's fixed state for a sequence of a run, which may write to it.
  uint8_t* fixed(int32_t sequence, int layer) const noexcept;

  const std::vector<StateSpec>& states() const { return states_; }
  KvType type() const { return type_; }
  int n_ctx() const { return n_ctx_; }
  int n_parallel() const { return n_parallel_; }
  size_t reserved_bytes() const;   // addresses
  size_t context_bytes() const;    // memory of one sequence of n_ctx tokens
  size_t committed_bytes() const;  // memory, at most

 private:
  struct Pool {
    StateSpec kind;  // of its states, but for their layers
    PageArena arena;
    bool is_fixed() const { return kind.fixed_bytes > 0; }
  };
  struct Layer {
    int pool = -1;
    size_t k_offset = 0, k_tile_bytes = 0, v_offset = 0, v_tile_bytes = 0;
  };
  // The pages [first, end) of a sequence in one pool, all that its next tokens see; of a fixed
  // state its page, and a run's copy.
  struct Table {
    int first = 0, end = 0;
    std::vector<uint8_t*> pages;
    int low = 0;  // no page before it: from here to `first` are those that marks need
  };
  struct Sequence {
    int32_t handle = -1;  // -1: free
    int length = 0;
    const Reservation* run = nullptr;  // that it is part of
    std::vector<Table> tables;         // one a pool
    std::vector<int> marks;            // in pages, the last first
  };

  void add_pools();
  size_t index_of(int32_t handle) const;  // in sequences_; kArgument if it is not alive
  Sequence& idle(int32_t handle);         // kBusy if it is part of a run
  Sequence& new_sequence();
  const Table& table(int32_t sequence, const Layer& layer) const noexcept;
  void reserve(Sequence& sequence, int n_tokens);
  void keep_pages(Sequence& sequence, size_t pool, int first, int end) noexcept;
  size_t used_bytes() const noexcept;
  void check_memory(size_t bytes_before);  // throws kMemory
  bool seen(const Sequence& sequence, int n_tokens) const noexcept;
  void mark(Sequence& sequence) noexcept;
  void settle(Sequence& sequence, size_t pool, bool keep_copy) noexcept;

  std::vector<StateSpec> states_;
  KvType type_;
  int n_ctx_, n_parallel_;
  std::vector<Pool> pools_;
  std::vector<Layer> layers_;  // by number
  std::vector<Sequence> sequences_;
  int32_t n_created_ = 0;
  size_t checked_bytes_ = 0;  // that memory was there for
  mutable std::mutex mutex_;
};

}  // namespace edgelm
