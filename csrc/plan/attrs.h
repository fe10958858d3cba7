#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <variant>

#include "kernels/table.h"

namespace edgelm {

using Attr = std::variant<bool, int64_t, double, std::string>;

// The named constants of one Graph::add. Reading a missing one without a fallback, one of another
// type or one out of range throws kArgument; so does finish() if some were never read.
class Attrs {
 public:
  Attrs() = default;
  explicit Attrs(std::map<std::string, Attr, std::less<>> values) : values_(std::move(values)) {}

  float number(std::string_view name) const;  // finite
  float number(std::string_view name, float fallback) const;
  int integer(std::string_view name, int min, int max) const;
  int integer(std::string_view name, int min, int max, int fallback) const;
  bool boolean(std::string_view name, bool fallback) const;
  std::string string(std::string_view name, std::string_view fallback) const;
  GluKind glu_kind(std::string_view name) const;  // "silu", "gelu", "gelu_tanh", "relu", ...

  void finish() const;

 private:
  const Attr* find(std::string_view name) const;
  std::map<std::string, Attr, std::less<>> values_;
  mutable std::set<std::string, std::less<>> read_;
};

}  // namespace edgelm
