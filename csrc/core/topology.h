#pragma once

#include <limits>
#include <string>
#include <vector>

namespace edgelm {

// A processor as the system counts them: a hardware thread.
struct Cpu {
  int cpu = 0;         // its number
  int core = 0;        // number of the first processor of its physical core
  int cluster = 0;     // which kind of core, the fastest 0
  int capacity = 0;    // the scheduler's figure, the fastest 1024; 0 if not shown
  double max_mhz = 0;  // greatest clock by cpufreq; 0 if not shown
  int midr = 0;        // on ARM implementer << 12 | part number; 0 if not shown
  double speed = 1;    // beside the fastest, which is 1
  bool usable = true;  // affinity mask and cpuset let this thread run there
  bool fast = true;    // usable, and of a core that counts for the default number of threads
};

// A physical core, of whose processors this thread may use at least one.
struct Core {
  std::vector<int> cpus;  // those that it may use
  int cluster = 0;
  double speed = 1;  // of one thread alone on it, beside the machine's fastest core
  bool fast = true;
};

// Features need no place here: HWCAP on ARM and CPUID on x86 give what all cores have in common,
// so the kernels that are chosen by them run on each.
struct Topology {
  std::vector<Cpu> cpus;    // online, by number; empty where the system shows none
  std::vector<Core> cores;  // usable, the fastest first
  double quota = std::numeric_limits<double>::infinity();  // CPUs' worth of time; see cgroup.h

  // The default: a thread for each fast core, but no more than the quota feeds; at least 1.
  int n_threads() const;
};

// Threads that decode and prefill fastest under a quota of so many CPUs, given cores for them.
int threads_for_quota(double quota);

// `root` stands for "/", so that tests can lay out a machine of their own; "" is the real one.
//
// Speeds are cpu_capacity, else the greatest clocks (those of ARM's small in-order cores halved),
// else equal. Fast are cores with at least half of the best usable one's speed; all are, if those
// are less than half of the machine.
Topology read_topology(const std::string& root = "");

// A topology that follows the machine: tasksets, cpusets (a phone's, when its app leaves the
// screen), hotplug and quotas. One thread's.
class TopologyWatch {
 public:
  explicit TopologyWatch(std::string root = "", double interval_s = 0.1);

  // Looks at what can change if interval_s have passed (about 0.2 ms), and reads all anew only if
  // it did; else costs a look at the clock. The reference is good until the next call.
  const Topology& now();

 private:
  struct Changing {
    std::string allowed, online;
    double quota = 0;
    bool operator==(const Changing&) const = default;
  };
  Changing look() const;

  const std::string root_;
  const double interval_s_;
  double looked_s_;
  Changing seen_;
  Topology topology_;
};

// The calling thread's watch over the real machine: for the beginning of a run.
const Topology& current_topology();

}  // namespace edgelm
