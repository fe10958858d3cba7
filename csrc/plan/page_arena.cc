#include "plan/page_arena.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/os.h"

namespace edgelm {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 46;  // of the 2^47 addresses of a process
constexpr size_t kMaxPages = size_t{1} << 24;  // of 64 tokens; their tables are real memory

size_t round_to_system_pages(size_t bytes) {
  const size_t system_page = os::page_bytes();
  return (bytes + system_page - 1) / system_page * system_page;
}

}  // namespace

PageArena::PageArena(size_t page_bytes, size_t n_pages)
    : page_bytes_(round_to_system_pages(page_bytes)) {
  void* base = nullptr;
  if (n_pages <= std::min(kMaxPages, kMaxBytes / page_bytes_)) {
    base = os::reserve(page_bytes_ * n_pages);
  }
  if (base == nullptr) {
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
      n_touched_(other.n_touched_),
      n_used_(other.n_used_) {}

PageArena::~PageArena() {
  if (base_ != nullptr) os::release(base_, page_bytes_ * owners_.size());
}

uint8_t* PageArena::acquire() {
  const size_t i = free_.empty() ? n_touched_ : free_.back();
  if (i == owners_.size()) {
    fail(ErrorKind::kCacheFull, "all ", i, " pages of the KV cache are in use");
  }
  if (!os::commit(base_ + i * page_bytes_, page_bytes_)) {
    fail(ErrorKind::kMemory, "the system has no memory for another ", page_bytes_,
         " bytes of KV cache beyond ", committed_bytes(), ": ", os::last_error());
  }
  if (free_.empty()) {
    ++n_touched_;
  } else {
    free_.pop_back();
  }
  owners_[i] = 1;
  ++n_used_;
  return base_ + i * page_bytes_;
}

void PageArena::release(uint8_t* page) noexcept {
  if (page == nullptr) return;
  const size_t i = index(page);
  if (--owners_[i] > 0) return;
  os::decommit(page, page_bytes_);
  free_.push_back(static_cast<uint32_t>(i));
  --n_used_;
}

}  // namespace edgelm
