#include "core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace edgelm {
namespace {

[[noreturn]] void fail_errno(const std::filesystem::path& path, const char* what, int number) {
  fail(ErrorKind::kIo, path.string(), ": ", what, ": ", std::strerror(number));
}

int64_t modified_ns(const struct stat& status) {
#ifdef __APPLE__
  const timespec& time = status.st_mtimespec;
#else
  const timespec& time = status.st_mtim;
#endif
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

File::File(std::filesystem::path path) : path_(std::move(path)) {
  do {
    // Not blocking: opening a named pipe must not wait for its writer.
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (descriptor_ < 0 && errno == EINTR);
  if (descriptor_ < 0) fail_errno(path_, "cannot open", errno);
  struct stat status;
  const bool known = ::fstat(descriptor_, &status) == 0;
  const int number = known ? (S_ISDIR(status.st_mode) ? EISDIR : 0) : errno;
  if (number != 0 || !S_ISREG(status.st_mode)) {
    ::close(std::exchange(descriptor_, -1));
    if (number != 0) fail_errno(path_, "cannot read", number);
    fail(ErrorKind::kIo, path_.string(), ": cannot read: not a regular file");
  }
  n_bytes_ = static_cast<uint64_t>(status.st_size);
  modified_ns_ = modified_ns(status);
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)),
      n_bytes_(other.n_bytes_),
      modified_ns_(other.modified_ns_),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(n_bytes_, other.n_bytes_);
  std::swap(modified_ns_, other.modified_ns_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void File::read(uint64_t offset, std::span<std::byte> out) const {
  if (offset > n_bytes_ || out.size() > n_bytes_ - offset) {
    fail(ErrorKind::kIo, path_.string(), ": cannot read ", out.size(), " bytes at byte ", offset,
         ": the file has ", n_bytes_);
  }
  while (!out.empty()) {
    const ssize_t n = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(path_, "cannot read", errno);
    if (n == 0) {
      fail(ErrorKind::kIo, path_.string(), ": the file shrank while it was read: it had ", n_bytes_,
           " bytes when it was opened and ends at byte ", offset, " now");
    }
    offset += static_cast<uint64_t>(n);
    out = out.subspan(static_cast<size_t>(n));
  }
}

void File::will_read([[maybe_unused]] uint64_t offset,
                     [[maybe_unused]] uint64_t n_bytes) const noexcept {
#ifdef POSIX_FADV_WILLNEED
  ::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(n_bytes),
                  POSIX_FADV_WILLNEED);
#endif
}

void File::check_unchanged() const {
  struct stat status;
  if (::fstat(descriptor_, &status) != 0) fail_errno(path_, "cannot read", errno);
  if (static_cast<uint64_t>(status.st_size) != n_bytes_ || modified_ns(status) != modified_ns_) {
    fail(ErrorKind::kIo, path_.string(), ": the file changed while it was read; load it again");
  }
}

}  // namespace edgelm
