#include "core/file.h"

#include <utility>

#include "core/error.h"

namespace edgelm {
namespace {

[[noreturn]] void fail_system(const std::filesystem::path& path, const char* what,
                              const std::string& reason = os::last_error()) {
  fail(ErrorKind::kIo, utf8(path), ": ", what, ": ", reason);
}

}  // namespace

std::string utf8(const std::filesystem::path& path) {
  const std::u8string text = path.u8string();
  return {text.begin(), text.end()};
}

File::File(std::filesystem::path path) : path_(std::move(path)), handle_(os::open_file(path_)) {
  if (handle_ == os::kNoFile) fail_system(path_, "cannot open");
  os::FileStatus status;
  const bool known = os::file_status(handle_, status);
  if (!known || !status.regular) {
    const std::string reason = known ? "not a regular file" : os::last_error();
    os::close_file(std::exchange(handle_, os::kNoFile));
    fail_system(path_, "cannot read", reason);
  }
  n_bytes_ = status.n_bytes;
  modified_ns_ = status.modified_ns;
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)),
      n_bytes_(other.n_bytes_),
      modified_ns_(other.modified_ns_),
      handle_(std::exchange(other.handle_, os::kNoFile)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(n_bytes_, other.n_bytes_);
  std::swap(modified_ns_, other.modified_ns_);
  std::swap(handle_, other.handle_);
  return *this;
}

File::~File() {
  if (handle_ != os::kNoFile) os::close_file(handle_);
}

void File::read(uint64_t offset, std::span<std::byte> out) const {
  if (offset > n_bytes_ || out.size() > n_bytes_ - offset) {
    fail(ErrorKind::kIo, utf8(path_), ": cannot read ", out.size(), " bytes at byte ", offset,
         ": the file has ", n_bytes_);
  }
  while (!out.empty()) {
    const int64_t n = os::read_file(handle_, offset, out.data(), out.size());
    if (n < 0) fail_system(path_, "cannot read");
    if (n == 0) {
      fail(ErrorKind::kIo, utf8(path_), ": the file shrank while it was read: it had ", n_bytes_,
           " bytes when it was opened and ends at byte ", offset, " now");
    }
    offset += static_cast<uint64_t>(n);
    out = out.subspan(static_cast<size_t>(n));
  }
}

void File::will_read(uint64_t offset, uint64_t n_bytes) const noexcept {
  os::will_read(handle_, offset, n_bytes);
}

void File::check_unchanged() const {
  os::FileStatus status;
  if (!os::file_status(handle_, status)) fail_system(path_, "cannot read");
  if (status.n_bytes != n_bytes_ || status.modified_ns != modified_ns_) {
    fail(ErrorKind::kIo, utf8(path_), ": the file changed while it was read; load it again");
  }
}

}  // namespace edgelm
