#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace edgelm {

// A stretch of the text that is one token so far.
struct Symbol {
  int32_t id;            // -1: the vocabulary does not know it
  uint32_t begin, size;  // bytes of the text; size 0: merged into its left neighbour
  int32_t previous, next;
};

// What joining two neighbours would give. The lowest rank goes first, then the leftmost pair.
struct Join {
  static constexpr uint32_t kNever = 0xFFFFFFFF;
  uint32_t rank = kNever;
  int32_t id = -1;
};

// The merge core of byte-pair encoding and SentencePiece: joins the best pair of neighbours until
// none is left, in n log n steps. `find(left, right)` says what joining two symbols gives.
class Merger {
 public:
  std::vector<Symbol> symbols;

  void clear() { symbols.clear(); }
  void add(int32_t id, size_t begin, size_t size) {
    const auto index = static_cast<int32_t>(symbols.size());
    if (index > 0) symbols.back().next = index;
    symbols.push_back(
        {id, static_cast<uint32_t>(begin), static_cast<uint32_t>(size), index - 1, -1});
  }

  template <class Find>
  void run(Find&& find) {
    if (symbols.size() <= kFew) {
      run_few(find);
    } else {
      run_many(find);
    }
  }

  template <class Visit>
  void each(Visit&& visit) const {
    for (int32_t i = symbols.empty() ? -1 : 0; i >= 0; i = symbols[i].next) visit(symbols[i]);
  }

 private:
  static constexpr size_t kFew = 32;

  void join(Symbol& left, int32_t id) {
    Symbol& right = symbols[left.next];
    left.id = id;
    left.size += right.size;
    right.size = 0;
    left.next = right.next;
    if (right.next >= 0)
      symbols[right.next].previous = static_cast<int32_t>(&left - symbols.data());
  }

  // For words: a scan for the best pair costs less than a heap.
  template <class Find>
  void run_few(Find&& find) {
    Join joins[kFew];
    const auto look = [&](int32_t i) {
      const int32_t next = symbols[i].next;
      joins[i] = next < 0 ? Join{} : find(symbols[i], symbols[next]);
    };
    for (size_t i = 0; i < symbols.size(); ++i) look(static_cast<int32_t>(i));
    for (;;) {
      int32_t best = -1;
      uint32_t rank = Join::kNever;
      for (size_t i = 0; i < symbols.size(); ++i) {
        if (joins[i].rank < rank) {
          rank = joins[i].rank;
          best = static_cast<int32_t>(i);
        }
      }
      if (best < 0) return;
      Symbol& left = symbols[best];
      joins[left.next] = {};
      join(left, joins[best].id);
      look(best);
      if (left.previous >= 0) look(left.previous);
    }
  }

  // Candidates are rank * 2^32 + left: the first ones sorted, later ones in a heap. What they say
  // of a pair that has changed since is looked up anew.
  template <class Find>
  void run_many(Find&& find) {
    const auto at = [&](int32_t i) {
      const int32_t next = symbols[i].next;
      return next < 0 ? Join{} : find(symbols[i], symbols[next]);
    };
    const auto collect = [&](int32_t i, std::vector<uint64_t>& to) {
      const uint64_t rank = at(i).rank;
      if (rank == Join::kNever) return false;
      to.push_back(rank << 32 | static_cast<uint32_t>(i));
      return true;
    };
    const auto push = [&](int32_t i) {
      if (collect(i, heap_)) std::push_heap(heap_.begin(), heap_.end(), std::greater<>{});
    };
    first_.clear();
    for (size_t i = 0; i < symbols.size(); ++i) collect(static_cast<int32_t>(i), first_);
    std::sort(first_.begin(), first_.end());
    for (size_t done = 0; done < first_.size() || !heap_.empty();) {
      uint64_t best;
      if (heap_.empty() || (done < first_.size() && first_[done] < heap_.front())) {
        best = first_[done++];
      } else {
        best = heap_.front();
        std::pop_heap(heap_.begin(), heap_.end(), std::greater<>{});
        heap_.pop_back();
      }
      const auto i = static_cast<int32_t>(best & 0xFFFFFFFF);
      if (symbols[i].size == 0) continue;
      const Join found = at(i);
      if (found.rank != best >> 32) continue;
      join(symbols[i], found.id);
      push(i);
      if (symbols[i].previous >= 0) push(symbols[i].previous);
    }
  }

  std::vector<uint64_t> first_, heap_;
};

}  // namespace edgelm
