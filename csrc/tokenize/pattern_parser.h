#pragma once

#include <string_view>
#include <vector>

#include "tokenize/pattern.h"

namespace edgelm {

// Compiles a pattern's source to code for Pattern::run.
class PatternParser {
 public:
  explicit PatternParser(std::string_view source) : source_(source) {}

  std::vector<Pattern::Op> parse();
  std::vector<Pattern::Class> take_classes() { return std::move(classes_); }

 private:
  using Op = Pattern::Op;
  using Class = Pattern::Class;
  struct Code {
    std::vector<Op> ops;
    bool may_be_empty = true;
  };

  Code alternation();
  Code sequence();
  Code atom();
  Code group();
  Code quantified(Code code);
  Code repeated(const Code& code, int min, int max, bool possessive);

  Class bracket();
  Class escape();
  Class category(bool negated);
  char32_t literal();
  int number();
  Code one(Class of);

  bool at_end() const { return at_ == source_.size(); }
  bool take(std::string_view text);
  void expect(std::string_view text);
  [[noreturn]] void bad(std::string_view why) const;

  std::string_view source_;
  size_t at_ = 0;
  bool ignore_case_ = false;
  std::vector<Class> classes_;
};

}  // namespace edgelm
