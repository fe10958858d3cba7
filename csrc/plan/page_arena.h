#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace edgelm {

// Pages of one size at fixed addresses, shared by reference counts. Addresses are reserved up
// front; a page takes memory from its first acquire() on and gives it back when its last owner lets
// go.
class PageArena {
 public:
  PageArena(size_t page_bytes, size_t n_pages);  // throws kMemory
  ~PageArena();
  PageArena(PageArena&& other) noexcept;
  PageArena(const PageArena&) = delete;

  uint8_t* acquire();  // a page with one owner, its content unspecified; throws kMemory
  void share(const uint8_t* page) { ++owners_[index(page)]; }
  bool shared(const uint8_t* page) const { return owners_[index(page)] > 1; }
  void release(uint8_t* page) noexcept;  // null is fine

  size_t page_bytes() const { return page_bytes_; }  // a multiple of the system's pages
  size_t reserved_bytes() const { return page_bytes_ * owners_.size(); }
  size_t committed_bytes() const { return page_bytes_ * n_used_; }

 private:
  size_t index(const uint8_t* page) const {
    return static_cast<size_t>(page - base_) / page_bytes_;
  }

  size_t page_bytes_;
  uint8_t* base_ = nullptr;
  std::vector<int32_t> owners_;
  std::vector<uint32_t> free_;  // among the first n_touched_ pages, the last freed last
  size_t n_touched_ = 0;        // pages that were ever used
  size_t n_used_ = 0;
};

}  // namespace edgelm
