#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

// What edgelm asks of an operating system, in one form for all: os_posix.cc and os_windows.cc.
namespace edgelm::os {

size_t page_bytes();  // of the system's memory: 4, 16 or 64 KiB
uint64_t physical_bytes();
uint64_t address_limit();  // bytes of addresses that this process may have; 0: no limit
int64_t process_id();

// The system's reason for the last call that failed on this thread.
std::string last_error();

// --- memory ---

// Zeroed memory, on huge pages if it is large and the system has them; null if there is none.
void* allocate(size_t bytes) noexcept;

// Addresses without memory, which may be neither read nor written; null if there are none.
void* reserve(size_t bytes) noexcept;
// Makes whole pages of a reserved range usable, also again after decommit; false if the system has
// no memory for them. Their content is unspecified.
bool commit(void* pages, size_t bytes) noexcept;
// Gives the memory of committed pages back and keeps the addresses.
void decommit(void* pages, size_t bytes) noexcept;

// Ends what allocate or reserve returned.
void release(void* start, size_t bytes) noexcept;

// --- files ---

using FileHandle = intptr_t;
inline constexpr FileHandle kNoFile = -1;

struct FileStatus {
  bool regular = false;
  uint64_t n_bytes = 0;
  int64_t modified_ns = 0;  // since an epoch of the system's
};

// For reading, not inherited by other programs. Never waits, not even for the writer of a pipe.
FileHandle open_file(const std::filesystem::path& path) noexcept;  // kNoFile: see last_error()
void close_file(FileHandle file) noexcept;
bool file_status(FileHandle file, FileStatus& status) noexcept;  // false: see last_error()
// Reads at most n_bytes from byte `offset`, without a position that threads would share: how many
// were read, 0 at the file's end, -1 for a failure.
int64_t read_file(FileHandle file, uint64_t offset, void* out, size_t n_bytes) noexcept;
// Hints that these bytes are read soon.
void will_read(FileHandle file, uint64_t offset, uint64_t n_bytes) noexcept;

}  // namespace edgelm::os
