#include "core/topology.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <thread>
#include <utility>

#include "core/cgroup.h"
#include "core/sysfs.h"

namespace edgelm {
namespace {

constexpr const char* kFolder = "/sys/devices/system/cpu";
constexpr double kSameClock = 0.9;  // clocks that differ by less are of one kind: turbo bins vary

// In-order cores by MIDR, implementer << 12 | part: Arm's, and Qualcomm's Silver cores, which
// derive from the A53 and A55. Source: the kernel's asm/cputype.h.
constexpr std::array kInOrder = {0x41d03, 0x41d04, 0x41d05, 0x41d46,
                                 0x41d80, 0x51801, 0x51803, 0x51805};
// Their work a cycle beside a big core's: device trees have capacity-dmips-mhz of 403 to 578 of
// 1024.
constexpr double kInOrderWork = 0.48;

double seconds() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

// The calling thread's affinity mask, which the kernel has cut by its cpuset.
std::string allowed_list(const std::string& root) {
  std::string status = sysfs::text_of(root + "/proc/thread-self/status");
  if (status.empty()) status = sysfs::text_of(root + "/proc/self/status");  // before Linux 3.17
  const std::string key = "\nCpus_allowed_list:";
  const size_t at = status.find(key);
  if (at == status.npos) return "";
  const size_t begin = std::min(status.find_first_not_of(" \t", at + key.size()), status.size());
  return status.substr(begin, status.find('\n', begin) - begin);
}

bool contains(const std::vector<int>& list, int value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

Cpu read_cpu(const std::string& folder, int number) {
  const std::string own = folder + "/cpu" + std::to_string(number);
  Cpu cpu;
  cpu.cpu = cpu.core = number;
  auto siblings = sysfs::cpu_list(sysfs::first_line(own + "/topology/core_cpus_list"));
  if (siblings.empty()) {
    siblings = sysfs::cpu_list(sysfs::first_line(own + "/topology/thread_siblings_list"));
  }
  if (contains(siblings, number)) cpu.core = siblings.front();
  cpu.capacity = static_cast<int>(sysfs::number_of(own + "/cpu_capacity").value_or(0));
  cpu.max_mhz =
      static_cast<double>(sysfs::number_of(own + "/cpufreq/cpuinfo_max_freq").value_or(0)) / 1000;
  const std::string midr = sysfs::first_line(own + "/regs/identification/midr_el1");
  if (midr.compare(0, 2, "0x") == 0) {
    const auto value = sysfs::number_in(std::string_view(midr).substr(2), 16).value_or(0);
    cpu.midr = static_cast<int>((value >> 24 & 0xff) << 12 | (value >> 4 & 0xfff));
  }
  return cpu;
}

template <class Field>
bool all_show(const std::vector<Cpu>& cpus, Field field) {
  return std::all_of(cpus.begin(), cpus.end(), [&](const Cpu& c) { return c.*field > 0; });
}

void set_speeds(std::vector<Cpu>& cpus) {
  const bool by_capacity = all_show(cpus, &Cpu::capacity), by_clock = all_show(cpus, &Cpu::max_mhz);
  double best = 0;
  for (Cpu& cpu : cpus) {
    cpu.speed = by_capacity ? cpu.capacity : by_clock ? cpu.max_mhz : 1;
    if (!by_capacity && contains({kInOrder.begin(), kInOrder.end()}, cpu.midr)) {
      cpu.speed *= kInOrderWork;
    }
    best = std::max(best, cpu.speed);
  }
  for (Cpu& cpu : cpus) cpu.speed /= best;
}

// By what Intel's hybrid parts list, else by capacities, else by speeds that are nearly the same.
void set_clusters(std::vector<Cpu>& cpus, const std::string& root) {
  const auto big = sysfs::cpu_list(sysfs::first_line(root + "/sys/devices/cpu_core/cpus"));
  const auto small = sysfs::cpu_list(sysfs::first_line(root + "/sys/devices/cpu_atom/cpus"));
  if (!big.empty() && !small.empty()) {
    for (Cpu& cpu : cpus) cpu.cluster = contains(small, cpu.cpu) ? 1 : 0;
    return;
  }
  std::vector<Cpu*> order;
  for (Cpu& cpu : cpus) order.push_back(&cpu);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->speed > b->speed; });
  const double same = all_show(cpus, &Cpu::capacity) ? 1 : kSameClock;
  int cluster = 0;
  double first = 1;
  for (Cpu* cpu : order) {
    if (cpu->speed < same * first) {
      first = cpu->speed;
      ++cluster;
    }
    cpu->cluster = cluster;
  }
}

std::vector<Core> cores_of(const std::vector<Cpu>& cpus) {
  std::vector<std::pair<int, Core>> cores;
  for (const Cpu& cpu : cpus) {
    if (!cpu.usable) continue;
    auto found =
        std::find_if(cores.begin(), cores.end(), [&](auto& c) { return c.first == cpu.core; });
    if (found == cores.end()) {
      cores.push_back({cpu.core, {{}, cpu.cluster, cpu.speed, true}});
      found = cores.end() - 1;
    }
    found->second.cpus.push_back(cpu.cpu);
  }
  std::vector<Core> sorted;
  for (auto& core : cores) sorted.push_back(std::move(core.second));
  std::sort(sorted.begin(), sorted.end(), [](const Core& a, const Core& b) {
    return a.speed != b.speed ? a.speed > b.speed : a.cpus < b.cpus;
  });
  return sorted;
}

// On phones where the small cores add little, the big ones alone take 1.11 to 1.31 of the time that
// all could, by a model of four layouts; the small ones cost energy and waits. But with two big and
// six small cores that would be twice as long or more, as long as chunks taken in turns by all of
// them at worst (2.06), and parts by each core's speed get to 1.1.
void set_fast(std::vector<Core>& cores) {
  double fast = 0, all = 0;
  for (Core& core : cores) {
    core.fast = core.speed >= 0.5 * cores.front().speed;
    all += core.speed;
    if (core.fast) fast += core.speed;
  }
  for (Core& core : cores) core.fast |= fast < 0.5 * all;
}

}  // namespace

// Measured on two cores, SmolLM2 Q4_1, speed of two threads beside one in decode and prefill: under
// 0.5 CPUs 0.88 and 0.94, 1.0 0.87 and 0.87, 1.25 1.13 and 1.11, 1.5 1.38 and 1.29. But whoever has
// used up a period's share waits for the next: the slowest token takes 44 ms for 9 at 1.25. So a
// thread more from the half on.
int threads_for_quota(double quota) {
  return static_cast<int>(std::clamp(std::floor(quota + 0.5), 1.0, 65536.0));
}

int Topology::n_threads() const {
  const auto fast = std::count_if(cores.begin(), cores.end(), [](auto& core) { return core.fast; });
  const int n =
      fast ? static_cast<int>(fast) : static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, std::min(n, threads_for_quota(quota)));
}

Topology read_topology(const std::string& root) {
  Topology topology;
  topology.quota = cpu_quota(root);
  const std::string folder = root + kFolder;
  const std::vector<int> allowed = sysfs::cpu_list(allowed_list(root));
  std::vector<int> online = sysfs::cpu_list(sysfs::first_line(folder + "/online"));
  if (online.empty()) online = allowed;
  if (online.empty()) return topology;
  for (const int number : online) {
    Cpu cpu = read_cpu(folder, number);
    cpu.usable = allowed.empty() || contains(allowed, number);
    topology.cpus.push_back(cpu);
  }
  set_speeds(topology.cpus);
  set_clusters(topology.cpus, root);
  topology.cores = cores_of(topology.cpus);
  set_fast(topology.cores);
  for (Cpu& cpu : topology.cpus) {
    cpu.fast = std::any_of(topology.cores.begin(), topology.cores.end(), [&](const Core& core) {
      return core.fast && contains(core.cpus, cpu.cpu);
    });
  }
  return topology;
}

TopologyWatch::TopologyWatch(std::string root, double interval_s)
    : root_(std::move(root)),
      interval_s_(interval_s),
      looked_s_(seconds()),
      seen_(look()),
      topology_(read_topology(root_)) {}

TopologyWatch::Changing TopologyWatch::look() const {
  return {allowed_list(root_), sysfs::first_line(root_ + kFolder + "/online"), cpu_quota(root_)};
}

const Topology& TopologyWatch::now() {
  const double time_s = seconds();
  if (time_s - looked_s_ < interval_s_) return topology_;
  looked_s_ = time_s;
  Changing changing = look();
  if (changing != seen_) {
    topology_ = read_topology(root_);
    seen_ = std::move(changing);
  }
  return topology_;
}

const Topology& current_topology() {
  thread_local TopologyWatch watch;
  return watch.now();
}

}  // namespace edgelm
