#pragma once

// GGUF type 0: plain floats, in "blocks" of one.
namespace edgelm {

struct f32 {
  static constexpr int kBlock = 1;
  float value;
};
static_assert(sizeof(f32) == 4, "fixed by the file format");

static inline void decode(const f32& block, float* out) { *out = block.value; }

}  // namespace edgelm
