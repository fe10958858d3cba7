#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

// A GGUF file built piece by piece in memory.
class GgufBytes {
 public:
  template <class T>
  GgufBytes& number(T value) {
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    bytes_.append(bytes, sizeof value);
    return *this;
  }
  GgufBytes& string(std::string_view text) {
    number<uint64_t>(text.size());
    bytes_ += text;
    return *this;
  }
  GgufBytes& key(std::string_view name, uint32_t type) { return string(name).number(type); }
  GgufBytes& header(uint64_t n_tensors, uint64_t n_values) {
    bytes_ = "GGUF";
    return number<uint32_t>(3).number(n_tensors).number(n_values);
  }
  GgufBytes& pad(size_t alignment) {
    bytes_.append((alignment - bytes_.size() % alignment) % alignment, '\0');
    return *this;
  }
  GgufBytes& data(size_t n) {
    for (size_t i = 0; i < n; ++i) bytes_ += static_cast<char>(i);
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// A file of its own name that is removed at the end of the scope.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view name)
      : path_(std::filesystem::temp_directory_path() /
              ("edgelm-test-" + std::to_string(std::hash<std::string_view>{}(name)) + "-" +
               std::to_string(reinterpret_cast<uintptr_t>(this)) + ".gguf")) {}
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void write(std::string_view bytes) const {
    std::filesystem::remove(path_);  // rewriting in place makes some file systems flush
    std::ofstream(path_, std::ios::binary).write(bytes.data(), static_cast<long>(bytes.size()));
  }

 private:
  std::filesystem::path path_;
};
