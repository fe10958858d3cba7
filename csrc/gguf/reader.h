#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "gguf/header.h"

namespace edgelm {

// The parsed header of a GGUF model, all parts of a split one together, with their files open.
//
// Every size is checked against the file before anything is allocated for it. Damaged files throw
// kModelFormat, sound ones that edgelm has no use for kUnsupportedModel, unreadable ones kIo.
class GgufFile {
 public:
  explicit GgufFile(const std::filesystem::path& path);

  uint32_t version() const { return headers_[0].version; }
  uint64_t alignment() const { return headers_[0].alignment; }
  uint64_t n_bytes() const;  // of all parts
  std::span<const File> parts() const { return parts_; }

  // What is odd about the first part, but does no harm: lines for a warning.
  std::span<const std::string> remarks() const { return headers_[0].remarks; }

  // Of the first part, in the file's order.
  std::span<const GgufValue> metadata() const { return headers_[0].metadata; }
  const GgufValue* find(std::string_view key) const;  // null if absent

  // Typed access. Absent keys give nullopt or an empty result; a value of another type, or one that
  // does not fit, throws kModelFormat. Integers of every width convert; f64 becomes float.
  std::optional<int64_t> integer(std::string_view key) const;
  std::span<const std::string_view> strings(std::string_view key) const;  // views of the header
  std::vector<int32_t> integers(std::string_view key) const;
  std::vector<float> numbers(std::string_view key) const;

  std::span<const GgufTensor> tensors() const { return tensors_; }  // part by part, file order
  const GgufTensor* find_tensor(std::string_view name) const;       // null if absent

  // Fills `out` with the tensor's raw bytes from its byte `start` on.
  void read(const GgufTensor& tensor, uint64_t start, std::span<std::byte> out) const;

 private:
  void open_part(const std::filesystem::path& path);
  void open_other_parts();
  void check_not_joined() const;
  template <class... Parts>
  [[noreturn]] void damaged(const Parts&... parts) const;
  [[noreturn]] void wrong_type(const GgufValue& value, const char* wanted) const;

  std::vector<File> parts_;
  std::vector<GgufHeader> headers_;  // a part; all views point into them
  std::vector<GgufTensor> tensors_;
  // Positions sorted by name: no hash that a hostile file could make collide.
  std::vector<uint32_t> values_by_key_, tensors_by_name_;
};

}  // namespace edgelm
