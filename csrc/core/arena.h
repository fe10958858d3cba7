#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace edgelm {

inline constexpr size_t kAlign = 64;  // a cache line, and the widest vector

constexpr size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// A zeroed block of memory, on huge pages if it is large and the system has them.
class Memory {
 public:
  Memory() = default;
  explicit Memory(size_t bytes);  // throws kMemory
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;
  ~Memory();

  std::byte* data() const { return data_; }
  size_t size() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;  // 64-byte aligned
  size_t bytes_ = 0;
};

// A buffer that is used at the times first..last, both included.
struct Lifetime {
  size_t bytes;
  int first, last;
};

struct ArenaLayout {
  std::vector<size_t> offsets;  // one a buffer, 64-byte aligned
  size_t bytes = 0;
};

// Offsets such that buffers whose times overlap do not overlap in memory. Greedy, largest first.
// Source: Pisarchyk and Lee, arXiv:2001.03288.
ArenaLayout lay_out(std::span<const Lifetime> buffers);

}  // namespace edgelm
