#include "plan/attrs.h"

#include <cmath>

#include "core/error.h"

namespace edgelm {
namespace {

struct NamedKind {
  const char* name;
  GluKind kind;
};
constexpr NamedKind kGluKinds[] = {
    {"silu", GluKind::kSilu},          {"gelu", GluKind::kGelu},
    {"gelu_tanh", GluKind::kGeluTanh}, {"relu", GluKind::kRelu},
    {"relu2", GluKind::kRelu2},        {"sigmoid", GluKind::kSigmoid},
    {"tanh", GluKind::kTanh},          {"quick_gelu", GluKind::kQuickGelu},
};

float finite(std::string_view name, const Attr& value) {
  double number = 0;
  if (const auto* real = std::get_if<double>(&value)) {
    number = *real;
  } else if (const auto* integer = std::get_if<int64_t>(&value)) {
    number = static_cast<double>(*integer);
  } else {
    fail(ErrorKind::kArgument, "attribute '", name, "' must be a number");
  }
  const auto single = static_cast<float>(number);
  check(std::isfinite(single), "attribute '", name, "' is ", number, ", not a finite float32");
  return single;
}

int in_range(std::string_view name, const Attr& value, int min, int max) {
  const auto* integer = std::get_if<int64_t>(&value);
  check(integer != nullptr, "attribute '", name, "' must be an integer");
  check(*integer >= min && *integer <= max, "attribute '", name, "' is ", *integer, ", expected ",
        min, " to ", max);
  return static_cast<int>(*integer);
}

}  // namespace

const Attr* Attrs::find(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) return nullptr;
  read_.emplace(name);
  return &found->second;
}

float Attrs::number(std::string_view name) const {
  const Attr* value = find(name);
  check(value != nullptr, "attribute '", name, "' is missing");
  return finite(name, *value);
}

float Attrs::number(std::string_view name, float fallback) const {
  const Attr* value = find(name);
  return value == nullptr ? fallback : finite(name, *value);
}

int Attrs::integer(std::string_view name, int min, int max) const {
  const Attr* value = find(name);
  check(value != nullptr, "attribute '", name, "' is missing");
  return in_range(name, *value, min, max);
}

int Attrs::integer(std::string_view name, int min, int max, int fallback) const {
  const Attr* value = find(name);
  return value == nullptr ? fallback : in_range(name, *value, min, max);
}

bool Attrs::boolean(std::string_view name, bool fallback) const {
  const Attr* value = find(name);
  if (value == nullptr) return fallback;
  const auto* flag = std::get_if<bool>(value);
  check(flag != nullptr, "attribute '", name, "' must be True or False");
  return *flag;
}

std::string Attrs::string(std::string_view name, std::string_view fallback) const {
  const Attr* value = find(name);
  if (value == nullptr) return std::string(fallback);
  const auto* text = std::get_if<std::string>(value);
  check(text != nullptr, "attribute '", name, "' must be a string");
  return *text;
}

GluKind Attrs::glu_kind(std::string_view name) const {
  const std::string text = string(name, "");
  std::string known;
  for (const auto& [kind_name, kind] : kGluKinds) {
    if (text == kind_name) return kind;
    if (!known.empty()) known += ", ";
    known += kind_name;
  }
  fail(ErrorKind::kArgument, "attribute '", name, "' is '", text, "', expected one of ", known);
}

void Attrs::finish() const {
  for (const auto& [name, value] : values_) {
    check(read_.contains(name), "unknown attribute '", name, "'");
  }
}

}  // namespace edgelm
