#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "quant/quant.h"

namespace edgelm {

// Metadata types with their ids in the file. Source: the GGUF specification, versions 2 and 3.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

// One metadata value. It points into the header that its GgufFile keeps in memory.
struct GgufValue {
  std::string_view key;
  GgufType type;  // of the elements if it is an array; never kArray
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
  int n_dims;       // 1 to 4
  int64_t dims[4];  // as in the file: dims[0] is a row's width; 1 from n_dims on
  int part;         // which file of a split model
  uint64_t offset;  // from the start of that file
  uint64_t n_bytes;
};

// One file's header. Views point into `chunks` and `string_runs`, which do not move with it.
struct GgufHeader {
  uint32_t version = 0;
  uint64_t alignment = 32;
  std::vector<GgufValue> metadata;
  std::vector<GgufTensor> tensors;
  std::vector<std::string> remarks;  // what is odd but harmless; a few of them
  std::vector<std::unique_ptr<std::byte[]>> chunks;
  std::vector<std::vector<std::string_view>> string_runs;
};

GgufHeader read_gguf_header(const File& file, int part);

const char* name_of(GgufType type);

// Quoted for a message: at most 64 bytes, with everything but printable ASCII escaped, since it may
// come from a hostile file and go to a terminal.
std::string quoted(std::string_view text);

}  // namespace edgelm
