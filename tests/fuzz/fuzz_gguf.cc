// Any bytes, opened as a GGUF file, are either refused with an Error or hold what they claim.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "gguf/reader.h"

namespace {

namespace fs = std::filesystem;
using edgelm::GgufFile;

// A folder in memory if there is one, that goes with the process.
class Folder {
 public:
  Folder() {
    const fs::path memory = "/dev/shm";
    std::string name = ((fs::exists(memory) ? memory : fs::temp_directory_path()) / "fuzz-XXXXXX");
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  fs::path write(const char* name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path_ / name;
  }

 private:
  fs::path path_;
};

void require(bool holds) {
  if (!holds) std::abort();
}

template <class Get>
void get(Get&& read) {
  try {
    read();
  } catch (const edgelm::Error&) {  // the value has another type
  }
}

void walk(const GgufFile& file, uint64_t n_bytes) {
  for (const edgelm::GgufValue& value : file.metadata()) {
    require(file.find(value.key) == &value);
    get([&] { file.integer(value.key); });
    get([&] { file.integers(value.key); });
    get([&] { file.numbers(value.key); });
    get([&] {
      for (const std::string_view text : file.strings(value.key)) edgelm::quoted(text);
    });
  }
  for (const edgelm::GgufTensor& tensor : file.tensors()) {
    require(file.find_tensor(tensor.name) == &tensor);
    const auto rows = static_cast<uint64_t>(tensor.dims[1] * tensor.dims[2] * tensor.dims[3]);
    require(tensor.n_bytes == rows * static_cast<uint64_t>(row_bytes(tensor.type, tensor.dims[0])));
    require(tensor.part > 0 || tensor.n_bytes <= n_bytes);
    std::vector<std::byte> bytes(tensor.n_bytes);
    file.read(tensor, 0, bytes);
  }
}

}  // namespace

// The input is one file, or two parts of a split model: the first's length, then both.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (size < 2) return 0;
  const size_t length = data[0] + 256u * data[1];
  const std::string_view files = input.substr(2);
  const std::string_view first = files.substr(0, length == 0 ? files.npos : length);
  const fs::path path = folder.write("m-00001-of-00002.gguf", first);
  folder.write("m-00002-of-00002.gguf", files.substr(first.size()));
  try {
    walk(GgufFile(path), first.size());
  } catch (const edgelm::Error& error) {
    for (const char* c = error.what(); *c != 0; ++c) require(*c >= ' ' && *c < 0x7f);
  }
  return 0;
}
