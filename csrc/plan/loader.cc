#include "plan/loader.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "quant/decode.h"

namespace edgelm {
namespace {

constexpr size_t kPieceBytes = 2 << 20;
constexpr size_t kPiecesAhead = 8;  // that the system fetches while threads pack

}  // namespace

// One weight in one use, with where it goes.
struct WeightStore::Entry {
  const Weight* weight;
  WeightUse use;
  LoadedWeight loaded;
  size_t offset = 0, n_bytes = 0;  // in memory_
};

// Rows [rows.begin, rows.end) of one matrix of a weight, whole groups if it is packed.
struct WeightStore::Piece {
  const Entry* entry;
  int matrix;
  Range rows;
};

namespace {

std::pair<const void*, uint64_t> key_of(const Weight& weight) {
  if (weight.file == nullptr) return {&weight, 0};
  return {weight.file.get(), weight.offset};
}

// Of a matrix's row, counted over all matrices of the weight.
size_t row_index(const Weight& weight, int matrix, int row) {
  return static_cast<size_t>(matrix) * static_cast<size_t>(weight.n()) + static_cast<size_t>(row);
}

// Bytes of the file's (or the constant's) rows from `first` on.
void read_rows(const Weight& weight, size_t first, std::span<std::byte> out) {
  if (weight.file != nullptr) {
    weight.file->read(weight.offset + first * row_bytes(weight.type, weight.k()), out);
  } else {
    std::memcpy(out.data(), weight.constant.data() + first * static_cast<size_t>(weight.k()),
                out.size());
  }
}

}  // namespace

WeightStore::WeightStore(const Lowering& lowering, int n_threads, const Poll& poll)
    : kernels_(lowering.kernels()) {
  for (const LoweredStep& step : lowering.steps()) {
    for (size_t i = 0; i < step.weights.size(); ++i) {
      if (step.weights[i] == nullptr) continue;
      const Weight& weight = *step.weights[i];
      const WeightUse use = step.op->weight_use(static_cast<int>(i));
      auto& entry = entries_[{key_of(weight), use}];
      if (entry == nullptr) entry.reset(new Entry{&weight, use, {}});
    }
  }

  size_t total = 0;
  std::vector<Piece> pieces;
  for (auto& [key, entry] : entries_) {
    const Weight& weight = *entry->weight;
    LoadedWeight& loaded = entry->loaded;
    loaded.type = weight.type;
    loaded.n = weight.n();
    loaded.k = weight.k();
    loaded.n_matrices = weight.n_matrices();
    if (entry->use == WeightUse::kTable) {
      loaded.file = weight.file;
      loaded.offset = weight.offset;
      loaded.constant = weight.constant.data();
      continue;
    }
    int unit = 1;  // rows that a piece has a multiple of
    const auto n_rows = static_cast<size_t>(loaded.n_matrices) * static_cast<size_t>(loaded.n);
    if (entry->use == WeightUse::kPacked) {
      const WeightKernels& kernels = kernels_for(kernels_, weight);
      if (kernels.matmul == nullptr) {
        fail(ErrorKind::kUnsupportedModel, weight, ": there is no ", kernels_.isa,
             " matmul for type ", info(weight.type).name);
      }
      unit = loaded.group_rows = kernels_.group_rows;
      loaded.kernels = &kernels;
      loaded.group_bytes = kernels.group_bytes(loaded.k);
      const int n_groups = (loaded.n + unit - 1) / unit;
      loaded.matrix_bytes = loaded.group_bytes * static_cast<size_t>(n_groups);
      entry->n_bytes = loaded.matrix_bytes * static_cast<size_t>(loaded.n_matrices);
    } else {
      entry->n_bytes = n_rows * static_cast<size_t>(loaded.k) * sizeof(float);
    }
    entry->offset = total;
    total += aligned(entry->n_bytes);

    const size_t unit_bytes = row_bytes(weight.type, loaded.k) * static_cast<size_t>(unit);
    const int step = unit * static_cast<int>(std::max<size_t>(1, kPieceBytes / unit_bytes));
    for (int matrix = 0; matrix < loaded.n_matrices; ++matrix) {
      for (int row = 0; row < loaded.n; row += step) {
        pieces.push_back({entry.get(), matrix, {row, std::min(loaded.n, row + step)}});
      }
    }
  }

  memory_ = Memory(total);
  for (auto& [key, entry] : entries_) {
    LoadedWeight& loaded = entry->loaded;
    const std::byte* data = memory_.data() + entry->offset;
    if (entry->use == WeightUse::kFloats) loaded.floats = reinterpret_cast<const float*>(data);
    if (entry->use != WeightUse::kPacked) continue;
    loaded.packed = reinterpret_cast<const uint8_t*>(data);
    // A tied table is resident once: its rows come from the packed matrix.
    const auto table = entries_.find({key.first, WeightUse::kTable});
    if (table != entries_.end()) {
      LoadedWeight& rows = table->second->loaded;
      rows.packed = loaded.packed;
      rows.kernels = loaded.kernels;
      rows.group_rows = loaded.group_rows;
      rows.group_bytes = loaded.group_bytes;
    }
  }

  RunState state(1);
  state.begin(&poll);
  ThreadPool::instance().run(n_threads, [&](int thread) {
    std::vector<std::byte> buffer;
    try {
      while (!state.stopped(thread)) {
        const auto i =
            static_cast<size_t>(state.counter(0).fetch_add(1, std::memory_order_relaxed));
        if (i >= pieces.size()) return;
        if (i + kPiecesAhead < pieces.size()) announce(pieces[i + kPiecesAhead]);
        load(pieces[i], buffer);
      }
    } catch (...) {
      state.fail(std::current_exception());
    }
  });
  check(!state.finish(), "loading was cancelled");
  std::set<const File*> files;
  for (const auto& [key, entry] : entries_) files.insert(entry->weight->file.get());
  for (const File* file : files) {
    if (file != nullptr) file->check_unchanged();
  }
}

WeightStore::~WeightStore() = default;

void WeightStore::announce(const Piece& piece) {
  const Weight& weight = *piece.entry->weight;
  if (weight.file == nullptr) return;
  const size_t stride = row_bytes(weight.type, weight.k());
  weight.file->will_read(weight.offset + stride * row_index(weight, piece.matrix, piece.rows.begin),
                         stride * static_cast<size_t>(piece.rows.size()));
}

void WeightStore::load(const Piece& piece, std::vector<std::byte>& buffer) const {
  const Entry& entry = *piece.entry;
  const Weight& weight = *entry.weight;
  const LoadedWeight& loaded = entry.loaded;
  const size_t stride = row_bytes(weight.type, loaded.k);
  buffer.resize(stride * static_cast<size_t>(piece.rows.size()));
  const size_t first = row_index(weight, piece.matrix, piece.rows.begin);
  read_rows(weight, first, buffer);
  const auto* rows = reinterpret_cast<const uint8_t*>(buffer.data());
  std::byte* out = memory_.data() + entry.offset;
  if (entry.use == WeightUse::kFloats) {
    auto* floats = reinterpret_cast<float*>(out) + first * static_cast<size_t>(loaded.k);
    for (int i = 0; i < piece.rows.size(); ++i, rows += stride, floats += loaded.k) {
      decode_row(weight.type, rows, loaded.k, floats);
    }
    return;
  }
  out += loaded.matrix_bytes * static_cast<size_t>(piece.matrix) +
         loaded.group_bytes * static_cast<size_t>(piece.rows.begin / loaded.group_rows);
  for (int row = 0; row < piece.rows.size(); row += loaded.group_rows) {
    loaded.kernels->pack(rows + stride * static_cast<size_t>(row), stride,
                         std::min(loaded.group_rows, piece.rows.size() - row), loaded.k,
                         reinterpret_cast<uint8_t*>(out));
    out += loaded.group_bytes;
  }
}

const LoadedWeight& WeightStore::get(const Weight& weight, WeightUse use) const {
  return entries_.at({key_of(weight), use})->loaded;
}

}  // namespace edgelm
