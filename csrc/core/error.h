#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace edgelm {

// Each kind becomes one Python exception class in the bindings (csrc/bind/bind_errors.cc).
enum class ErrorKind {
  kArgument,          // ValueError
  kModelFormat,       // ModelFormatError: the file is damaged or lies about itself
  kUnsupportedModel,  // UnsupportedModelError: a sound file that edgelm cannot run
  kCacheFull,         // CacheFullError
  kBusy,              // Busy: one plan run twice at once
  kLogits,            // LogitsError: NaN or infinity where a token is chosen
  kIo,                // OSError
  kMemory,            // MemoryError
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& what) : std::runtime_error(what), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

template <class... Parts>
[[noreturn]] void fail(ErrorKind kind, const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw Error(kind, text.str());
}

// Throws ValueError's kind with the parts as its message unless `holds`.
template <class... Parts>
void check(bool holds, const Parts&... parts) {
  if (!holds) fail(ErrorKind::kArgument, parts...);
}

}  // namespace edgelm
