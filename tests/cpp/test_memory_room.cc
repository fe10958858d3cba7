#include "core/memory_room.h"

#include <string>

#include "core/os.h"
#include "machine.h"
#include "testing.h"

namespace {

constexpr uint64_t kMiB = 1 << 20;

std::string bytes(uint64_t mib) { return std::to_string(mib * kMiB); }

void expect_room(const Machine& machine, uint64_t mib, const std::string& limit) {
  const edgelm::MemoryRoom room = edgelm::memory_room(machine.root());
  EXPECT(room.bytes == mib * kMiB && room.limit.find(limit) != room.limit.npos)
      << room.bytes / kMiB << " MiB " << room.limit;
}

}  // namespace

TEST(memory_of_a_machine_is_what_others_leave) {
  Machine m;
  EXPECT(edgelm::memory_room(m.root()).bytes == edgelm::os::physical_bytes());
  m.file("proc/meminfo", "MemTotal:       16777216 kB\nMemAvailable:    2097152 kB\nBuffers: 1 kB");
  expect_room(m, 2048, "on this machine");
}

TEST(memory_limits_of_every_level_less_what_is_used) {
  Machine m;
  m.file("proc/meminfo", "MemAvailable:   8388608 kB");
  m.file("proc/self/cgroup", "0::/user.slice/app.service");
  const std::string slice = "sys/fs/cgroup/user.slice/", app = slice + "app.service/";
  m.file(app + "memory.max", "max").file(app + "memory.current", bytes(500));
  expect_room(m, 8192, "on this machine");
  m.file(slice + "memory.max", bytes(4000)).file(slice + "memory.current", bytes(1000));
  expect_room(m, 3000, "control group /sys/fs/cgroup/user.slice (memory.max)");
  m.file(app + "memory.high", bytes(2500));
  expect_room(m, 2000, "/user.slice/app.service (memory.high)");
  // What was read of files gives way.
  m.file(app + "memory.stat",
         "anon 1\ninactive_file " + bytes(200) + "\nactive_file " + bytes(100));
  expect_room(m, 2300, "(memory.high)");
  m.file(app + "memory.max", bytes(100));  // less than is used already
  expect_room(m, 0, "(memory.max)");
}

TEST(memory_limits_of_version_1) {
  Machine m;
  m.file("proc/meminfo", "MemAvailable:   8388608 kB");
  m.file("proc/self/cgroup", "4:memory:/a/b");
  m.file("proc/self/mountinfo", "3 1 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory");
  const std::string a = "sys/fs/cgroup/memory/a/";
  m.file(a + "b/memory.limit_in_bytes", "9223372036854771712");  // none
  expect_room(m, 8192, "on this machine");
  m.file(a + "memory.limit_in_bytes", bytes(600)).file(a + "memory.usage_in_bytes", bytes(300));
  m.file(a + "memory.stat", "inactive_file 0\ntotal_inactive_file " + bytes(100));
  expect_room(m, 400, "control group /sys/fs/cgroup/memory/a (memory.limit_in_bytes)");
}
