#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "kernels/attention.h"
#include "plan/batch.h"
#include "plan/page_arena.h"

namespace edgelm {

// What one kv op of a graph keeps: k and v (G, C) of every token, or of a window's.
struct KvLayer {
  int layer;  // any number from 0 to 4095, once a graph
  int n_kv_heads, head_width;
  int window;  // 0: everything is kept
  bool operator==(const KvLayer&) const = default;
};

// Keys and values of up to n_parallel sequences of up to n_ctx tokens.
//
// Layers of one shape and window form a group. A page holds 64 tokens of a group's layers, as tiles
// [layer][K|V][head] (kernels/attention.h), and every sequence has a table of pages for each group.
// Forks share pages; a shared page is copied when a token must be written into it. A windowed group
// lets go of pages that lie behind its window by more than kRollbackTokens.
//
// Every function may be called from any thread; a sequence that is part of a run raises kBusy.
class KvCache {
 public:
  static constexpr int kMaxLayers = 4096;
  static constexpr int kRollbackTokens = kPageTokens;  // that truncate() can always take back

  KvCache(std::vector<KvLayer> layers, KvType type, int n_ctx, int n_parallel);

  // Handles are never reused while the process runs into fewer than 2^31 of them.
  int32_t create();                // kCacheFull if n_parallel are alive
  int32_t fork(int32_t sequence);  // likewise
  void drop(int32_t sequence);
  int length(int32_t sequence) const;
  // Forgets all but the first n tokens. Returns how many are kept: n, or 0 if a window has moved on
  // from what a query at n would see; the caller then replays them.
  int truncate(int32_t sequence, int n);

  // A run's claim on its sequences.
  class Reservation {
   public:
    // Checks that the batch is grouped by sequence and continues each one (kArgument), that it has
    // room (kCacheFull) and is in no other run (kBusy), and makes its pages writable (kMemory).
    Reservation(KvCache& cache, const Batch& batch);
    // Without commit() lengths are as before, and the pages that were added are returned.
    ~Reservation();
    Reservation(const Reservation&) = delete;
    Reservation& operator=(const Reservation&) = delete;
    // The batch's tokens now belong to their sequences.
    void commit();

   private:
    void claim(int32_t handle, int first, int end);
    void close(bool keep_tokens) noexcept;

    KvCache& cache_;
    const Batch& batch_;
    bool open_ = true;
  };

  // Where a layer's tiles are for a sequence of a run: pages[i] holds tokens [64 i, 64 i + 64),
  // those of head h at the offset + h * tile_bytes.
  struct Tiles {
    uint8_t* const* pages;
    size_t k_offset, v_offset, tile_bytes;
  };
  Tiles tiles(int32_t sequence, int layer) const noexcept;

  const std::vector<KvLayer>& layers() const { return layers_; }
  KvType type() const { return type_; }
  int n_ctx() const { return n_ctx_; }
  int n_parallel() const { return n_parallel_; }
  size_t reserved_bytes() const;   // addresses
  size_t committed_bytes() const;  // memory, at most
  size_t bytes_per_token() const;  // of a sequence that no window has shortened

 private:
  struct Group {
    int window;
    PageArena arena;
  };
  struct Place {
    int group = -1;
    size_t k_offset = 0, v_offset = 0, tile_bytes = 0;
  };
  // The pages [first, end) of a sequence in one group.
  struct Table {
    int first = 0, end = 0;
    std::vector<uint8_t*> pages;
  };
  struct Sequence {
    int32_t handle = -1;  // -1: free
    int length = 0;
    const Reservation* run = nullptr;  // that it is part of
    std::vector<Table> tables;         // one a group
  };

  size_t place_of(int32_t handle) const;  // in sequences_; kArgument if it is not alive
  Sequence& idle(int32_t handle);         // kBusy if it is part of a run
  Sequence& new_sequence();
  void reserve(Sequence& sequence, int n_tokens);
  void keep_pages(Sequence& sequence, size_t group, int first, int end) noexcept;

  std::vector<KvLayer> layers_;
  KvType type_;
  int n_ctx_, n_parallel_;
  std::vector<Group> groups_;
  std::vector<Place> places_;  // by layer number
  std::vector<Sequence> sequences_;
  int32_t n_created_ = 0;
  mutable std::mutex mutex_;
};

}  // namespace edgelm
