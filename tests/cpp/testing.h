#pragma once

#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

// A test is TEST(name) { ... EXPECT(condition) << "why"; }. The binary runs all, or those whose
// name contains its first argument, and exits 1 if one failed.
namespace edgelm::testing {

struct Test {
  const char* name;
  std::function<void()> body;
};

std::vector<Test>& tests();

// Records a failure when it goes out of scope, with what was streamed into it.
class Expectation {
 public:
  Expectation(bool holds, const char* text, const char* file, int line);
  ~Expectation();
  template <class T>
  Expectation& operator<<(const T& part) {
    if (!holds_) message_ << part;
    return *this;
  }

 private:
  bool holds_;
  std::ostringstream message_;
};

}  // namespace edgelm::testing

#define TEST(name)                                                      \
  static void test_##name();                                            \
  static const bool registered_##name =                                 \
      (edgelm::testing::tests().push_back({#name, test_##name}), true); \
  static void test_##name()

#define EXPECT(condition) edgelm::testing::Expectation((condition), #condition, __FILE__, __LINE__)

// The statement must throw edgelm::Error of that kind.
#define EXPECT_ERROR(kind_wanted, statement)                                            \
  do {                                                                                  \
    bool caught = false;                                                                \
    try {                                                                               \
      statement;                                                                        \
    } catch (const edgelm::Error& error) {                                              \
      caught = true;                                                                    \
      EXPECT(error.kind() == (kind_wanted)) << "wrong kind of error: " << error.what(); \
    }                                                                                   \
    EXPECT(caught) << #statement << " threw nothing";                                   \
  } while (false)
