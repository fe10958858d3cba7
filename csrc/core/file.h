#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "core/os.h"

namespace edgelm {

// A path's text, in UTF-8 on every system whose paths are no bytes.
std::string utf8(const std::filesystem::path& path);

// A regular file open for reading. It never maps: a file that shrinks gives an error, not a signal.
// Errors are kIo and name the path and the system's reason. Safe to read from several threads.
class File {
 public:
  explicit File(std::filesystem::path path);
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  const std::filesystem::path& path() const { return path_; }
  uint64_t n_bytes() const { return n_bytes_; }  // when it was opened

  // Fills `out` from byte `offset`; kIo if the file ends before.
  void read(uint64_t offset, std::span<std::byte> out) const;

  // Hints that these bytes are read soon, so that the system fetches them meanwhile.
  void will_read(uint64_t offset, uint64_t n_bytes) const noexcept;

  // kIo if the file's size or modification time is no longer what it was when it was opened.
  void check_unchanged() const;

 private:
  std::filesystem::path path_;
  uint64_t n_bytes_ = 0;
  int64_t modified_ns_ = 0;
  os::FileHandle handle_ = os::kNoFile;
};

}  // namespace edgelm
