#include "kernels/dispatch.h"

#include <cstdlib>

#include "core/cpu.h"
#include "core/error.h"

// Every unit of csrc/kernels/units.
#define EDGELM_UNITS(X, isa) \
  X(isa, attention)          \
  X(isa, kv_store)           \
  X(isa, activations)        \
  X(isa, matmul_float)       \
  X(isa, matmul_i16)         \
  X(isa, matmul_k23)         \
  X(isa, matmul_k4)          \
  X(isa, matmul_k6)          \
  X(isa, matmul_q4)          \
  X(isa, matmul_q5)          \
  X(isa, matmul_q8)          \
  X(isa, peaks)              \
  X(isa, vector)

#define EDGELM_DECLARE(isa, unit) \
  extern "C" void EDGELM_PASTE(isa, unit)(edgelm::KernelTable & table);
#define EDGELM_FILL(isa, unit) EDGELM_PASTE(isa, unit)(table);

// Made from isa/isas.def: those of this processor, best first.
#define X(name, usable) EDGELM_UNITS(EDGELM_DECLARE, name)
#include "isa/isas.inc"
#undef X

namespace edgelm {
namespace {

struct Isa {
  const char* name;
  bool usable;
  KernelTable (*table)();
};

// Types whose kernels come in one precision have it in both places.
KernelTable completed(KernelTable table) {
  for (int i = 0; i < kQuantCount; ++i) {
    if (table.weight[i].matmul == nullptr) table.weight[i] = table.exact[i];
    if (table.exact[i].matmul == nullptr) table.exact[i] = table.weight[i];
  }
  return table;
}

const std::vector<Isa>& isas() {
  static const std::vector<Isa> all = [] {
    [[maybe_unused]] const CpuFeatures& f = cpu_features();
    return std::vector<Isa>{
#define X(name, usable)              \
  {#name, usable, [] {               \
     KernelTable table = {};         \
     table.isa = #name;              \
     EDGELM_UNITS(EDGELM_FILL, name) \
     return completed(table);        \
   }},
#include "isa/isas.inc"
#undef X
    };
  }();
  return all;
}

std::string usable_names() {
  std::string names;
  for (const std::string& name : usable_isas()) names += (names.empty() ? "" : ", ") + name;
  return names;
}

}  // namespace

std::vector<std::string> usable_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : isas()) {
    if (isa.usable) names.emplace_back(isa.name);
  }
  return names;
}

const KernelTable& kernels(const std::string& isa) {
  static const std::vector<KernelTable> tables = [] {
    std::vector<KernelTable> all;
    for (const Isa& known : isas()) all.push_back(known.usable ? known.table() : KernelTable{});
    return all;
  }();
  for (size_t i = 0; i < tables.size(); ++i) {
    if (isa != isas()[i].name) continue;
    check(isas()[i].usable, "this processor cannot run the kernels of ISA '", isa,
          "'; usable here: ", usable_names());
    return tables[i];
  }
  fail(ErrorKind::kArgument, "unknown ISA '", isa, "'; usable here: ", usable_names());
}

const KernelTable& active_kernels() {
  static const KernelTable& table = [&]() -> const KernelTable& {
    const char* wanted = std::getenv("EDGELM_ISA");
    if (wanted == nullptr || *wanted == '\0') return kernels(usable_isas().front());
    try {
      return kernels(wanted);
    } catch (const Error& error) {
      fail(error.kind(), "EDGELM_ISA: ", error.what());
    }
  }();
  return table;
}

}  // namespace edgelm
