#pragma once

// Float weights: a record is one weight of each row, and c[t] = fma(w[k], x[t][k], c[t]).
#include "kernels/activation.h"
#include "kernels/matmul.inl"
#include "quant/blocks.h"

namespace edgelm {
namespace {

// `load` reads a line of weights of type Value as floats.
template <class Value, Floats1 (*load)(const uint8_t*)>
struct FloatWeight {
  using Block = Value;
  static constexpr ActFormat kAct = ActFormat::kF32;
  static constexpr size_t kActBytes = sizeof(ActF32);
  static constexpr size_t kRecordBytes = kGroupRows * sizeof(Value), kPanelBytes = kLineBytes;
  static constexpr int kPanelWeights = 1024, kFusedTokens = 63;
  // A token is one chain of fma a register: as many groups in turns as there are registers for.
  static constexpr int kStreams = kTile < 8 ? 2 : 4;

  static void pack(const Block (&rows)[kGroupRows], uint8_t* record) {
    __builtin_memcpy(record, rows, kRecordBytes);
  }
  static void unpack(const uint8_t* record, int column, float* out) {
    Block block;
    __builtin_memcpy(&block, record + column * sizeof(Block), sizeof block);
    decode(block, out);
  }
  static EDGELM_INLINE void expand(const uint8_t* record, uint8_t* panel) {
    store(reinterpret_cast<float*>(panel), load(record));
  }

  struct Packed {
    static constexpr size_t kBytes = kRecordBytes;
    const uint8_t* p;
    Later later;
    EDGELM_INLINE Packed(const uint8_t* record, Later next) : p(record), later(next) {}
    // The group's own later record: `later` begins at 1/n of one for each group in turn.
    EDGELM_INLINE void fetch() const {
      const size_t turn = reinterpret_cast<uintptr_t>(later.part) / (kBytes / later.n) % later.n;
      prefetch(later.part + turn * later.stride);
    }
    EDGELM_INLINE Floats1 weights() const { return load(p); }
  };
  struct Expanded {
    static constexpr size_t kBytes = kPanelBytes;
    const uint8_t* p;
    Ahead& ahead;
    explicit EDGELM_INLINE Expanded(const uint8_t* panel, Ahead& next) : p(panel), ahead(next) {}
    EDGELM_INLINE void fetch() const {
      if (reinterpret_cast<uintptr_t>(p) % (32 * kPanelBytes) < kPanelBytes) ahead.fetch();
    }
    EDGELM_INLINE Floats1 weights() const { return load_f32(reinterpret_cast<const float*>(p)); }
  };

  template <int T, class Source>
  static EDGELM_INLINE void accumulate(const Source& source, const uint8_t* act, size_t stride,
                                       Floats1 (&c)[T]) {
    source.fetch();
    Floats1 w = source.weights();
    pin(w);
    unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
      c[t.value] =
          fma(w, broadcast_f32(reinterpret_cast<const float*>(act + t.value * stride)), c[t.value]);
    });
  }
};

}  // namespace
}  // namespace edgelm
