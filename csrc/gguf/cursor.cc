#include "gguf/cursor.h"

#include <algorithm>
#include <bit>

#include "core/error.h"

namespace edgelm {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF numbers are read in place");

constexpr uint64_t kChunkBytes = uint64_t{1} << 20;
// The largest vocabularies need about 30 MiB; a sparse file may claim terabytes.
constexpr uint64_t kMaxHeaderBytes = uint64_t{256} << 20;

}  // namespace

GgufCursor::GgufCursor(const File& file)
    : file_(file), end_(std::min(file.n_bytes(), kMaxHeaderBytes)) {}

uint64_t GgufCursor::count(uint64_t least_bytes, const char* what) {
  const auto n = number<uint64_t>(what);
  if (n <= remaining() / least_bytes) return n;
  fail(ErrorKind::kModelFormat, file_name(), ": ", what, " is ", n, " at byte ", position_ - 8,
       ", more than ", file_.n_bytes() > kMaxHeaderBytes ? "a header may" : "the file can",
       " hold in ", end_,
       " bytes. It is damaged or incomplete; fetch it again and compare its "
       "SHA-256.");
}

void GgufCursor::next_chunk(uint64_t n, const char* what) {
  if (n > remaining()) fail_end(n, what);
  const uint64_t size = std::min(std::max(n, kChunkBytes), remaining());
  chunks_.emplace_back(new std::byte[size]);  // not cleared: the read fills it
  file_.read(position_, {chunks_.back().get(), size});
  chunk_ = chunks_.back().get();
  chunk_start_ = position_;
  chunk_end_ = position_ + size;
}

void GgufCursor::fail_end(uint64_t n, const char* what) const {
  if (file_.n_bytes() > kMaxHeaderBytes && n <= file_.n_bytes() - position_) {
    fail(ErrorKind::kModelFormat, file_name(), ": the header is longer than ",
         kMaxHeaderBytes >> 20, " MiB: ", what, " needs ", n, " bytes at byte ", position_);
  }
  fail(ErrorKind::kModelFormat, file_name(), ": ", what, " needs ", n, " bytes at byte ", position_,
       " but the file ends at byte ", file_.n_bytes(),
       ". The download is probably incomplete; fetch it again and compare its SHA-256.");
}

}  // namespace edgelm
