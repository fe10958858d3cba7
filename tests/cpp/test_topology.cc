#include "core/topology.h"

#include <cmath>
#include <string>
#include <vector>

#include "core/cgroup.h"
#include "core/sysfs.h"
#include "machine.h"
#include "testing.h"

namespace {

using edgelm::Topology;

std::vector<int> fast_cpus(const Topology& t) {
  std::vector<int> cpus;
  for (const edgelm::Cpu& cpu : t.cpus) {
    if (cpu.fast) cpus.push_back(cpu.cpu);
  }
  return cpus;
}

Topology phone(int prime, int big, int little, const std::string& allowed = "") {
  Machine m;
  m.cpus(little, "cpu_capacity", 300).cpus(big, "cpu_capacity", 800);
  m.cpus(prime, "cpu_capacity", 1024);
  if (!allowed.empty()) m.allow(allowed);
  return edgelm::read_topology(m.root());
}

}  // namespace

TEST(this_machine_has_a_core_at_least) {
  const Topology t = edgelm::read_topology();
  EXPECT(t.n_threads() >= 1);
  EXPECT(t.n_threads() <= 65536);
  EXPECT(edgelm::current_topology().n_threads() >= 1);
}

TEST(cpu_lists) {
  using edgelm::sysfs::cpu_list;
  EXPECT(cpu_list("") == std::vector<int>{});
  EXPECT(cpu_list("0") == std::vector<int>{0});
  EXPECT((cpu_list("0-1,4,6-7\n") == std::vector<int>{0, 1, 4, 6, 7}));
  EXPECT((cpu_list("x,3,-2,5-") == std::vector<int>{3}));
  EXPECT(cpu_list("0-99999999999").size() == 1 << 16);  // whatever stands there ends
}

TEST(default_threads_of_phones) {
  const Topology t = phone(1, 3, 4);
  EXPECT((fast_cpus(t) == std::vector<int>{4, 5, 6, 7}));
  EXPECT(t.n_threads() == 4);
  EXPECT(t.cores.size() == 8);
  EXPECT((t.cores[0].cpus == std::vector<int>{7}));
  EXPECT(t.cores[0].speed == 1);
  EXPECT(t.cores[1].speed == 800.0 / 1024);
  EXPECT(t.cores[7].cluster == 2);
  EXPECT(phone(0, 4, 4).n_threads() == 4);
  EXPECT(phone(2, 6, 0).n_threads() == 8);  // 2 + 6 big ones of two clocks
  EXPECT(phone(4, 4, 0).n_threads() == 8);
  EXPECT(phone(0, 0, 8).n_threads() == 8);
  // The six small cores are more than half of this machine: 2 + 6 * 0.375 of 4.25.
  EXPECT(phone(0, 2, 6).n_threads() == 8);
}

TEST(forbidden_cpus_do_not_count) {
  EXPECT(phone(1, 3, 4, "0-7").n_threads() == 4);
  EXPECT((fast_cpus(phone(1, 3, 4, "0-6")) == std::vector<int>{4, 5, 6}));
  const Topology background = phone(1, 3, 4, "0-3");  // an app that has left the screen
  EXPECT((fast_cpus(background) == std::vector<int>{0, 1, 2, 3}));
  EXPECT(background.cpus[0].speed == 300.0 / 1024);
  EXPECT(!background.cpus[7].usable);
  EXPECT(phone(1, 3, 4, "7,64-127").n_threads() == 1);  // allowed, but not there
}

TEST(speeds_by_clock_where_no_capacity_is_shown) {
  Machine m;
  m.cpus(4, "cpufreq/cpuinfo_max_freq", 1'800'000).cpus(4, "cpufreq/cpuinfo_max_freq", 2'400'000);
  EXPECT(edgelm::read_topology(m.root()).n_threads() == 8);  // 0.75 of the best
  for (int i = 0; i < 4; ++i) {                              // Cortex-A55: less work a cycle
    m.file(Machine::cpu(i) + "regs/identification/midr_el1", "0x00000000412fd050");
  }
  const Topology t = edgelm::read_topology(m.root());
  EXPECT(t.cpus[0].midr == 0x41d05);
  EXPECT(std::abs(t.cpus[0].speed - 0.36) < 1e-9);
  EXPECT((fast_cpus(t) == std::vector<int>{4, 5, 6, 7}));
  EXPECT(t.cpus[0].cluster == 1);
}

TEST(hyperthreads_are_one_core) {
  Machine m;
  m.cpus(4, "cpu_capacity", 1024);
  for (int i = 0; i < 4; ++i) {
    m.file(Machine::cpu(i) + "topology/thread_siblings_list", i % 2 ? "1,3" : "0,2");
  }
  m.allow("1-3");
  const Topology t = edgelm::read_topology(m.root());
  EXPECT(t.n_threads() == 2);
  EXPECT((t.cores[0].cpus == std::vector<int>{1, 3}));
  EXPECT((t.cores[1].cpus == std::vector<int>{2}));
}

TEST(a_watch_follows_the_machine) {
  Machine m;
  m.cpus(4, "cpu_capacity", 1024).allow("0-3");
  edgelm::TopologyWatch watch(m.root(), 0);
  EXPECT(watch.now().n_threads() == 4);
  m.allow("2-3");
  EXPECT(watch.now().n_threads() == 2);
  m.file("sys/devices/system/cpu/online", "0-2");
  EXPECT(watch.now().n_threads() == 1);
  m.allow("0-3").file("sys/devices/system/cpu/online", "0-3");
  EXPECT(watch.now().n_threads() == 4);
  m.file("sys/fs/cgroup/cpu.max", "100000 100000");
  EXPECT(watch.now().n_threads() == 1);
  edgelm::TopologyWatch slow(m.root(), 1e9);
  m.file("sys/fs/cgroup/cpu.max", "max 100000");
  EXPECT(slow.now().n_threads() == 1);  // not before its interval is over
  EXPECT(watch.now().n_threads() == 4);
}

TEST(quotas_of_every_level) {
  Machine m;
  const auto quota = [&] { return edgelm::cpu_quota(m.root()); };
  EXPECT(std::isinf(quota()));
  m.file("proc/self/cgroup", "0::/user.slice/app.service");
  m.file("sys/fs/cgroup/user.slice/app.service/cpu.max", "max 100000");
  EXPECT(std::isinf(quota()));
  m.file("sys/fs/cgroup/cpu.max", "400000 100000");
  EXPECT(quota() == 4);
  m.file("sys/fs/cgroup/user.slice/cpu.max", "30000 20000");
  EXPECT(quota() == 1.5);
  m.file("sys/fs/cgroup/user.slice/app.service/cpu.max", "50000 100000");
  EXPECT(quota() == 0.5);
  m.file("sys/fs/cgroup/user.slice/other.service/cpu.max", "1000 100000");  // somebody else's
  EXPECT(quota() == 0.5);
}

TEST(quotas_of_version_1_and_of_both) {
  Machine m;
  m.file("proc/self/cgroup", "5:memory:/m\n3:cpuset:/s\n2:cpu,cpuacct:/a/b\n0::/x");
  m.file("proc/self/mountinfo",
         "30 1 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
         "31 1 0:27 / /sys/fs/cgroup/cpuset rw shared:9 - cgroup cgroup rw,cpuset\n"
         "32 1 0:28 / /mnt/two rw - cgroup2 cgroup2 rw,nsdelegate");
  const std::string v1 = "sys/fs/cgroup/cpu,cpuacct/";
  m.file(v1 + "a/b/cpu.cfs_quota_us", "-1").file(v1 + "a/b/cpu.cfs_period_us", "100000");
  m.file(v1 + "a/cpu.cfs_quota_us", "250000").file(v1 + "a/cpu.cfs_period_us", "100000");
  EXPECT(edgelm::cpu_quota(m.root()) == 2.5);
  m.file("mnt/two/x/cpu.max", "200000 100000");
  EXPECT(edgelm::cpu_quota(m.root()) == 2);
}

TEST(quotas_seen_from_within_a_container) {
  // The host's path, of which only the container's own part is mounted.
  Machine m;
  m.file("proc/self/cgroup", "2:cpu:/docker/abc/inner");
  m.file("proc/self/mountinfo",
         "30 1 0:26 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu");
  m.file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000");
  m.file("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  EXPECT(edgelm::cpu_quota(m.root()) == 3);
  m.file("sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "100000");
  m.file("sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000");
  EXPECT(edgelm::cpu_quota(m.root()) == 1);
  Machine outside;  // of the name space: the root of what is seen holds
  outside.file("proc/self/cgroup", "0::/../other").file("sys/fs/cgroup/cpu.max", "150000 100000");
  EXPECT(edgelm::cpu_quota(outside.root()) == 1.5);
}

TEST(threads_of_a_fraction_of_a_cpu) {
  EXPECT(edgelm::threads_for_quota(0.1) == 1);
  EXPECT(edgelm::threads_for_quota(0.5) == 1);
  EXPECT(edgelm::threads_for_quota(1.0) == 1);
  EXPECT(edgelm::threads_for_quota(1.25) == 1);
  EXPECT(edgelm::threads_for_quota(1.5) == 2);
  EXPECT(edgelm::threads_for_quota(INFINITY) == 65536);
}
