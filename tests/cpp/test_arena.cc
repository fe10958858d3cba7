#include "core/arena.h"

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "core/error.h"
#include "testing.h"

using namespace edgelm;

namespace {

// Pairs that live at the same time and overlap in memory.
int conflicts(const std::vector<Lifetime>& buffers, const ArenaLayout& layout) {
  int found = 0;
  for (size_t i = 0; i < buffers.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const bool together =
          buffers[i].first <= buffers[j].last && buffers[j].first <= buffers[i].last;
      const bool overlap = layout.offsets[i] < layout.offsets[j] + buffers[j].bytes &&
                           layout.offsets[j] < layout.offsets[i] + buffers[i].bytes;
      found += together && overlap;
    }
  }
  return found;
}

}  // namespace

TEST(arena_reuses_what_is_dead) {
  const std::vector<Lifetime> chain = {{1000, 0, 1}, {1000, 1, 2}, {1000, 2, 3}, {1000, 3, 4}};
  const ArenaLayout layout = lay_out(chain);
  EXPECT(conflicts(chain, layout) == 0);
  EXPECT(layout.bytes == 2 * aligned(1000)) << layout.bytes;
}

TEST(arena_keeps_apart_what_lives_together) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<Lifetime> buffers;
    for (int i = 0; i < 60; ++i) {
      const int first = static_cast<int>(random() % 40);
      buffers.push_back({random() % 5000, first, first + static_cast<int>(random() % 10)});
    }
    ArenaLayout layout = lay_out(buffers);
    EXPECT(conflicts(buffers, layout) == 0);
    for (size_t i = 0; i < buffers.size(); ++i) {
      EXPECT(layout.offsets[i] % kAlign == 0);
      EXPECT(layout.offsets[i] + buffers[i].bytes <= layout.bytes);
    }
    // The seeded fault: everything at offset 0 must be seen as a conflict.
    layout.offsets.assign(buffers.size(), 0);
    EXPECT(conflicts(buffers, layout) > 0);
  }
}

TEST(memory_is_aligned_zeroed_and_movable) {
  for (const size_t bytes : {size_t{1}, size_t{4096}, size_t{9} << 20}) {
    Memory memory(bytes);
    EXPECT(reinterpret_cast<uintptr_t>(memory.data()) % kAlign == 0);
    EXPECT(memory.data()[0] == std::byte{0} && memory.data()[bytes - 1] == std::byte{0});
    memory.data()[bytes - 1] = std::byte{7};
    const Memory moved = std::move(memory);
    EXPECT(moved.data()[bytes - 1] == std::byte{7} && moved.size() == bytes);
  }
  EXPECT(Memory().data() == nullptr);
}

TEST(memory_that_cannot_be_had_is_an_error) {
  EXPECT_ERROR(ErrorKind::kMemory, Memory(size_t{1} << 62));
}
