// A small llama with constant weights, run on 1 to 4 threads in both regimes. The results must have
// the same bits; under the thread sanitizer a missing barrier is a reported race.
#include "plan/plan.h"

#include <cstring>
#include <random>

#include "core/error.h"
#include "plan/kv_cache.h"
#include "testing.h"

using namespace edgelm;

namespace {

constexpr int kWidth = 80, kHeads = 5, kHeadWidth = 16, kFf = 112, kVocab = 70;
constexpr int kExperts = 5;

class Builder {
 public:
  std::shared_ptr<const Graph> build() {
    const int tokens = graph_.input("tokens");
    positions_ = graph_.input("positions");
    const auto table = weight({kVocab, kWidth});
    const auto inv_freq = weight({kHeadWidth / 2});
    int x = add("embed", {tokens}, {table});
    for (int layer = 0; layer < 2; ++layer) {
      const int h = norm(x);
      const int q = rope(heads(linear(h, kHeads * kHeadWidth)), inv_freq);
      const int k = rope(heads(linear(h, kHeadWidth)), inv_freq);
      const int v = heads(linear(h, kHeadWidth));
      const int kv = add("kv", {k, v}, {}, {{"layer", int64_t{layer}}});
      const int a = add("attention", {q, kv}, {nullptr}, {{"scale", 0.25}});
      x = add("add", {x, linear(a, kWidth)}, {});
      const int fused = linear(norm(x), 2 * kFf);
      const int gate = slice(fused, 0), up = slice(fused, kFf);
      const int hidden = add("gated", {gate, up}, {}, {{"kind", std::string("silu")}});
      x = add("add", {x, linear(hidden, kWidth)}, {});
      const int mixed = add("moe", {norm(x)},
                            {weight({kExperts, kWidth}), weight({kExperts, kFf, kWidth}),
                             weight({kExperts, kFf, kWidth}), weight({kExperts, kWidth, kFf})},
                            {{"top_k", int64_t{2}}, {"kind", std::string("gelu")}});
      x = add("add", {x, mixed}, {});
    }
    const int last = norm(add("rows", {x}, {}));
    graph_.output("logits", add("linear", {last}, {table, nullptr}));
    graph_.output("hidden", last);
    return std::make_shared<const Graph>(graph_);
  }

 private:
  using Values = std::map<std::string, Attr, std::less<>>;

  std::shared_ptr<const Weight> weight(std::vector<int> shape) {
    auto made = std::make_shared<Weight>();
    made->name = "constant";
    made->shape = std::move(shape);
    size_t n = 1;
    for (const int axis : made->shape) n *= static_cast<size_t>(axis);
    std::normal_distribution<float> normal(0, 0.1F);
    for (size_t i = 0; i < n; ++i) made->constant.push_back(normal(random_));
    return made;
  }
  int add(const char* op, std::vector<int> inputs,
          std::vector<std::shared_ptr<const Weight>> weights, Values attrs = {}) {
    return graph_.add(op, std::move(inputs), std::move(weights), Attrs(std::move(attrs)));
  }
  int linear(int x, int n) {
    return add("linear", {x}, {weight({n, graph_.type(x).shape.row_width()}), weight({n})});
  }
  int norm(int x) { return add("rms_norm", {x}, {weight({kWidth})}, {{"eps", 1e-5}}); }
  int heads(int x) { return add("heads", {x}, {}, {{"width", int64_t{kHeadWidth}}}); }
  int rope(int x, const std::shared_ptr<const Weight>& inv_freq) {
    return add("rope", {x, positions_}, {inv_freq});
  }
  int slice(int x, int start) {
    return add("slice", {x}, {}, {{"start", int64_t{start}}, {"width", int64_t{kFf}}});
  }

  Graph graph_;
  int positions_ = -1;
  std::mt19937 random_{11};
};

struct Ids {
  std::vector<int32_t> token, sequence, wanted;
  Batch batch() const { return {token, sequence, wanted}; }
};

Ids ids_of(int first, int n, int32_t sequence) {
  Ids ids;
  for (int i = 0; i < n; ++i) {
    ids.token.push_back((first + i) * 37 % kVocab);
    ids.sequence.push_back(sequence);
    ids.wanted.push_back(i);
  }
  return ids;
}

// The logits of kTokens tokens, in chunks of that many.
constexpr int kTokens = 30;
std::vector<float> logits_of(Plan& plan, int chunk) {
  KvCache cache(plan.states(), KvType::kF16, 64, 1);
  const int32_t sequence = cache.create();
  std::vector<float> all, hidden(static_cast<size_t>(kTokens) * kWidth);
  for (int first = 0; first < kTokens; first += chunk) {
    const int n = std::min(chunk, kTokens - first);
    const Ids ids = ids_of(first, n, sequence);
    std::vector<float> logits(static_cast<size_t>(n) * kVocab);
    float* const outputs[] = {logits.data(), hidden.data()};
    plan.run(ids.batch(), &cache, outputs, {});
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST(plan_gives_the_same_bits_on_any_threads_and_chunks) {
  const auto graph = Builder().build();
  Plan one(graph, {64, 64, 1}, {});
  const std::vector<float> want = logits_of(one, kTokens);
  for (int n_threads = 1; n_threads <= 4; ++n_threads) {
    Plan plan(graph, {64, 64, n_threads}, {});
    for (const int chunk : {1, 3, 8, 9, kTokens}) {
      EXPECT(same_bits(logits_of(plan, chunk), want)) << n_threads << " threads, " << chunk;
    }
  }
}

TEST(plan_gives_the_same_bits_while_its_threads_change) {
  const auto graph = Builder().build();
  Plan one(graph, {64, 64, 1}, {}), plan(graph, {64, 64, 4}, {});
  const std::vector<float> want = logits_of(one, kTokens);
  for (const auto& pattern : std::vector<std::vector<int>>{{1, 4}, {3, 3, 1, 2}, {4}, {1}, {}}) {
    plan.force_threads(pattern);
    for (const int chunk : {1, 9, kTokens}) {
      EXPECT(same_bits(logits_of(plan, chunk), want)) << pattern.size() << " numbers, " << chunk;
    }
  }
}

TEST(plan_stops_when_poll_says_so_or_throws) {
  Plan plan(Builder().build(), {64, 64, 3}, {});
  KvCache cache(plan.states(), KvType::kF16, 64, 1);
  const Ids ids = ids_of(0, kTokens, cache.create());
  std::vector<float> logits(size_t{kTokens} * kVocab), hidden(size_t{kTokens} * kWidth);
  float* const outputs[] = {logits.data(), hidden.data()};
  EXPECT(plan.run(ids.batch(), &cache, outputs, [] { return true; }) == Plan::Status::kCancelled);
  EXPECT(cache.length(ids.sequence[0]) == 0);
  EXPECT_ERROR(ErrorKind::kIo, plan.run(ids.batch(), &cache, outputs,
                                        []() -> bool { fail(ErrorKind::kIo, "seeded"); }));
  EXPECT(cache.length(ids.sequence[0]) == 0);
  EXPECT(plan.run(ids.batch(), &cache, outputs, {}) == Plan::Status::kDone);
  EXPECT(cache.length(ids.sequence[0]) == kTokens);
}

TEST(plan_loading_can_be_stopped) {
  const auto graph = Builder().build();
  EXPECT_ERROR(ErrorKind::kIo,
               Plan(graph, {64, 64, 2}, []() -> bool { fail(ErrorKind::kIo, "seeded"); }));
}
