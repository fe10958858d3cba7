#include "plan/loader.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/thread_pool.h"
#include "quant/decode.h"

namespace edgelm {
namespace {

constexpr size_t kPieceBytes = 2 << 20;
constexpr size_t kPiecesAhead = 8;  // that the system fetches while threads pack

// Some rows of one matrix of a weight, whole groups if it is packed.
struct Piece {
  const WeightLoad* load;
  int matrix;
  Range rows;

  const Weight& weight() const { return *load->weight; }
  size_t stride() const { return row_bytes(weight().type, weight().k()); }  // in the file
  size_t n_bytes() const { return stride() * static_cast<size_t>(rows.size()); }
  // Its first row's number, counted over all matrices.
  size_t first() const {
    return static_cast<size_t>(matrix) * static_cast<size_t>(weight().n()) +
           static_cast<size_t>(rows.begin);
  }
};

std::vector<Piece> pieces_of(std::span<const WeightLoad> loads) {
  std::vector<Piece> pieces;
  for (const WeightLoad& load : loads) {
    const int n = load.weight->n(), unit = std::max(1, load.loaded->group_rows);
    const size_t unit_bytes =
        row_bytes(load.weight->type, load.weight->k()) * static_cast<size_t>(unit);
    const int step = unit * static_cast<int>(std::max<size_t>(1, kPieceBytes / unit_bytes));
    for (int matrix = 0; matrix < load.weight->n_matrices(); ++matrix) {
      for (int row = 0; row < n; row += step) {
        pieces.push_back({&load, matrix, {row, std::min(n, row + step)}});
      }
    }
  }
  return pieces;
}

void announce(const Piece& piece) {
  const Weight& weight = piece.weight();
  if (weight.file == nullptr) return;
  weight.file->will_read(weight.offset + piece.first() * piece.stride(), piece.n_bytes());
}

void read(const Piece& piece, std::span<std::byte> rows) {
  const Weight& weight = piece.weight();
  if (weight.file != nullptr) {
    weight.file->read(weight.offset + piece.first() * piece.stride(), rows);
  } else {
    const float* first = weight.constant.data() + piece.first() * static_cast<size_t>(weight.k());
    std::memcpy(rows.data(), first, rows.size());
  }
}

void load(const Piece& piece, std::vector<std::byte>& buffer) {
  buffer.resize(piece.n_bytes());
  read(piece, buffer);
  const auto* rows = reinterpret_cast<const uint8_t*>(buffer.data());
  const LoadedWeight& loaded = *piece.load->loaded;
  if (loaded.use == WeightUse::kPacked) {
    loaded.pack(rows, piece.matrix, piece.rows, piece.load->to);
    return;
  }
  const auto k = static_cast<size_t>(loaded.k);
  auto* floats = reinterpret_cast<float*>(piece.load->to) + piece.first() * k;
  for (int i = 0; i < piece.rows.size(); ++i, rows += piece.stride(), floats += k) {
    decode_row(loaded.type, rows, loaded.k, floats);
  }
}

}  // namespace

void load_weights(std::span<const WeightLoad> loads, int n_threads, const Poll& poll) {
  const std::vector<Piece> pieces = pieces_of(loads);
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
  for (const WeightLoad& load : loads) files.insert(load.weight->file.get());
  for (const File* file : files) {
    if (file != nullptr) file->check_unchanged();
  }
}

}  // namespace edgelm
