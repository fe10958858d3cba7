#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/error.h"
#include "plan/glu.h"
#include "plan/lowering.h"
#include "plan/matmul.h"
#include "plan/op.h"

namespace edgelm {
namespace {

constexpr int kChunkColumns = 64;  // of an expert's matmul: whole groups on every ISA

// One block of memory, cut up in the same way by the size and by the pointers of it.
class Cutter {
 public:
  explicit Cutter(std::byte* base) : base_(base) {}
  template <class T>
  T* take(size_t count) {
    T* const here = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += aligned(count * sizeof(T));
    return here;
  }
  Rows take_rows(size_t count, size_t stride_bytes) {
    return {take<std::byte>(count * stride_bytes), stride_bytes};
  }
  size_t used() const { return used_; }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

// A mixture of experts. With scores s(T, E) = softmax or sigmoid of x * router^T, each token goes
// to the top_k experts by s + router_bias:
//   out(T, D) = scale * sum_e share(e) * down[e] * (kind(gate[e] * x) . (up[e] * x))
// share is s, divided by its sum over the chosen experts if `normalize`. A token's experts are
// added in the order of their numbers, so its result depends on no other token. Each matmul may
// have a bias; kind(...) . (...) is any of Glu's.
class Moe final : public Op {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(1, 9);
    const Shape& x = args.floats(0);
    check(x.widths.size() == 1, "x must have the shape (T, D), got ", x);
    d_ = x.last();
    const Weight &router = args.weight(kRouter), &gate = args.weight(kGate), &up = args.weight(kUp),
                 &down = args.weight(kDown);
    check(router.shape.size() <= 2 && router.k() == d_, "router ", router,
          " must have the shape (E, ", d_, ")");
    n_experts_ = router.n();
    check(gate.shape.size() <= 3, "gate ", gate, " must have the shape (E, F, D)");
    f_ = gate.n();
    const auto expect = [&](const Weight& weight, const std::vector<int>& shape) {
      Weight wanted;
      wanted.shape = shape;
      // Ones in front may be missing: a file of one expert says (F, D).
      const size_t n_missing = shape.size() - std::min(shape.size(), weight.shape.size());
      std::vector<int> found(n_missing, 1);
      found.insert(found.end(), weight.shape.begin(), weight.shape.end());
      check(found == shape, "weight ", weight, " does not fit the shape", wanted);
    };
    expect(gate, {n_experts_, f_, d_});
    expect(up, {n_experts_, f_, d_});
    expect(down, {n_experts_, d_, f_});
    const auto expect_bias = [&](int i, const std::vector<int>& shape) {
      if (const Weight* bias = args.optional_weight(i)) expect(*bias, shape);
    };
    for (const int i : {kChoiceBias, kRouterBias}) expect_bias(i, {n_experts_});
    for (const int i : {kGateBias, kUpBias}) expect_bias(i, {n_experts_, f_});
    expect_bias(kDownBias, {n_experts_, d_});
    top_k_ = args.attrs.integer("top_k", 1, n_experts_);
    const std::string score = args.attrs.string("score", "softmax");
    check(score == "softmax" || score == "sigmoid", "score is '", score,
          "', expected softmax or sigmoid");
    sigmoid_ = score == "sigmoid";
    normalize_ = args.attrs.boolean("normalize", true);
    scale_ = args.attrs.number("scale", 1);
    glu_ = Glu(args.attrs);
    return {ValueKind::kFloats, {x.axis, {d_}}};
  }

  WeightUse weight_use(int weight) const override {
    return weight >= kChoiceBias ? WeightUse::kFloats : WeightUse::kPacked;
  }

  void lower(Lowering& lowering) const override {
    const int x = lowering.node().inputs[0];
    const auto rows = [&](int weight) {
      const Weight& w = *lowering.node().weights[static_cast<size_t>(weight)];
      return lowering.quantized(x, kernels_for(lowering.kernels(), w).act);
    };
    lowering.emit({rows(kRouter), rows(kGate), rows(kUp)});
  }

  Partition partition(Regime) const override { return {Split::kDynamic}; }
  Access reads(int, Regime) const override { return Access::kAll; }
  int phases(Regime) const override { return kPhases; }

  StepMemory memory(const StepSize& size) const override {
    Cutter shared(nullptr), own(nullptr);
    cut(shared, size.kernels, size.weights, size.max_rows);
    cut_own(own, size.max_rows);
    return {shared.used(), own.used()};
  }

  void run(const StepContext& c) const override {
    Cutter shared_cutter(c.shared.data()), own_cutter(c.thread_memory.data());
    const Shared s = cut(shared_cutter, c.kernels, c.weights, c.n_rows);
    const Own own = cut_own(own_cutter, c.n_rows);
    switch (c.phase) {
      case 0:
        return score(c, s, own);
      case 1:
        return choose(c, s);
      case 2:
        return sort(c, s);
      case 3:
        return gather(c, s);
      case 4:
        return hidden(c, s, own);
      case 5:
        return quantize(c, s);
      default:
        return combine(c, s, own);
    }
  }

  std::string kernel(std::span<const LoadedWeight* const> weights, Regime) const override {
    return std::string("moe-") + info(weights[kGate]->type).name;
  }
  double macs(std::span<const LoadedWeight* const>, int n_rows) const override {
    return n_rows * static_cast<double>(d_) * (n_experts_ + 3.0 * top_k_ * f_);
  }
  // As if no two tokens chose the same expert.
  double bytes(std::span<const LoadedWeight* const> weights, int n_rows) const override {
    const double active = std::min(1.0, double{1} * n_rows * top_k_ / n_experts_);
    const auto size = [&](int i) {
      return static_cast<double>(weights[static_cast<size_t>(i)]->n_bytes());
    };
    return size(kRouter) + active * (size(kGate) + size(kUp) + size(kDown));
  }

 private:
  enum { kRouter, kGate, kUp, kDown, kChoiceBias, kRouterBias, kGateBias, kUpBias, kDownBias };
  static constexpr int kPhases = 7;

  struct Choice {
    int expert;
    float share;
  };
  // The pairs of token and chosen expert, sorted by expert, then by token: P = T * top_k of them.
  struct Pair {
    int token;
    float share;
  };
  struct Shared {
    Rows scores;      // (T, E)
    Choice* choices;  // (T, top_k)
    int* starts;      // (E + 1): expert e has the pairs [starts[e], starts[e + 1])
    int* active;      // experts with pairs, and their number at [n_experts]
    Pair* pairs;      // (P)
    Rows x_gate;      // (P) quantized rows of x
    Rows x_up;
    Rows hidden;  // (P, F)
    Rows h_down;  // (P) quantized rows of hidden

    Range pairs_of(int e) const { return {starts[e], starts[e + 1]}; }
  };
  struct Own {
    Rows part;  // (T, kChunkColumns)
    std::byte* scratch;
  };

  Shared cut(Cutter& cutter, const KernelTable& kernels,
             std::span<const LoadedWeight* const> weights, int n_rows) const {
    const auto stride = [&](int weight, int k) {
      return kernels.act_bytes(weights[static_cast<size_t>(weight)]->kernels->act, k);
    };
    const auto t = static_cast<size_t>(n_rows), e = static_cast<size_t>(n_experts_);
    const size_t p = t * static_cast<size_t>(top_k_);
    Shared s{};
    s.scores = cutter.take_rows(t, e * sizeof(float));
    s.choices = cutter.take<Choice>(p);
    s.starts = cutter.take<int>(e + 1);
    s.active = cutter.take<int>(e + 1);
    s.pairs = cutter.take<Pair>(p);
    s.x_gate = cutter.take_rows(p, stride(kGate, d_));
    s.x_up = cutter.take_rows(p, stride(kUp, d_));
    s.hidden = cutter.take_rows(p, static_cast<size_t>(f_) * sizeof(float));
    s.h_down = cutter.take_rows(p, stride(kDown, f_));
    return s;
  }

  static Own cut_own(Cutter& cutter, int n_rows) {
    Own own{};
    own.part = cutter.take_rows(static_cast<size_t>(n_rows), kChunkColumns * sizeof(float));
    own.scratch = cutter.take<std::byte>(kMatmulScratchBytes);
    return own;
  }

  static Matmul matmul(const StepContext& c, const Own& own, size_t weight, size_t bias) {
    return {c.kernels, *c.weights[weight], c.optional_weight(bias), own.scratch};
  }

  static int n_chunks(int n) { return (n + kChunkColumns - 1) / kChunkColumns; }
  static Range columns_of(int chunk, int n) {
    const int begin = chunk * kChunkColumns;
    return {begin, std::min(begin + kChunkColumns, n)};
  }

  void score(const StepContext& c, const Shared& s, const Own& own) const {
    const Matmul router = matmul(c, own, kRouter, kRouterBias);
    const int chunks = n_chunks(n_experts_);
    for (int i = c.next_chunk(chunks); i >= 0; i = c.next_chunk(chunks)) {
      const Range columns = columns_of(i, n_experts_);
      router.run(0, columns, c.in[0], c.n_rows, s.scores.from(0, columns.begin));
    }
  }

  void choose(const StepContext& c, const Shared& s) const {
    for (int t = c.next_chunk(c.n_rows); t >= 0; t = c.next_chunk(c.n_rows)) {
      to_probabilities(s.scores[t]);
      choose_one(s.scores[t], c.optional_weight(kChoiceBias),
                 s.choices + static_cast<size_t>(t) * static_cast<size_t>(top_k_));
    }
  }

  void to_probabilities(float* scores) const {
    if (sigmoid_) {
      for (int e = 0; e < n_experts_; ++e) scores[e] = 1 / (1 + std::exp(-scores[e]));
      return;
    }
    const float max = *std::max_element(scores, scores + n_experts_);
    float sum = 0;
    for (int e = 0; e < n_experts_; ++e) sum += scores[e] = std::exp(scores[e] - max);
    for (int e = 0; e < n_experts_; ++e) scores[e] /= sum;
  }

  // The top_k experts of one token by falling score, the lowest number first among equal ones. It
  // chooses top_k different ones also where scores are NaN.
  void choose_one(const float* scores, const LoadedWeight* bias, Choice* choices) const {
    const auto key = [&](int e) {
      return bias == nullptr ? scores[e] : scores[e] + bias->floats[e];
    };
    float sum = 0;
    for (int i = 0; i < top_k_; ++i) {
      int best = -1;
      for (int e = 0; e < n_experts_; ++e) {
        const auto is_e = [&](const Choice& choice) { return choice.expert == e; };
        if ((best < 0 || key(e) > key(best)) && std::none_of(choices, choices + i, is_e)) best = e;
      }
      choices[i] = {best, scores[best]};
      sum += scores[best];
    }
    // The floor is llama.cpp's, the smallest normal float16: sigmoids may all be nearly zero.
    const float factor = scale_ / (normalize_ ? std::max(sum, 6.103515625e-5F) : 1);
    for (int i = 0; i < top_k_; ++i) choices[i].share *= factor;
  }

  // A counting sort of the pairs, by one thread: T * top_k small steps.
  void sort(const StepContext& c, const Shared& s) const {
    if (c.next_chunk(1) < 0) return;
    const int n_pairs = c.n_rows * top_k_;
    std::fill_n(s.starts, n_experts_ + 1, 0);
    for (int i = 0; i < n_pairs; ++i) ++s.starts[s.choices[i].expert + 1];
    for (int e = 0; e < n_experts_; ++e) s.starts[e + 1] += s.starts[e];
    for (int i = 0; i < n_pairs; ++i) {
      s.pairs[s.starts[s.choices[i].expert]++] = {i / top_k_, s.choices[i].share};
    }
    // Each start has moved to its end, which is the next one's start.
    std::memmove(s.starts + 1, s.starts, static_cast<size_t>(n_experts_) * sizeof(int));
    s.starts[0] = 0;
    int& n_active = s.active[n_experts_] = 0;
    for (int e = 0; e < n_experts_; ++e) {
      if (s.starts[e] < s.starts[e + 1]) s.active[n_active++] = e;
    }
  }

  void gather(const StepContext& c, const Shared& s) const {
    const int n_pairs = c.n_rows * top_k_;
    for (int p = c.next_chunk(n_pairs); p >= 0; p = c.next_chunk(n_pairs)) {
      const int token = s.pairs[p].token;
      std::memcpy(s.x_gate.bytes(p), c.in[1].bytes(token), s.x_gate.stride_bytes);
      std::memcpy(s.x_up.bytes(p), c.in[2].bytes(token), s.x_up.stride_bytes);
    }
  }

  // hidden = kind(gate * x) . (up * x): chunks of one expert's columns.
  void hidden(const StepContext& c, const Shared& s, const Own& own) const {
    const Matmul gate = matmul(c, own, kGate, kGateBias), up = matmul(c, own, kUp, kUpBias);
    const int per_expert = n_chunks(f_), chunks = per_expert * s.active[n_experts_];
    for (int i = c.next_chunk(chunks); i >= 0; i = c.next_chunk(chunks)) {
      const int e = s.active[i / per_expert];
      const Range columns = columns_of(i % per_expert, f_), pairs = s.pairs_of(e);
      const Rows out = s.hidden.from(pairs.begin, columns.begin);
      gate.run(e, columns, s.x_gate.from(pairs.begin), pairs.size(), out);
      up.run(e, columns, s.x_up.from(pairs.begin), pairs.size(), own.part);
      for (int r = 0; r < pairs.size(); ++r) {
        glu_.run(c.kernels, out[r], own.part[r], columns.size(), out[r]);
      }
    }
  }

  void quantize(const StepContext& c, const Shared& s) const {
    const ActFormat format = c.weights[kDown]->kernels->act;
    const int n_pairs = c.n_rows * top_k_;
    for (int p = c.next_chunk(n_pairs); p >= 0; p = c.next_chunk(n_pairs)) {
      c.kernels.quantize(format, s.hidden[p], f_, reinterpret_cast<uint8_t*>(s.h_down.bytes(p)));
    }
  }

  // out = sum of share * down * hidden: chunks of all experts' columns, so that no two threads add
  // to the same float.
  void combine(const StepContext& c, const Shared& s, const Own& own) const {
    const Matmul down = matmul(c, own, kDown, kDownBias);
    const int chunks = n_chunks(d_);
    for (int i = c.next_chunk(chunks); i >= 0; i = c.next_chunk(chunks)) {
      const Range columns = columns_of(i, d_);
      const Rows out = c.out.from(0, columns.begin);
      for (int t = 0; t < c.n_rows; ++t) std::fill_n(out[t], columns.size(), 0.0F);
      for (int a = 0; a < s.active[n_experts_] && !c.stopped(); ++a) {
        const Range pairs = s.pairs_of(s.active[a]);
        down.run(s.active[a], columns, s.h_down.from(pairs.begin), pairs.size(), own.part);
        for (int r = 0; r < pairs.size(); ++r) {
          const auto [token, share] = s.pairs[pairs.begin + r];
          c.kernels.scale(own.part[r], share, columns.size(), own.part[r]);
          c.kernels.add(out[token], own.part[r], columns.size(), out[token]);
        }
      }
    }
  }

  int d_ = 0, f_ = 0, n_experts_ = 0, top_k_ = 0;
  bool sigmoid_ = false, normalize_ = true;
  float scale_ = 1;
  Glu glu_;
};

}  // namespace

EDGELM_OP(moe, Moe)

}  // namespace edgelm
