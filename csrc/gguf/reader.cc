#include "gguf/reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <numeric>
#include <type_traits>
#include <utility>

#include "core/error.h"

namespace edgelm {
namespace {

namespace fs = std::filesystem;

template <class T>
T load(const std::byte* data) {
  T value;
  std::memcpy(&value, data, sizeof value);
  return value;
}

// Calls visit(number) with element i in its own type. Strings are no numbers: false.
template <class Visit>
bool visit_number(const GgufValue& value, uint64_t i, Visit visit) {
  switch (value.type) {
    case GgufType::kU8:
      return visit(load<uint8_t>(value.data + i)), true;
    case GgufType::kI8:
      return visit(load<int8_t>(value.data + i)), true;
    case GgufType::kU16:
      return visit(load<uint16_t>(value.data + 2 * i)), true;
    case GgufType::kI16:
      return visit(load<int16_t>(value.data + 2 * i)), true;
    case GgufType::kU32:
      return visit(load<uint32_t>(value.data + 4 * i)), true;
    case GgufType::kI32:
      return visit(load<int32_t>(value.data + 4 * i)), true;
    case GgufType::kF32:
      return visit(load<float>(value.data + 4 * i)), true;
    case GgufType::kU64:
      return visit(load<uint64_t>(value.data + 8 * i)), true;
    case GgufType::kI64:
      return visit(load<int64_t>(value.data + 8 * i)), true;
    case GgufType::kF64:
      return visit(load<double>(value.data + 8 * i)), true;
    case GgufType::kBool:
    case GgufType::kString:
    case GgufType::kArray:
      return false;
  }
  return false;
}

// Element i as an integer in [min, max], or nullopt.
std::optional<int64_t> integer_at(const GgufValue& value, uint64_t i, int64_t min, int64_t max) {
  std::optional<int64_t> result;
  visit_number(value, i, [&](auto number) {
    if constexpr (std::is_integral_v<decltype(number)>) {
      if (std::cmp_greater_equal(number, min) && std::cmp_less_equal(number, max)) {
        result = static_cast<int64_t>(number);
      }
    }
  });
  return result;
}

std::string describe(const GgufValue& value) {
  std::string text = name_of(value.type);
  if (value.is_array) return "an array of " + std::to_string(value.count) + " " + text;
  if (value.type == GgufType::kString) return "the string " + quoted(value.strings[0]);
  visit_number(value, 0, [&](auto number) { text += " " + std::to_string(number); });
  return text;
}

// How llama.cpp's gguf-split ends the names of a split model's files; parts count from 1 there.
std::string part_suffix(int64_t number, int64_t count) {
  char text[64];
  std::snprintf(text, sizeof text, "-%05lld-of-%05lld.gguf", static_cast<long long>(number),
                static_cast<long long>(count));
  return text;
}

constexpr int64_t kMinInteger = std::numeric_limits<int64_t>::min();
constexpr int64_t kMaxInteger = std::numeric_limits<int64_t>::max();

std::optional<int64_t> find_integer(const GgufHeader& header, std::string_view key) {
  for (const GgufValue& value : header.metadata) {
    if (value.key == key && !value.is_array) return integer_at(value, 0, kMinInteger, kMaxInteger);
  }
  return std::nullopt;
}

// Positions of `items` sorted by name; two of one name are an error.
template <class Item, class Name>
std::vector<uint32_t> sorted_by(std::span<const Item> items, Name name, const char* what,
                                const File& file) {
  std::vector<uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return name(items[a]) < name(items[b]); });
  const auto twin = std::adjacent_find(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return name(items[a]) == name(items[b]);
  });
  if (twin != order.end()) {
    fail(ErrorKind::kModelFormat, utf8(file.path().filename()), ": ", what, " ",
         quoted(name(items[*twin])), " occurs twice.");
  }
  return order;
}

template <class Item, class Name>
const Item* lookup(std::span<const Item> items, const std::vector<uint32_t>& order,
                   std::string_view wanted, Name name) {
  const auto at =
      std::lower_bound(order.begin(), order.end(), wanted,
                       [&](uint32_t i, std::string_view value) { return name(items[i]) < value; });
  return at != order.end() && name(items[*at]) == wanted ? &items[*at] : nullptr;
}

constexpr auto kKeyOf = [](const GgufValue& value) { return value.key; };
constexpr auto kNameOf = [](const GgufTensor& tensor) { return tensor.name; };

}  // namespace

GgufFile::GgufFile(const fs::path& path) {
  open_part(path);
  values_by_key_ = sorted_by(metadata(), kKeyOf, "metadata", parts_[0]);
  open_other_parts();
  tensors_by_name_ = sorted_by(tensors(), kNameOf, "tensor", parts_[0]);
}

void GgufFile::open_part(const fs::path& path) {
  parts_.emplace_back(path);
  headers_.push_back(read_gguf_header(parts_.back(), static_cast<int>(parts_.size()) - 1));
  const auto& tensors = headers_.back().tensors;
  tensors_.insert(tensors_.end(), tensors.begin(), tensors.end());
}

// Every part repeats split.no and split.count; the other metadata stands in the first.
// Source: llama.cpp's gguf-split.
void GgufFile::open_other_parts() {
  const int64_t count = integer("split.count").value_or(1);
  const int64_t number = integer("split.no").value_or(0);
  if (count == 0 || count == 1) return;  // whole, or joined by gguf-split: it leaves split.no
  if (count < 0 || count > 99999 || number < 0 || number >= count) {
    damaged("split.no ", number, " and split.count ", count, " contradict each other.");
  }
  check_not_joined();
  const fs::path first = parts_[0].path();
  const std::string name = utf8(first.filename()), suffix = part_suffix(number + 1, count);
  if (!name.ends_with(suffix)) {
    damaged("this is part ", number + 1, " of ", count,
            " of a split model, so its name must end with ", suffix,
            ". Give the parts their names back.");
  }
  const std::string stem = name.substr(0, name.size() - suffix.size());
  if (number != 0) {
    damaged("this is part ", number + 1, " of ", count, ". Open the first, ",
            stem + part_suffix(1, count), "; the others are found beside it.");
  }
  for (int64_t i = 1; i < count; ++i) {
    const std::string part = stem + part_suffix(i + 1, count);
    open_part(first.parent_path() / std::u8string(part.begin(), part.end()));
    const int64_t part_number = find_integer(headers_.back(), "split.no").value_or(-1);
    const int64_t part_count = find_integer(headers_.back(), "split.count").value_or(-1);
    if (part_number != i || part_count != count) {
      damaged("expected part ", i + 1, " of ", count, " in ", part, " but it says split.no ",
              part_number, ", split.count ", part_count, ".");
    }
  }
  const auto total = integer("split.tensors.count");
  if (total && *total != static_cast<int64_t>(tensors_.size())) {
    damaged("split.tensors.count is ", *total, " but the ", count, " parts hold ", tensors_.size(),
            " tensors. They are not parts of one model.");
  }
}

// Parts are files of their own: `cat` puts the second's magic where the first's data ends.
void GgufFile::check_not_joined() const {
  uint64_t end = 0;
  for (const GgufTensor& tensor : tensors_) end = std::max(end, tensor.offset + tensor.n_bytes);
  const uint64_t mask = alignment() - 1;
  for (const uint64_t at : {end, (end + mask) & ~mask}) {
    std::array<std::byte, 4> magic;
    if (tensors_.empty() || n_bytes() < magic.size() || at > n_bytes() - magic.size()) continue;
    parts_[0].read(at, magic);
    if (std::memcmp(magic.data(), "GGUF", magic.size()) == 0) {
      damaged("the parts of a split model were joined by bytes: another begins at byte ", at,
              ". Keep the parts as they were, beside each other, and open the first; or join them "
              "with llama.cpp's gguf-split --merge.");
    }
  }
}

template <class... Parts>
void GgufFile::damaged(const Parts&... parts) const {
  fail(ErrorKind::kModelFormat, utf8(parts_[0].path().filename()), ": ", parts...);
}

uint64_t GgufFile::n_bytes() const {
  uint64_t sum = 0;
  for (const File& part : parts_) sum += part.n_bytes();
  return sum;
}

const GgufValue* GgufFile::find(std::string_view key) const {
  return lookup(metadata(), values_by_key_, key, kKeyOf);
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  return lookup(tensors(), tensors_by_name_, name, kNameOf);
}

void GgufFile::wrong_type(const GgufValue& value, const char* wanted) const {
  damaged("metadata ", quoted(value.key), " must be ", wanted, " but is ", describe(value), ".");
}

std::optional<int64_t> GgufFile::integer(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto result =
      value->is_array ? std::nullopt : integer_at(*value, 0, kMinInteger, kMaxInteger);
  if (!result) wrong_type(*value, "an integer below 2^63");
  return result;
}

std::span<const std::string_view> GgufFile::strings(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array || value->type != GgufType::kString)
    wrong_type(*value, "an array of strings");
  return value->strings;
}

std::vector<int32_t> GgufFile::integers(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return {};
  constexpr const char* kWanted = "an array of integers below 2^31";
  if (!value->is_array) wrong_type(*value, kWanted);
  std::vector<int32_t> result(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto number = integer_at(*value, i, std::numeric_limits<int32_t>::min(),
                                   std::numeric_limits<int32_t>::max());
    if (!number) wrong_type(*value, kWanted);
    result[i] = static_cast<int32_t>(*number);
  }
  return result;
}

std::vector<float> GgufFile::numbers(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array) wrong_type(*value, "an array of numbers");
  std::vector<float> result(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto convert = [&](auto number) { result[i] = static_cast<float>(number); };
    if (!visit_number(*value, i, convert)) wrong_type(*value, "an array of numbers");
  }
  return result;
}

void GgufFile::read(const GgufTensor& tensor, uint64_t start, std::span<std::byte> out) const {
  check(start <= tensor.n_bytes && out.size() <= tensor.n_bytes - start, "tensor ",
        quoted(tensor.name), " has ", tensor.n_bytes, " bytes; cannot read ", out.size(),
        " at its byte ", start);
  parts_[static_cast<size_t>(tensor.part)].read(tensor.offset + start, out);
}

}  // namespace edgelm
