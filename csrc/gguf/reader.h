#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/file.h"
#include "quant/quant.h"

namespace edgelm {

// Metadata types with their ids in the file. Source: the GGUF specification, versions 2 and 3.
enum class GgufType : uint32_t {
  kU8 = 0, kI8 = 1, kU16 = 2, kI16 = 3, kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7,
  kString = 8, kArray = 9, kU64 = 10, kI64 = 11, kF64 = 12,
};

// One metadata value. It points into the header that its GgufFile keeps in memory.
struct GgufValue {
  std::string_view key;
  GgufType type;                              // of the elements if it is an array; never kArray
  bool is_array;
  uint64_t count;                             // 1 unless it is an array
  const std::byte* data;                      // count numbers, little-endian, unaligned
  std::span<const std::string_view> strings;  // count strings if the type is kString
};

// One row of the tensor table: sizes, bounds and overlaps are checked, so n_bytes bytes lie at
// `offset` of the part's file.
struct GgufTensor {
  std::string_view name;
  QuantType type;
  int n_dims;        // 1 to 4
  int64_t dims[4];   // as in the file: dims[0] is a row's width; 1 from n_dims on
  int part;          // which file of a split model
  uint64_t offset;   // from the start of that file
  uint64_t n_bytes;

  int64_t k() const { return dims[0]; }
  int64_t n() const { return dims[1] * dims[2] * dims[3]; }  // rows, all experts counted
};

// The parsed header of a GGUF model, all parts of a split one together, with their files open.
//
// Every size is checked against the file before anything is allocated for it. Damaged files throw
// kModelFormat, sound ones that edgelm has no use for kUnsupportedModel, unreadable ones kIo.
class GgufFile {
 public:
  explicit GgufFile(const std::filesystem::path& path);
  GgufFile(GgufFile&&) = default;
  GgufFile& operator=(GgufFile&&) = default;

  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }
  uint64_t n_bytes() const;  // of all parts
  std::span<const File> parts() const { return parts_; }

  std::span<const GgufValue> metadata() const { return metadata_; }  // in the file's order
  const GgufValue* find(std::string_view key) const;                 // null if absent

  // Typed access. Absent keys give nullopt or an empty result; a value of another type, or one that
  // does not fit, throws kModelFormat. Integers of every width convert; f64 becomes float.
  std::optional<int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string_view> string(std::string_view key) const;
  std::span<const std::string_view> strings(std::string_view key) const;  // views of the header
  std::vector<int32_t> integers(std::string_view key) const;
  std::vector<float> numbers(std::string_view key) const;

  std::span<const GgufTensor> tensors() const { return tensors_; }   // part by part, file order
  const GgufTensor* find_tensor(std::string_view name) const;        // null if absent

  // Fills `out` with the tensor's raw bytes from its byte `start` on.
  void read(const GgufTensor& tensor, uint64_t start, std::span<std::byte> out) const;

 private:
  struct Part;
  void join(Part part);

  uint32_t version_ = 0;
  uint64_t alignment_ = 0;
  std::vector<File> parts_;
  std::vector<std::vector<std::byte>> headers_;            // what all views point into
  std::vector<std::vector<std::string_view>> string_runs_;  // what GgufValue::strings point into
  std::vector<GgufValue> metadata_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, size_t> value_index_, tensor_index_;
};

}  // namespace edgelm
