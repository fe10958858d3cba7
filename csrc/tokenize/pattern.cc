#include "tokenize/pattern.h"

#include <algorithm>

#include "core/error.h"
#include "tokenize/pattern_parser.h"
#include "tokenize/unicode.h"

namespace edgelm {
namespace {

// A place to go back to: op `pc` at `at`, and for a loop also at every character down to `low`.
struct Retry {
  size_t pc, at, low;
};

// Shared by the nested runs of lookaheads; kept between calls so that matching allocates nothing.
thread_local std::vector<Retry> retries;

}  // namespace

bool Pattern::Class::in_ranges(char32_t c) const {
  return std::ranges::any_of(ranges, [c](const auto& r) { return r.first <= c && c <= r.second; });
}

bool Pattern::Class::has(char32_t c) const {
  return ((categories >> unicode::category(c) & 1) || in_ranges(c)) != negated;
}

void Pattern::Class::index_ascii() {
  for (char32_t c = 0; c < 0x80; ++c) {
    if (has(c)) ascii[c >> 6] |= uint64_t{1} << (c & 63);
  }
}

Pattern::Pattern(std::string_view source) {
  PatternParser parser(source);
  code_ = parser.parse();
  classes_ = parser.take_classes();
  std::vector<bool> seen(code_.size());
  index_first(0, seen);
}

// Collects what the ops reachable without consuming anything may begin with.
void Pattern::index_first(size_t pc, std::vector<bool>& seen) {
  for (;;) {
    if (seen[pc]) return;
    seen[pc] = true;
    const Op& op = code_[pc];
    switch (op.kind) {
      case Op::kOne:
      case Op::kLoop:
        for (int i : {0, 1}) first_[i] |= classes_[op.of].ascii[i];
        if (op.kind == Op::kOne || op.a > 0) return;
        ++pc;
        break;
      case Op::kSplit:
        index_first(pc + op.b, seen);
        pc += op.a;
        break;
      case Op::kJump:
      case Op::kAhead:
        pc += op.a;
        break;
      case Op::kBehind:
      case Op::kEnd:
      case Op::kBoundary:
        ++pc;
        break;
      case Op::kMatch:
        return;  // an empty match splits nothing
    }
  }
}

size_t Pattern::after(std::string_view text, size_t at) {
  unicode::next(text, at);
  return at;
}

bool Pattern::step(std::string_view text, size_t& at, const Class& of) const {
  if (at >= text.size()) return false;
  const auto byte = static_cast<uint8_t>(text[at]);
  if (byte < 0x80) {
    if (!(of.ascii[byte >> 6] >> (byte & 63) & 1)) return false;
    ++at;
    return true;
  }
  size_t end = at;
  if (!of.has(unicode::next(text, end))) return false;
  at = end;
  return true;
}

size_t Pattern::match(std::string_view text, size_t at) const { return run(text, at, 0); }

size_t Pattern::run(std::string_view text, size_t at, size_t pc) const {
  const size_t base = retries.size();
  const auto before = [&](size_t end) {
    do --end;
    while (end > 0 && unicode::is_continuation(text[end]));
    return end;
  };
  const auto is_word = [&](size_t i) {
    constexpr uint32_t kWord =
        unicode::bit(unicode::kNd) | unicode::bit(unicode::kNl) | unicode::bit(unicode::kPc);
    static const uint32_t mask = kWord | unicode::category_mask("L") | unicode::category_mask("M");
    if (i >= text.size()) return false;
    const char32_t c = unicode::next(text, i);
    const bool is_joiner = c == 0x200C || c == 0x200D;
    const bool is_enclosed_letter =
        (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
        (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
    return (mask >> unicode::category(c) & 1) || is_joiner || is_enclosed_letter;
  };
  for (;;) {
    const Op& op = code_[pc];
    bool holds = true;
    switch (op.kind) {
      case Op::kOne:
        holds = step(text, at, classes_[op.of]);
        break;
      case Op::kLoop: {
        const Class& of = classes_[op.of];
        int32_t count = 0;
        while (count < op.a && step(text, at, of)) ++count;
        holds = count == op.a;
        if (!holds) break;
        const size_t low = at;
        while (count < op.b && step(text, at, of)) ++count;
        if (at > low && !op.flag) retries.push_back({pc + 1, at, low});
        break;
      }
      case Op::kSplit:
        retries.push_back({pc + op.b, at, at});
        pc += op.a;
        continue;
      case Op::kJump:
        pc += op.a;
        continue;
      case Op::kAhead:
        holds = (run(text, at, pc + 1) == kNone) == op.flag;
        if (!holds) break;
        pc += op.a;
        continue;
      case Op::kBehind: {
        size_t previous = at == 0 ? 0 : before(at);
        holds = (at > 0 && step(text, previous, classes_[op.of])) != op.flag;
        break;
      }
      case Op::kEnd:
        holds = at == text.size();
        break;
      case Op::kBoundary:
        holds = (at > 0 && is_word(before(at))) != is_word(at);
        break;
      case Op::kMatch:
        retries.resize(base);
        return at;
    }
    if (holds) {
      ++pc;
      continue;
    }
    if (retries.size() == base) return kNone;
    Retry& retry = retries.back();
    pc = retry.pc;
    if (retry.low == retry.at) {  // of a split
      at = retry.at;
      retries.pop_back();
      continue;
    }
    at = retry.at = before(retry.at);
    if (at <= retry.low) {
      at = retry.low;
      retries.pop_back();
    }
  }
}

}  // namespace edgelm
