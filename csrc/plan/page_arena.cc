#include "plan/page_arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

#ifndef MAP_NORESERVE  // Linux counts no swap for such a mapping; others never do
#define MAP_NORESERVE 0
#endif

namespace edgelm {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 46;  // of the 2^47 addresses of a process
constexpr size_t kMaxPages = size_t{1} << 24;  // of 64 tokens; their tables are real memory

size_t round_to_system_pages(size_t bytes) {
  const auto system_page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return (bytes + system_page - 1) / system_page * system_page;
}

}  // namespace

PageArena::PageArena(size_t page_bytes, size_t n_pages)
    : page_bytes_(round_to_system_pages(page_bytes)) {
  void* base = MAP_FAILED;
  if (n_pages <= std::min(kMaxPages, kMaxBytes / page_bytes_)) {
    base = mmap(nullptr, page_bytes_ * n_pages, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  if (base == MAP_FAILED) {
    fail(ErrorKind::kMemory, "the KV cache cannot reserve the addresses of ", n_pages, " pages of ",
         page_bytes_, " bytes; use a smaller n_ctx or n_parallel");
  }
  base_ = static_cast<uint8_t*>(base);
  owners_.resize(n_pages);
  free_.reserve(n_pages);
}

PageArena::PageArena(PageArena&& other) noexcept
    : page_bytes_(other.page_bytes_),
      base_(std::exchange(other.base_, nullptr)),
      owners_(std::move(other.owners_)),
      free_(std::move(other.free_)),
      accessible_(other.accessible_),
      n_used_(other.n_used_) {}

PageArena::~PageArena() {
  if (base_ != nullptr) munmap(base_, page_bytes_ * owners_.size());
}

uint8_t* PageArena::acquire() {
  size_t i = accessible_;
  if (!free_.empty()) {
    i = free_.back();
    free_.pop_back();
  } else {
    if (i == owners_.size()) {
      fail(ErrorKind::kCacheFull, "all ", i, " pages of the KV cache are in use");
    }
    if (mprotect(base_ + i * page_bytes_, page_bytes_, PROT_READ | PROT_WRITE) != 0) {
      fail(ErrorKind::kMemory, "the system has no memory for another ", page_bytes_,
           " bytes of KV cache beyond ", committed_bytes(), ": ", std::strerror(errno));
    }
    ++accessible_;
  }
  owners_[i] = 1;
  ++n_used_;
  return base_ + i * page_bytes_;
}

void PageArena::release(uint8_t* page) noexcept {
  const size_t i = index(page);
  if (--owners_[i] > 0) return;
  // The addresses stay; the next touch finds zeros. Only Linux's MADV_DONTNEED returns memory at
  // once.
#ifdef __linux__
  madvise(page, page_bytes_, MADV_DONTNEED);
#else
  madvise(page, page_bytes_, MADV_FREE);
#endif
  free_.push_back(static_cast<uint32_t>(i));
  --n_used_;
}

}  // namespace edgelm
