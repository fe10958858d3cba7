#include "plan/graph.h"

#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "testing.h"

using namespace edgelm;

namespace {

std::shared_ptr<Weight> weight(std::vector<int> shape) {
  auto made = std::make_shared<Weight>();
  made->name = std::string("w");
  made->shape = std::move(shape);
  return made;
}

Attrs attrs(std::map<std::string, Attr, std::less<>> values) { return Attrs(std::move(values)); }

struct Tiny {
  Graph graph;
  int tokens = graph.input("tokens");
  int x = graph.add("embed", {tokens}, {weight({100, 64})}, {});
};

std::string message(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST(shapes_are_inferred) {
  Tiny t;
  EXPECT((t.graph.type(t.x).shape == Shape{Axis::kTokens, {64}}));
  const int q = t.graph.add("linear", {t.x}, {weight({48, 64}), nullptr}, {});
  const int heads = t.graph.add("heads", {q}, {}, attrs({{"width", int64_t{16}}}));
  EXPECT((t.graph.type(heads).shape == Shape{Axis::kTokens, {3, 16}}));
  const int rows = t.graph.add("rows", {t.x}, {}, {});
  EXPECT((t.graph.type(rows).shape == Shape{Axis::kRows, {64}}));
  const int part =
      t.graph.add("slice", {q}, {}, attrs({{"start", int64_t{16}}, {"width", int64_t{32}}}));
  EXPECT(t.graph.type(part).view_offset == 16);
}

TEST(wrong_shapes_are_named) {
  Tiny t;
  const std::string text =
      message([&] { t.graph.add("linear", {t.x}, {weight({48, 32}), nullptr}, {}); });
  EXPECT(text.find("linear") != std::string::npos && text.find("(T, 64)") != std::string::npos &&
         text.find("(48, 32)") != std::string::npos)
      << text;
  const int y = t.graph.add("linear", {t.x}, {weight({48, 64}), nullptr}, {});
  const int r = t.graph.add("rows", {t.x}, {}, {});
  const auto rejects = [&](const char* op, std::vector<int> inputs,
                           std::vector<std::shared_ptr<const Weight>> weights, const Attrs& a) {
    EXPECT_ERROR(ErrorKind::kArgument, t.graph.add(op, inputs, weights, a));
  };
  rejects("add", {t.x, y}, {}, {});
  rejects("add", {t.x, r}, {}, {});
  rejects("add", {t.x}, {}, {});
  rejects("add", {t.x, 99}, {}, {});
  rejects("add", {t.tokens, t.x}, {}, {});
  rejects("rows", {r}, {}, {});
  rejects("embed", {t.x}, {weight({100, 64})}, {});
  rejects("embed", {t.tokens}, {nullptr}, {});
  rejects("linear", {t.x}, {weight({48, 64}), weight({47})}, {});
  rejects("rms_norm", {t.x}, {weight({32})}, attrs({{"eps", 1e-5}}));
  rejects("rms_norm", {t.x}, {nullptr}, {});
  rejects("heads", {t.x}, {}, attrs({{"width", int64_t{24}}}));
  rejects("slice", {t.x}, {}, attrs({{"start", int64_t{60}}, {"width", int64_t{5}}}));
  rejects("rope", {t.x, t.graph.input("positions")}, {weight({8})}, {});
  rejects("nonsense", {t.x}, {}, {});
}

TEST(attributes_are_checked) {
  Tiny t;
  const auto rejects = [&](const char* op, const Attrs& a) {
    EXPECT_ERROR(ErrorKind::kArgument, t.graph.add(op, {t.x}, {}, a));
  };
  rejects("scale", {});
  rejects("scale", attrs({{"factor", std::string("2")}}));
  rejects("scale", attrs({{"factor", 1e300}}));
  rejects("scale", attrs({{"factor", 2.0}, {"factr", 2.0}}));
  rejects("activation", attrs({{"kind", std::string("swish")}}));
  rejects("softcap", attrs({{"cap", 0.0}}));
  EXPECT(t.graph.add("scale", {t.x}, {}, attrs({{"factor", int64_t{2}}})) > 0);
}

TEST(outputs_are_checked) {
  Tiny t;
  EXPECT_ERROR(ErrorKind::kArgument, t.graph.output("ids", t.tokens));
  EXPECT_ERROR(ErrorKind::kArgument, t.graph.output("none", 77));
  t.graph.output("logits", t.x);
  EXPECT_ERROR(ErrorKind::kArgument, t.graph.output("logits", t.x));
  EXPECT_ERROR(ErrorKind::kArgument, t.graph.input("sequences"));
}
