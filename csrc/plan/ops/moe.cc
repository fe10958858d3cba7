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
    check(router.shape.size() == 2 && router.k() == d_, "router ", router,
          " must have the shape (E, ", d_, ")");
    n_experts_ = router.n();
    check(gate.shape.size() == 3, "gate ", gate, " must have the shape (E, F, D)");
    f_ = gate.n();
    const auto expect = [&](const Weight& weight, const std::vector<int>& shape) {
      Weight wanted;
      wanted.shape = shape;
      check(weight.shape == shape, "weight ", weight, " does not fit the shape", wanted);
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
        return group(c, s);
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
    float* scores;    // (T, E)
    Choice* choices;  // (T, top_k)
    int* starts;      // (E + 1): expert e has the pairs [starts[e], starts[e + 1])
    int* active;      // experts with pairs, and their number at [n_experts]
    Pair* pairs;      // (P)
    uint8_t* x_gate;  // (P) quantized rows of x
    uint8_t* x_up;
    float* hidden;    // (P, F)
    uint8_t* h_down;  // (P) quantized rows of hidden
    size_t gate_stride, up_stride, down_stride;
  };
  struct Own {
    float* part;  // (T, kChunkColumns)
    uint8_t* scratch;
  };

  Shared cut(Cutter& cutter, const KernelTable& kernels,
             std::span<const LoadedWeight* const> weights, int n_rows) const {
    const auto stride = [&](int weight, int k) {
      return kernels.act_bytes(weights[static_cast<size_t>(weight)]->kernels->act, k);
    };
    const auto t = static_cast<size_t>(n_rows), e = static_cast<size_t>(n_experts_);
    const size_t p = t * static_cast<size_t>(top_k_);
    Shared s{};
    s.gate_stride = stride(kGate, d_);
    s.up_stride = stride(kUp, d_);
    s.down_stride = stride(kDown, f_);
    s.scores = cutter.take<float>(t * e);
    s.choices = cutter.take<Choice>(p);
    s.starts = cutter.take<int>(e + 1);
    s.active = cutter.take<int>(e + 1);
    s.pairs = cutter.take<Pair>(p);
    s.x_gate = cutter.take<uint8_t>(p * s.gate_stride);
    s.x_up = cutter.take<uint8_t>(p * s.up_stride);
    s.hidden = cutter.take<float>(p * static_cast<size_t>(f_));
    s.h_down = cutter.take<uint8_t>(p * s.down_stride);
    return s;
  }

  static Own cut_own(Cutter& cutter, int n_rows) {
    Own own{};
    own.part = cutter.take<float>(static_cast<size_t>(n_rows) * kChunkColumns);
    own.scratch = cutter.take<uint8_t>(kMatmulScratchBytes);
    return own;
  }

  // out(n_tokens, columns) = act * w[matrix]^T, for the columns of chunk i.
  static Range multiply(const LoadedWeight& w, int matrix, int chunk, const uint8_t* act,
                        size_t act_stride, int n_tokens, uint8_t* scratch, float* out,
                        size_t out_stride) {
    const int begin = chunk * kChunkColumns;
    const int end = std::min(begin + kChunkColumns, w.n);
    MatmulArgs args{};
    args.groups = w.packed + static_cast<size_t>(matrix) * w.matrix_bytes +
                  static_cast<size_t>(begin / w.group_rows) * w.group_bytes;
    args.n_rows = end - begin;
    args.k = w.k;
    args.act = act;
    args.act_stride = act_stride;
    args.n_tokens = n_tokens;
    args.out = out;
    args.out_stride = out_stride;
    args.scratch = scratch;
    args.form = MatmulForm::kAuto;
    w.kernels->matmul(args);
    return {begin, end};
  }

  static const LoadedWeight* optional(const StepContext& c, int weight) {
    const auto i = static_cast<size_t>(weight);
    return i < c.weights.size() ? c.weights[i] : nullptr;
  }

  // x += row e of a bias (E, width), from column `begin` on, if there is one.
  static void add_bias(const StepContext& c, int weight, int e, int width, Range columns,
                       float* x) {
    const LoadedWeight* w = optional(c, weight);
    if (w == nullptr) return;
    const auto start = static_cast<size_t>(e) * static_cast<size_t>(width);
    c.kernels.add(x, w->floats + start + columns.begin, columns.size(), x);
  }

  static int n_chunks(const LoadedWeight& w) { return (w.n + kChunkColumns - 1) / kChunkColumns; }

  void score(const StepContext& c, const Shared& s, const Own& own) const {
    const LoadedWeight& w = *c.weights[kRouter];
    const int chunks = n_chunks(w);
    for (int i = c.next_chunk(chunks); i >= 0; i = c.next_chunk(chunks)) {
      multiply(w, 0, i, reinterpret_cast<const uint8_t*>(c.in[0].data), c.in[0].stride_bytes,
               c.n_rows, own.scratch, s.scores + i * kChunkColumns,
               static_cast<size_t>(n_experts_));
    }
  }

  void choose(const StepContext& c, const Shared& s) const {
    for (int t = c.next_chunk(c.n_rows); t >= 0; t = c.next_chunk(c.n_rows)) {
      float* scores = s.scores + static_cast<size_t>(t) * static_cast<size_t>(n_experts_);
      add_bias(c, kRouterBias, 0, n_experts_, {0, n_experts_}, scores);
      to_probabilities(scores);
      choose_one(scores, optional(c, kChoiceBias),
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
  void group(const StepContext& c, const Shared& s) const {
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
      const auto i = static_cast<size_t>(p);
      const int token = s.pairs[p].token;
      std::memcpy(s.x_gate + i * s.gate_stride, c.in[1].bytes(token), s.gate_stride);
      std::memcpy(s.x_up + i * s.up_stride, c.in[2].bytes(token), s.up_stride);
    }
  }

  // hidden = kind(gate * x) . (up * x): chunks of one expert's columns.
  void hidden(const StepContext& c, const Shared& s, const Own& own) const {
    const LoadedWeight &gate = *c.weights[kGate], &up = *c.weights[kUp];
    const auto f = static_cast<size_t>(f_);
    const int per_expert = n_chunks(gate), chunks = per_expert * s.active[n_experts_];
    for (int i = c.next_chunk(chunks); i >= 0; i = c.next_chunk(chunks)) {
      const int e = s.active[i / per_expert], chunk = i % per_expert;
      const auto first = static_cast<size_t>(s.starts[e]);
      const int n = s.starts[e + 1] - s.starts[e];
      float* out = s.hidden + first * f + static_cast<size_t>(chunk) * kChunkColumns;
      const Range columns = multiply(gate, e, chunk, s.x_gate + first * s.gate_stride,
                                     s.gate_stride, n, own.scratch, out, f);
      multiply(up, e, chunk, s.x_up + first * s.up_stride, s.up_stride, n, own.scratch, own.part,
               kChunkColumns);
      for (int r = 0; r < n; ++r) {
        float* gate_row = out + static_cast<size_t>(r) * f;
        float* up_row = own.part + static_cast<size_t>(r) * kChunkColumns;
        add_bias(c, kGateBias, e, f_, columns, gate_row);
        add_bias(c, kUpBias, e, f_, columns, up_row);
        glu_.run(c.kernels, gate_row, up_row, columns.size(), gate_row);
      }
    }
  }

  void quantize(const StepContext& c, const Shared& s) const {
    const ActFormat format = c.weights[kDown]->kernels->act;
    const int n_pairs = c.n_rows * top_k_;
    for (int p = c.next_chunk(n_pairs); p >= 0; p = c.next_chunk(n_pairs)) {
      const auto i = static_cast<size_t>(p);
      c.kernels.quantize(format, s.hidden + i * static_cast<size_t>(f_), f_,
                         s.h_down + i * s.down_stride);
    }
  }

  // out = sum of share * down * hidden: chunks of all experts' columns, so that no two threads add
  // to the same float.
  void combine(const StepContext& c, const Shared& s, const Own& own) const {
    const LoadedWeight& down = *c.weights[kDown];
    const int chunks = n_chunks(down);
    for (int i = c.next_chunk(chunks); i >= 0; i = c.next_chunk(chunks)) {
      const int begin = i * kChunkColumns;
      const int width = std::min(kChunkColumns, d_ - begin);
      for (int t = 0; t < c.n_rows; ++t) std::fill_n(c.out[t] + begin, width, 0.0F);
      for (int a = 0; a < s.active[n_experts_] && !c.stopped(); ++a) {
        const int e = s.active[a];
        const auto first = static_cast<size_t>(s.starts[e]);
        const int n = s.starts[e + 1] - s.starts[e];
        multiply(down, e, i, s.h_down + first * s.down_stride, s.down_stride, n, own.scratch,
                 own.part, kChunkColumns);
        for (int r = 0; r < n; ++r) {
          const Pair& pair = s.pairs[first + static_cast<size_t>(r)];
          float* part = own.part + static_cast<size_t>(r) * kChunkColumns;
          float* out = c.out[pair.token] + begin;
          add_bias(c, kDownBias, e, d_, {begin, begin + width}, part);
          c.kernels.scale(part, pair.share, width, part);
          c.kernels.add(out, part, width, out);
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
