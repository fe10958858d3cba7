#include "gguf/header.h"

#include <algorithm>
#include <array>
#include <bit>
#include <sstream>

#include "core/error.h"
#include "gguf/cursor.h"

namespace edgelm {
namespace {

constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;
constexpr uint64_t kMaxKeyBytes = 65535;  // by the specification, as are the next two
constexpr uint64_t kMaxTensorNameBytes = 64;
constexpr uint32_t kMaxDims = 4;

// Bytes of one value of a fixed-width type; 0 for the others.
constexpr uint64_t width(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

// Tensor types that GGUF knows or knew and edgelm has no kernels for, to name them in errors.
// Source: ggml_type in ggml.h.
struct ForeignType {
  uint32_t id;
  const char* name;
};
constexpr ForeignType kForeignTypes[] = {
    {4, "Q4_2 (removed)"},
    {5, "Q4_3 (removed)"},
    {9, "Q8_1"},
    {15, "Q8_K"},
    {16, "IQ2_XXS"},
    {17, "IQ2_XS"},
    {18, "IQ3_XXS"},
    {19, "IQ1_S"},
    {21, "IQ3_S"},
    {22, "IQ2_S"},
    {24, "I8"},
    {25, "I16"},
    {26, "I32"},
    {27, "I64"},
    {28, "F64"},
    {29, "IQ1_M"},
    {31, "Q4_0_4_4 (removed)"},
    {32, "Q4_0_4_8 (removed)"},
    {33, "Q4_0_8_8 (removed)"},
    {34, "TQ1_0"},
    {35, "TQ2_0"},
    {36, "IQ4_NL_4_4 (removed)"},
    {37, "IQ4_NL_4_8 (removed)"},
    {38, "IQ4_NL_8_8 (removed)"},
    {40, "NVFP4"},
    {41, "Q1_0"},
};

constexpr size_t kMaxRemarks = 4;  // a damaged file must not fill the terminal

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

bool has_controls(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; });
}

class HeaderReader {
 public:
  HeaderReader(const File& file, int part) : file_(file), part_(part), cursor_(file) {}

  GgufHeader read() {
    read_magic();
    const uint64_t n_tensors = cursor_.count(1, "the number of tensors");
    const uint64_t n_values = cursor_.count(1, "the number of metadata values");
    for (uint64_t i = 0; i < n_values; ++i) read_value();
    for (uint64_t i = 0; i < n_tensors; ++i) read_tensor();
    place_tensors();
    header_.chunks = std::move(cursor_).chunks();
    return std::move(header_);
  }

 private:
  template <class... Parts>
  [[noreturn]] void damaged(const Parts&... parts) const {
    fail(ErrorKind::kModelFormat, cursor_.file_name(), ": ", parts...);
  }
  template <class... Parts>
  [[noreturn]] void unsupported(const Parts&... parts) const {
    fail(ErrorKind::kUnsupportedModel, cursor_.file_name(), ": ", parts...);
  }

  template <class... Parts>
  void remark(const Parts&... parts) {
    if (header_.remarks.size() == kMaxRemarks) return;
    std::ostringstream text;
    text << cursor_.file_name() << ": ";
    (text << ... << parts);
    header_.remarks.push_back(text.str());
  }

  void read_magic() {
    if (file_.n_bytes() == 0) damaged("the file is empty. Fetch it again.");
    const std::string_view magic(reinterpret_cast<const char*>(cursor_.take(4, "the magic")), 4);
    if (magic != "GGUF") damaged("not a GGUF file: it begins with ", quoted(magic));
    header_.version = cursor_.number<uint32_t>("the version");
    if (header_.version == 2 || header_.version == 3) return;
    if (header_.version == 1) {
      unsupported("GGUF version 1, from before October 2023. Convert the model again.");
    }
    if ((header_.version & 0xffff) == 0) {
      unsupported("a big-endian GGUF file. Convert it with gguf_convert_endian.");
    }
    unsupported("GGUF version ", header_.version, "; edgelm reads versions 2 and 3.");
  }

  GgufType read_type(std::string_view key) {
    const auto id = cursor_.number<uint32_t>("a metadata type");
    if (id > static_cast<uint32_t>(GgufType::kF64)) {
      damaged("metadata ", quoted(key), " has the unknown type ", id, "; known are 0 to 12.");
    }
    return static_cast<GgufType>(id);
  }

  void read_value() {
    const std::string_view key = cursor_.string("a metadata key");
    if (key.empty() || key.size() > kMaxKeyBytes || has_controls(key)) {
      damaged("metadata key ", quoted(key), " of ", key.size(), " bytes: keys are 1 to ",
              kMaxKeyBytes, " bytes without control characters.");
    }
    if (!is_ascii(key)) remark("metadata key ", quoted(key), " is no ASCII, as keys have to be.");
    GgufValue value{key, read_type(key), false, 1, nullptr, {}};
    if (value.type == GgufType::kArray) {
      value.is_array = true;
      value.type = read_type(key);
      if (value.type == GgufType::kArray) {
        unsupported("metadata ", quoted(key), " is an array of arrays.");
      }
      value.count = cursor_.count(std::max<uint64_t>(width(value.type), 1), "an array's length");
    }
    if (value.type == GgufType::kString) {
      value.strings = read_strings(value.count);
    } else {
      value.data = cursor_.take(value.count * width(value.type), "a metadata value");
    }
    if (value.type == GgufType::kBool) check_bools(value);
    if (key == "general.alignment") read_alignment(value);
    header_.metadata.push_back(value);
  }

  std::span<const std::string_view> read_strings(uint64_t count) {
    if (count > cursor_.remaining() / sizeof(uint64_t)) {
      cursor_.fail_end(count * sizeof(uint64_t), "an array of strings");
    }
    auto& run = header_.string_runs.emplace_back();
    run.reserve(count);
    for (uint64_t i = 0; i < count; ++i) run.push_back(cursor_.string("a metadata string"));
    return run;
  }

  void check_bools(const GgufValue& value) {
    const auto* end = value.data + value.count;
    const auto* odd = std::find_if(value.data, end, [](std::byte b) { return b > std::byte{1}; });
    if (odd == end) return;
    remark("metadata ", quoted(value.key), " holds a bool of value ", std::to_integer<int>(*odd),
           ", which is taken for true.");
  }

  void read_alignment(const GgufValue& value) {
    if (value.type != GgufType::kU32 || value.is_array) {
      damaged("general.alignment must be a u32, but is ", name_of(value.type),
              value.is_array ? " array" : "", ".");
    }
    uint32_t alignment;
    std::memcpy(&alignment, value.data, sizeof alignment);
    if (!std::has_single_bit(alignment) || alignment > kMaxAlignment) {
      damaged("general.alignment is ", alignment, "; it must be a power of two up to ",
              kMaxAlignment, ".");
    }
    header_.alignment = alignment;
  }

  void read_tensor() {
    GgufTensor tensor{};
    tensor.name = cursor_.string("a tensor's name");
    if (tensor.name.empty() || tensor.name.size() > kMaxTensorNameBytes || !is_ascii(tensor.name) ||
        has_controls(tensor.name)) {
      damaged("tensor name ", quoted(tensor.name), " of ", tensor.name.size(),
              " bytes: names are 1 to ", kMaxTensorNameBytes, " printable ASCII characters.");
    }
    const auto n_dims = cursor_.number<uint32_t>("a tensor's number of dimensions");
    if (n_dims == 0 || n_dims > kMaxDims) {
      damaged("tensor ", quoted(tensor.name), " has ", n_dims, " dimensions; 1 to ", kMaxDims,
              " are possible.");
    }
    tensor.n_dims = static_cast<int>(n_dims);
    std::fill_n(tensor.dims, kMaxDims, 1);
    for (uint32_t i = 0; i < n_dims; ++i) tensor.dims[i] = cursor_.number<int64_t>("a dimension");
    tensor.type = read_tensor_type(tensor.name);
    tensor.n_bytes = tensor_bytes(tensor);
    tensor.part = part_;
    tensor.offset = cursor_.number<uint64_t>("a tensor's offset");
    header_.tensors.push_back(tensor);
  }

  QuantType read_tensor_type(std::string_view tensor) {
    const auto id = cursor_.number<uint32_t>("a tensor's type");
    for (int i = 0; i < kQuantCount; ++i) {
      if (static_cast<uint32_t>(kQuants[i].gguf_id) == id) return static_cast<QuantType>(i);
    }
    std::string known;
    for (const QuantInfo& quant : kQuants)
      known += std::string(known.empty() ? "" : ", ") + quant.name;
    for (const ForeignType& foreign : kForeignTypes) {
      if (foreign.id == id) {
        unsupported("tensor ", quoted(tensor), " has the type ", foreign.name,
                    ", which edgelm cannot run. Known types: ", known, ".");
      }
    }
    unsupported("tensor ", quoted(tensor), " has the unknown type ", id, ". Known types: ", known,
                ".");
  }

  uint64_t tensor_bytes(const GgufTensor& tensor) const {
    const QuantInfo& quant = info(tensor.type);
    // Bytes of the rows so far; the product stays below 2^63 and so does each dimension's.
    uint64_t bytes = static_cast<uint64_t>(quant.block_bytes);
    for (int i = 0; i < tensor.n_dims; ++i) {
      const int64_t dim = tensor.dims[i];
      if (dim <= 0) {
        damaged("tensor ", quoted(tensor.name), ": dimension ", i, " is ", dim, ".");
      }
      if (i == 0 && dim % quant.block != 0) {
        damaged("tensor ", quoted(tensor.name), " of type ", quant.name, " has rows of ", dim,
                " weights, no multiple of its block of ", quant.block, ".");
      }
      const auto factor = static_cast<uint64_t>(i == 0 ? dim / quant.block : dim);
      if (factor > file_.n_bytes() / bytes) {
        damaged("tensor ", quoted(tensor.name), " is larger than the file's ", file_.n_bytes(),
                " bytes. The download is probably incomplete; fetch it again and compare its "
                "SHA-256.");
      }
      bytes *= factor;
    }
    return bytes;
  }

  // Turns offsets into the data section to offsets into the file, and checks where they lie.
  void place_tensors() {
    const uint64_t mask = header_.alignment - 1;
    const uint64_t start = (cursor_.position() + mask) & ~mask;
    std::vector<const GgufTensor*> by_offset;
    by_offset.reserve(header_.tensors.size());
    for (GgufTensor& tensor : header_.tensors) {
      if ((tensor.offset & mask) != 0) {
        damaged("tensor ", quoted(tensor.name), " has the offset ", tensor.offset,
                ", no multiple of the alignment ", header_.alignment, ".");
      }
      const uint64_t room = file_.n_bytes() > start ? file_.n_bytes() - start : 0;
      if (tensor.offset > room || tensor.n_bytes > room - tensor.offset) {
        damaged("tensor ", quoted(tensor.name), " of ", tensor.n_bytes, " bytes at offset ",
                tensor.offset, " of the data at byte ", start, " runs past the file's end at byte ",
                file_.n_bytes(),
                ". The download is probably incomplete; fetch it again and compare its SHA-256.");
      }
      tensor.offset += start;
      by_offset.push_back(&tensor);
    }
    std::sort(by_offset.begin(), by_offset.end(),
              [](const auto* a, const auto* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < by_offset.size(); ++i) {
      const GgufTensor &a = *by_offset[i - 1], &b = *by_offset[i];
      if (a.offset + a.n_bytes > b.offset) {
        damaged("tensors ", quoted(a.name), " and ", quoted(b.name), " overlap at byte ", b.offset,
                ".");
      }
    }
  }

  const File& file_;
  const int part_;
  GgufCursor cursor_;
  GgufHeader header_;
};

}  // namespace

GgufHeader read_gguf_header(const File& file, int part) { return HeaderReader(file, part).read(); }

const char* name_of(GgufType type) {
  constexpr std::array names{"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                             "bool", "string", "array", "u64", "i64", "f64"};
  return names[static_cast<size_t>(type)];
}

std::string quoted(std::string_view text) {
  constexpr size_t kShown = 64;
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "'";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out + (text.size() > kShown ? "...'" : "'");
}

}  // namespace edgelm
