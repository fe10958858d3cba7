#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/file.h"

namespace edgelm {

// Reads a header from its file front to back. What take() returns stays where it is as long as the
// chunks live, so that views into it need no second copy.
class GgufCursor {
 public:
  explicit GgufCursor(const File& file);

  uint64_t position() const { return position_; }
  // Bytes that may still come; any count read from the file is checked against it.
  uint64_t remaining() const { return end_ - position_; }

  // The next n bytes, contiguous. Throws kModelFormat naming `what` if the file ends before.
  const std::byte* take(uint64_t n, const char* what) {
    if (n > chunk_end_ - position_) next_chunk(n, what);
    const std::byte* bytes = chunk_ + (position_ - chunk_start_);
    position_ += n;
    return bytes;
  }

  template <class T>
  T number(const char* what) {
    static_assert(std::is_arithmetic_v<T>);
    T value;
    std::memcpy(&value, take(sizeof value, what), sizeof value);
    return value;
  }

  std::string_view string(const char* what) {
    const auto length = number<uint64_t>(what);
    return {reinterpret_cast<const char*>(take(length, what)), length};
  }

  // A count of things of at least `least_bytes` each, which must fit into what remains.
  uint64_t count(uint64_t least_bytes, const char* what);

  [[noreturn]] void fail_end(uint64_t n, const char* what) const;

  std::string file_name() const { return utf8(file_.path().filename()); }
  std::vector<std::unique_ptr<std::byte[]>> chunks() && { return std::move(chunks_); }

 private:
  void next_chunk(uint64_t n, const char* what);

  const File& file_;
  uint64_t end_, position_ = 0;
  uint64_t chunk_start_ = 0, chunk_end_ = 0;
  const std::byte* chunk_ = nullptr;
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
};

}  // namespace edgelm
