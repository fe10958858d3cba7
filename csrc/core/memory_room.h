#pragma once

#include <cstdint>
#include <string>

namespace edgelm {

// Memory that this process may still take before the system refuses it, or kills the process for
// it, and whose limit that is: a phrase such as "under the limit of the control group
// /sys/fs/cgroup/app.slice (memory.max)".
//
// The least of what the machine has free, of what every cgroup above the process leaves (memory.max
// and memory.high, v1's limit_in_bytes; file caches count as free), and of the address space
// (RLIMIT_AS). `root` stands for "/", as in cgroup.h. Source: the kernel's admin-guide/cgroup-v2
// and cgroup-v1/memory, proc_meminfo(5).
struct MemoryRoom {
  uint64_t bytes;
  std::string limit;
};
MemoryRoom memory_room(const std::string& root = "");

}  // namespace edgelm
