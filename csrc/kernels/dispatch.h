#pragma once

#include <span>
#include <string>
#include <vector>

#include "kernels/table.h"

namespace edgelm {

// ISAs that this build has kernels for and this processor can run, best first; "scalar" is last.
std::vector<std::string> usable_isas();

// The table of one ISA; throws kArgument naming the usable ones if it is unknown or unsupported.
const KernelTable& kernels(const std::string& isa);

// The table that the engine runs: EDGELM_ISA if it is set, else the best usable one. Fixed at the
// first call. An unknown or unsupported EDGELM_ISA throws kArgument, naming the usable ones.
const KernelTable& active_kernels();

}  // namespace edgelm
