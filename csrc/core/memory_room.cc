#include "core/memory_room.h"

#include <sstream>
#include <string_view>

#include "core/cgroup.h"
#include "core/os.h"
#include "core/sysfs.h"

namespace edgelm {
namespace {

uint64_t number_or(const std::string& path, uint64_t otherwise) {
  const auto number = sysfs::number_of(path);
  return number && *number >= 0 ? static_cast<uint64_t>(*number) : otherwise;
}

// The number behind a word that a line of the text begins with; 0 if none does.
uint64_t field(const std::string& text, std::string_view word) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, word.size(), word) != 0) continue;
    uint64_t number = 0;
    std::istringstream(line.substr(word.size())) >> number;
    return number;
  }
  return 0;
}

uint64_t less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

}  // namespace

MemoryRoom memory_room(const std::string& root) {
  const uint64_t free = 1024 * field(sysfs::text_of(root + "/proc/meminfo"), "MemAvailable:");
  MemoryRoom room{free > 0 ? free : os::physical_bytes(), "free on this machine"};
  const auto take = [&](uint64_t bytes, const std::string& limit) {
    if (bytes < room.bytes) room = {bytes, limit};
  };
  for (const std::string& folder : cgroup_folders(root, "memory")) {
    const std::string stat = sysfs::text_of(folder + "/memory.stat");
    const auto take_limit = [&](const std::string& file, const std::string& usage, const char* of) {
      const auto limit = sysfs::number_of(folder + "/" + file);  // "max" is no number
      if (!limit || *limit < 0) return;
      const uint64_t files = field(stat, std::string(of) + "inactive_file ") +
                             field(stat, std::string(of) + "active_file ");
      const uint64_t used = less(number_or(folder + "/" + usage, 0), files);
      take(
          less(static_cast<uint64_t>(*limit), used),
          "under the limit of the control group " + folder.substr(root.size()) + " (" + file + ")");
    };
    take_limit("memory.max", "memory.current", "");
    take_limit("memory.high", "memory.current", "");
    take_limit("memory.limit_in_bytes", "memory.usage_in_bytes", "total_");
  }
  if (const uint64_t limit = os::address_limit(); limit != 0) {
    const uint64_t used = os::page_bytes() * number_or(root + "/proc/self/statm", 0);
    take(less(limit, used), "of address space (ulimit -v)");
  }
  return room;
}

}  // namespace edgelm
