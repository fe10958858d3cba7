#pragma once

#include <string>
#include <vector>

namespace edgelm {

// The folders of this process's group and of every group above it, as far as they can be seen, in
// which Linux may limit `controller` ("cpu", "memory"): cgroup v2's and v1's, the own group first.
// A limit at any level holds. `root` stands for "/", so that tests can lay out a machine of their
// own; "" is the real one.
std::vector<std::string> cgroup_folders(const std::string& root, const std::string& controller);

// CPUs' worth of time that the least quota of all levels allows; infinity where there is none.
// Source: the kernel's admin-guide/cgroup-v2 (cpu.max) and scheduler/sched-bwc (cpu.cfs_quota_us).
double cpu_quota(const std::string& root = "");

}  // namespace edgelm
