#include "tokenize/pattern_parser.h"

#include "core/error.h"
#include "tokenize/unicode.h"

namespace edgelm {
namespace {

using Op = Pattern::Op;
using Class = Pattern::Class;

constexpr int kUnbounded = 0x7FFFFFFF;
constexpr int kMaxCopies = 1000;  // of a counted group

Class single(char32_t c) {
  Class of;
  of.ranges.emplace_back(c, c);
  return of;
}

Class of_categories(uint32_t mask, bool negated = false) {
  Class of;
  of.categories = negated ? ~mask : mask;
  return of;
}

// For each ASCII letter the other case, and the two characters that Unicode folds to ASCII letters.
void add_other_case(Class& of) {
  const Class given = of;
  for (char32_t c = 'a'; c <= 'z'; ++c) {
    if (!given.in_ranges(c) && !given.in_ranges(c - 32)) continue;
    of.ranges.emplace_back(c, c);
    of.ranges.emplace_back(c - 32, c - 32);
    if (c == 's') of.ranges.emplace_back(0x17F, 0x17F);    // long s
    if (c == 'k') of.ranges.emplace_back(0x212A, 0x212A);  // Kelvin
  }
}

void append(std::vector<Op>& to, const std::vector<Op>& ops) {
  to.insert(to.end(), ops.begin(), ops.end());
}

int length(const std::vector<Op>& ops) { return static_cast<int>(ops.size()); }

}  // namespace

std::vector<Op> PatternParser::parse() {
  Code code = alternation();
  if (!at_end()) bad("unbalanced )");
  code.ops.push_back({.kind = Op::kMatch});
  return std::move(code.ops);
}

PatternParser::Code PatternParser::alternation() {
  Code left = sequence();
  if (!take("|")) return left;
  const Code right = alternation();
  Code both;
  both.ops.push_back({.kind = Op::kSplit, .a = 1, .b = length(left.ops) + 2});
  append(both.ops, left.ops);
  both.ops.push_back({.kind = Op::kJump, .a = length(right.ops) + 1});
  append(both.ops, right.ops);
  both.may_be_empty = left.may_be_empty || right.may_be_empty;
  return both;
}

PatternParser::Code PatternParser::sequence() {
  Code all;
  while (!at_end() && source_[at_] != '|' && source_[at_] != ')') {
    const Code part = quantified(atom());
    append(all.ops, part.ops);
    all.may_be_empty = all.may_be_empty && part.may_be_empty;
  }
  return all;
}

PatternParser::Code PatternParser::atom() {
  if (take("(")) return group();
  if (take("[")) return one(bracket());
  if (take("$")) return {{{.kind = Op::kEnd}}};
  if (take("\\b")) return {{{.kind = Op::kBoundary}}};
  if (take(".")) {
    Class of = single('\n');
    of.negated = true;
    return one(of);
  }
  if (source_[at_] == '\\') return one(escape());
  return one(single(literal()));
}

PatternParser::Code PatternParser::group() {
  const bool outer_case = ignore_case_;
  Code code;
  if (take("?<!")) {
    Code behind = atom();
    if (behind.ops.size() != 1 || behind.ops[0].kind != Op::kOne) bad("(?<! takes one character");
    code.ops.push_back({.kind = Op::kBehind, .flag = true, .of = behind.ops[0].of});
  } else if (take("?=") || take("?!")) {
    const bool negated = source_[at_ - 1] == '!';
    const Code inner = alternation();
    code.ops.push_back({.kind = Op::kAhead, .flag = negated, .a = length(inner.ops) + 2});
    append(code.ops, inner.ops);
    code.ops.push_back({.kind = Op::kMatch});
  } else {
    if (take("?i:")) {
      ignore_case_ = true;
    } else if (!take("?:") && at_ < source_.size() && source_[at_] == '?') {
      bad("an unknown kind of group");
    }
    code = alternation();
    ignore_case_ = outer_case;
  }
  expect(")");
  return code;
}

PatternParser::Code PatternParser::quantified(Code code) {
  int min = 1, max = 1;
  if (take("?")) {
    min = 0;
  } else if (take("*")) {
    min = 0, max = kUnbounded;
  } else if (take("+")) {
    max = kUnbounded;
  } else if (take("{")) {
    min = max = number();
    if (take(",")) max = !at_end() && source_[at_] == '}' ? kUnbounded : number();
    expect("}");
    if (max < min) bad("a count that falls");
  } else {
    return code;
  }
  return repeated(code, min, max, take("+"));
}

PatternParser::Code PatternParser::repeated(const Code& code, int min, int max, bool possessive) {
  const bool may_be_empty = min == 0 || code.may_be_empty;
  if (code.ops.size() == 1 && code.ops[0].kind == Op::kOne) {
    const Op loop{.kind = Op::kLoop, .flag = possessive, .of = code.ops[0].of, .a = min, .b = max};
    return {{loop}, may_be_empty};
  }
  if (possessive) bad("a possessive group");
  if (code.may_be_empty) bad("a repeated group that may match nothing");
  const int size = length(code.ops);
  const int copies = max == kUnbounded ? min : max;
  if (copies > kMaxCopies || copies * size > kMaxCopies * 10) bad("a count that is too large");
  Code all{{}, may_be_empty};
  for (int i = 0; i < min; ++i) append(all.ops, code.ops);
  if (max == kUnbounded) {
    all.ops.push_back({.kind = Op::kSplit, .a = 1, .b = size + 2});
    append(all.ops, code.ops);
    all.ops.push_back({.kind = Op::kJump, .a = -(size + 1)});
  }
  for (int left = max == kUnbounded ? 0 : max - min; left > 0; --left) {
    all.ops.push_back({.kind = Op::kSplit, .a = 1, .b = left * (size + 1)});
    append(all.ops, code.ops);
  }
  return all;
}

Class PatternParser::bracket() {
  Class all;
  all.negated = take("^");
  while (!take("]")) {
    if (at_end()) bad("a [ without its ]");
    if (source_[at_] == '\\') {
      Class part = escape();
      if (part.ranges.empty()) {
        all.categories |= part.categories;
        continue;
      }
      all.ranges.push_back(part.ranges[0]);
    } else {
      const char32_t c = literal();
      all.ranges.emplace_back(c, c);
    }
    if (at_ + 1 < source_.size() && source_[at_] == '-' && source_[at_ + 1] != ']') {
      ++at_;
      all.ranges.back().second = source_[at_] == '\\' ? escape().ranges.at(0).first : literal();
      if (all.ranges.back().second < all.ranges.back().first) bad("a range that falls");
    }
  }
  return all;
}

Class PatternParser::escape() {
  expect("\\");
  if (at_end()) bad("a pattern that ends in a backslash");
  const char c = source_[at_++];
  switch (c) {
    case 'r':
      return single('\r');
    case 'n':
      return single('\n');
    case 't':
      return single('\t');
    case 's':
      return of_categories(unicode::kSpaceMask);
    case 'S':
      return of_categories(unicode::kSpaceMask, true);
    case 'd':
      return of_categories(unicode::bit(unicode::kNd));
    case 'p':
      return category(false);
    case 'P':
      return category(true);
    default:
      if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
        bad("an unknown escape");
      }
      --at_;
      return single(literal());
  }
}

Class PatternParser::category(bool negated) {
  expect("{");
  const size_t end = source_.find('}', at_);
  if (end == std::string_view::npos) bad("a { without its }");
  const uint32_t mask = unicode::category_mask(source_.substr(at_, end - at_));
  at_ = end + 1;
  return of_categories(mask, negated);
}

char32_t PatternParser::literal() {
  if (source_[at_] == '*' || source_[at_] == '+' || source_[at_] == '?') {
    if (at_ == 0 || source_[at_ - 1] == '(' || source_[at_ - 1] == '|') bad("nothing to repeat");
  }
  return unicode::next(source_, at_);
}

int PatternParser::number() {
  int value = 0;
  const size_t start = at_;
  for (; !at_end() && source_[at_] >= '0' && source_[at_] <= '9'; ++at_) {
    value = value * 10 + (source_[at_] - '0');
    if (value > kMaxCopies) bad("a count that is too large");
  }
  if (at_ == start) bad("a count without a number");
  return value;
}

PatternParser::Code PatternParser::one(Class of) {
  if (ignore_case_) add_other_case(of);
  of.index_ascii();
  check(classes_.size() < 0xFFFF, "pattern: too many classes");
  classes_.push_back(std::move(of));
  return {{{.kind = Op::kOne, .of = static_cast<uint16_t>(classes_.size() - 1)}}, false};
}

bool PatternParser::take(std::string_view text) {
  if (source_.substr(at_, text.size()) != text) return false;
  at_ += text.size();
  return true;
}

void PatternParser::expect(std::string_view text) {
  if (!take(text)) bad("something else than was expected");
}

void PatternParser::bad(std::string_view why) const {
  fail(ErrorKind::kArgument, "pattern '", source_, "' has ", why, " at byte ", at_);
}

}  // namespace edgelm
