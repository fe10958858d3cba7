#include <random>
#include <vector>

#include "core/error.h"
#include "gguf/reader.h"
#include "gguf_bytes.h"
#include "testing.h"

namespace {

using edgelm::ErrorKind;
using edgelm::File;
using edgelm::GgufFile;
using edgelm::GgufTensor;
using edgelm::GgufType;
using edgelm::GgufValue;

constexpr uint32_t id(GgufType type) { return static_cast<uint32_t>(type); }

// Every kind of value and two tensors in 8-byte alignment.
std::string tiny_model() {
  GgufBytes b;
  b.header(2, 8);
  b.key("general.architecture", id(GgufType::kString)).string("llama");
  b.key("general.alignment", id(GgufType::kU32)).number<uint32_t>(8);
  b.key("llama.block_count", id(GgufType::kU64)).number<uint64_t>(uint64_t{1} << 40);
  b.key("llama.eps", id(GgufType::kF32)).number(0.5f);
  b.key("flag", id(GgufType::kBool)).number<uint8_t>(1);
  b.key("tokens", id(GgufType::kArray)).number(id(GgufType::kString)).number<uint64_t>(3);
  b.string("a").string("").string("bc");
  b.key("types", id(GgufType::kArray)).number(id(GgufType::kU16)).number<uint64_t>(2);
  b.number<uint16_t>(7).number<uint16_t>(65535);
  b.key("scores", id(GgufType::kArray)).number(id(GgufType::kF64)).number<uint64_t>(1);
  b.number(-2.5);
  b.string("vector").number<uint32_t>(1).number<int64_t>(3);
  b.number<uint32_t>(0).number<uint64_t>(0);
  b.string("matrix").number<uint32_t>(2).number<int64_t>(64).number<int64_t>(2);
  b.number<uint32_t>(8).number<uint64_t>(16);
  return b.pad(8).data(16 + 4 * 34).bytes();
}

// Reads everything that the file claims to hold.
void walk(const GgufFile& file) {
  size_t sum = 0;
  for (const GgufValue& value : file.metadata()) {
    for (const auto text : value.strings) sum += text.size() + edgelm::quoted(text).size();
    if (value.data != nullptr && value.count > 0) {
      sum += std::to_integer<size_t>(value.data[value.count - 1]);
    }
    EXPECT(file.find(value.key) == &value);
  }
  for (const GgufTensor& tensor : file.tensors()) {
    std::vector<std::byte> bytes(tensor.n_bytes);
    file.read(tensor, 0, bytes);
    EXPECT(file.find_tensor(tensor.name) == &tensor);
    const auto rows = static_cast<uint64_t>(tensor.dims[1] * tensor.dims[2] * tensor.dims[3]);
    EXPECT(tensor.n_bytes == rows * row_bytes(tensor.type, tensor.dims[0]));
  }
  EXPECT(sum > 0);
}

}  // namespace

TEST(gguf_typed_getters) {
  const TemporaryFile temporary("getters");
  temporary.write(tiny_model());
  const GgufFile file(temporary.path());
  walk(file);
  EXPECT(file.integer("llama.block_count") == int64_t{1} << 40);
  EXPECT(file.strings("tokens").size() == 3 && file.strings("tokens")[2] == "bc");
  EXPECT(file.integers("types") == (std::vector<int32_t>{7, 65535}));
  EXPECT(file.numbers("scores") == std::vector<float>{-2.5f});
  EXPECT(file.numbers("types") == (std::vector<float>{7, 65535}));

  EXPECT(!file.integer("absent") && file.strings("absent").empty());
  EXPECT_ERROR(ErrorKind::kModelFormat, file.integer("llama.eps"));
  EXPECT_ERROR(ErrorKind::kModelFormat, file.integer("types"));
  EXPECT_ERROR(ErrorKind::kModelFormat, file.strings("general.architecture"));
  EXPECT_ERROR(ErrorKind::kModelFormat, file.integers("scores"));
  EXPECT_ERROR(ErrorKind::kModelFormat, file.integers("flag"));
  EXPECT_ERROR(ErrorKind::kModelFormat, file.numbers("tokens"));
}

TEST(gguf_tensor_table) {
  const TemporaryFile temporary("tensors");
  temporary.write(tiny_model());
  const GgufFile file(temporary.path());
  const GgufTensor& matrix = *file.find_tensor("matrix");
  EXPECT(matrix.dims[0] == 64 && matrix.dims[1] == 2 && matrix.n_dims == 2);
  EXPECT(matrix.type == edgelm::QuantType::q8_0 && matrix.n_bytes == 136);
  EXPECT(file.find_tensor("vector")->n_dims == 1 && file.find_tensor("other") == nullptr);
  std::vector<std::byte> bytes(4);
  file.read(matrix, 132, bytes);
  EXPECT(bytes.front() == std::byte{16 + 132} && bytes.back() == std::byte{16 + 135});
  EXPECT_ERROR(ErrorKind::kArgument, file.read(matrix, 133, bytes));
  EXPECT_ERROR(ErrorKind::kArgument, file.read(matrix, UINT64_MAX, bytes));
}

TEST(gguf_views_survive_a_move) {
  const TemporaryFile temporary("move");
  temporary.write(tiny_model());
  GgufFile first(temporary.path());
  const GgufFile second(std::move(first));
  walk(second);
}

TEST(gguf_truncated_anywhere) {
  const TemporaryFile temporary("truncated");
  const std::string whole = tiny_model();
  for (size_t n = 0; n < whole.size(); ++n) {
    temporary.write(std::string_view(whole).substr(0, n));
    EXPECT_ERROR(ErrorKind::kModelFormat, GgufFile(temporary.path()));
  }
}

// For the sanitizers: a few thousand files with some bytes changed either open whole or throw.
TEST(gguf_mutated) {
  const TemporaryFile temporary("mutated");
  const std::string whole = tiny_model();
  std::mt19937 random(20261121);
  int opened = 0, refused = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string mutant = whole;
    for (int edits = 1 + static_cast<int>(random() % 6); edits > 0; --edits) {
      constexpr unsigned char kEdges[] = {0, 1, 0x7f, 0x80, 0xff};
      const auto byte = random() % 2 ? kEdges[random() % 5] : static_cast<unsigned char>(random());
      mutant[random() % mutant.size()] = static_cast<char>(byte);
    }
    temporary.write(mutant);
    try {
      walk(GgufFile(temporary.path()));
      ++opened;
    } catch (const edgelm::Error&) {
      ++refused;
    }
  }
  EXPECT(opened > 100 && refused > 100) << opened << " opened, " << refused << " refused";
}

TEST(file_reads_and_reports) {
  const TemporaryFile temporary("file");
  temporary.write("0123456789");
  File file(temporary.path());
  std::vector<std::byte> bytes(4);
  file.read(6, bytes);
  EXPECT(bytes[3] == std::byte{'9'});
  EXPECT_ERROR(ErrorKind::kIo, file.read(7, bytes));
  EXPECT_ERROR(ErrorKind::kIo, file.read(UINT64_MAX, bytes));
  EXPECT_ERROR(ErrorKind::kIo, File("/nonexistent/file"));
  EXPECT_ERROR(ErrorKind::kIo, File("/"));
  EXPECT_ERROR(ErrorKind::kIo, File("/dev/null"));

  File moved(std::move(file));
  moved.read(0, bytes);
  moved.check_unchanged();
  std::filesystem::resize_file(temporary.path(), 5);
  EXPECT_ERROR(ErrorKind::kIo, moved.read(3, bytes));
  EXPECT_ERROR(ErrorKind::kIo, moved.check_unchanged());
}
