#ifndef _WIN32

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

#include "core/os.h"

#ifndef MAP_NORESERVE  // Linux counts no swap for such a mapping; others never do
#define MAP_NORESERVE 0
#endif

namespace edgelm::os {
namespace {

void* map(size_t bytes, int protection, int flags) noexcept {
  void* start = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  return start == MAP_FAILED ? nullptr : start;
}

}  // namespace

size_t page_bytes() {
  static const auto bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

uint64_t physical_bytes() {
#ifdef __APPLE__
  uint64_t bytes = 0;
  size_t size = sizeof bytes;
  sysctlbyname("hw.memsize", &bytes, &size, nullptr, 0);
  return bytes;
#else
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * page_bytes();
#endif
}

uint64_t address_limit() {
  rlimit limit{};
  const bool limited = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  return limited ? static_cast<uint64_t>(limit.rlim_cur) : 0;
}

int64_t process_id() { return getpid(); }

std::string last_error() { return std::generic_category().message(errno); }

void* allocate(size_t bytes) noexcept {
  void* start = map(bytes, PROT_READ | PROT_WRITE, 0);
#ifdef MADV_HUGEPAGE
  constexpr size_t kLarge = 8 << 20;  // several huge pages of 2 MiB
  // Only advice: a kernel without huge pages gives ordinary ones.
  if (start != nullptr && bytes >= kLarge) madvise(start, bytes, MADV_HUGEPAGE);
#endif
  return start;
}

void* reserve(size_t bytes) noexcept { return map(bytes, PROT_NONE, MAP_NORESERVE); }

bool commit(void* pages, size_t bytes) noexcept {
  return mprotect(pages, bytes, PROT_READ | PROT_WRITE) == 0;
}

void decommit(void* pages, size_t bytes) noexcept {
#ifdef __linux__  // whose MADV_DONTNEED returns the memory at once
  madvise(pages, bytes, MADV_DONTNEED);
#else
  madvise(pages, bytes, MADV_FREE);
#endif
}

void release(void* start, size_t bytes) noexcept { munmap(start, bytes); }

FileHandle open_file(const std::filesystem::path& path) noexcept {
  int file;
  do {
    file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (file < 0 && errno == EINTR);
  return file;
}

void close_file(FileHandle file) noexcept { ::close(static_cast<int>(file)); }

bool file_status(FileHandle file, FileStatus& status) noexcept {
  struct stat seen;
  if (::fstat(static_cast<int>(file), &seen) != 0) return false;
  if (S_ISDIR(seen.st_mode)) {
    errno = EISDIR;  // the better reason
    return false;
  }
#ifdef __APPLE__
  const timespec& time = seen.st_mtimespec;
#else
  const timespec& time = seen.st_mtim;
#endif
  status.regular = S_ISREG(seen.st_mode);
  status.n_bytes = static_cast<uint64_t>(seen.st_size);
  status.modified_ns = static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
  return true;
}

int64_t read_file(FileHandle file, uint64_t offset, void* out, size_t n_bytes) noexcept {
  constexpr size_t kMost = 1 << 30;  // macOS refuses 2 GiB and more at once
  ssize_t n;
  do {
    n = ::pread(static_cast<int>(file), out, std::min(n_bytes, kMost), static_cast<off_t>(offset));
  } while (n < 0 && errno == EINTR);
  return n;
}

void will_read([[maybe_unused]] FileHandle file, [[maybe_unused]] uint64_t offset,
               [[maybe_unused]] uint64_t n_bytes) noexcept {
#ifdef POSIX_FADV_WILLNEED
  ::posix_fadvise(static_cast<int>(file), static_cast<off_t>(offset), static_cast<off_t>(n_bytes),
                  POSIX_FADV_WILLNEED);
#endif
}

}  // namespace edgelm::os

#endif
