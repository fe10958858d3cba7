#include "core/arena.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/os.h"

namespace edgelm {
namespace {

std::byte* allocate(size_t bytes) {
  void* data = os::allocate(bytes);
  if (data == nullptr) fail(ErrorKind::kMemory, "cannot allocate ", bytes, " bytes");
  return static_cast<std::byte*>(data);
}

}  // namespace

Memory::Memory(size_t bytes) : data_(bytes == 0 ? nullptr : allocate(bytes)), bytes_(bytes) {}

Memory::Memory(Memory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Memory::~Memory() {
  if (data_ != nullptr) os::release(data_, bytes_);
}

ArenaLayout lay_out(std::span<const Lifetime> buffers) {
  ArenaLayout layout;
  layout.offsets.resize(buffers.size());
  std::vector<size_t> by_size(buffers.size());
  std::iota(by_size.begin(), by_size.end(), size_t{0});
  std::sort(by_size.begin(), by_size.end(), [&](size_t a, size_t b) {
    return buffers[a].bytes != buffers[b].bytes ? buffers[a].bytes > buffers[b].bytes : a < b;
  });
  std::vector<size_t> placed;  // by rising offset
  for (const size_t i : by_size) {
    const Lifetime& buffer = buffers[i];
    const size_t bytes = aligned(buffer.bytes);
    // The lowest gap between the buffers that live at the same time.
    size_t offset = 0;
    for (const size_t j : placed) {
      const Lifetime& other = buffers[j];
      if (other.last < buffer.first || buffer.last < other.first) continue;
      if (offset + bytes <= layout.offsets[j]) break;
      offset = std::max(offset, layout.offsets[j] + aligned(other.bytes));
    }
    layout.offsets[i] = offset;
    layout.bytes = std::max(layout.bytes, offset + bytes);
    const auto at = std::upper_bound(placed.begin(), placed.end(), offset,
                                     [&](size_t o, size_t j) { return o < layout.offsets[j]; });
    placed.insert(at, i);
  }
  return layout;
}

}  // namespace edgelm
