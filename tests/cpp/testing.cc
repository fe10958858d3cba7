#include "testing.h"

#include <cstdio>
#include <cstring>

namespace edgelm::testing {
namespace {
int failures = 0;
}

std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

Expectation::Expectation(bool holds, const char* text, const char* file, int line) : holds_(holds) {
  if (!holds_) message_ << file << ":" << line << ": expected " << text << ". ";
}

Expectation::~Expectation() {
  if (holds_) return;
  ++failures;
  std::fprintf(stderr, "  %s\n", message_.str().c_str());
}

}  // namespace edgelm::testing

int main(int argc, char** argv) {
  using edgelm::testing::tests;
  int passed = 0, failed = 0;
  for (const auto& test : tests()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    const int before = edgelm::testing::failures;
    try {
      test.body();
    } catch (const std::exception& error) {
      ++edgelm::testing::failures;
      std::fprintf(stderr, "  %s threw: %s\n", test.name, error.what());
    }
    const bool ok = edgelm::testing::failures == before;
    ++(ok ? passed : failed);
    std::printf("%s %s\n", ok ? "ok  " : "FAIL", test.name);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}
