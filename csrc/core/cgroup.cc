#include "core/cgroup.h"

#include <algorithm>
#include <limits>
#include <sstream>

#include "core/sysfs.h"

namespace edgelm {
namespace {

// A hierarchy of groups: where it is mounted, and which of its groups is seen there.
struct Mount {
  std::string point, group;
};

bool has(const std::string& list, const std::string& word) {
  return ("," + list + ",").find("," + word + ",") != std::string::npos;
}

// This process's group in the hierarchy that holds `controller`; in v2's where it is "".
std::string own_group(const std::string& cgroups, const std::string& controller) {
  std::istringstream lines(cgroups);
  for (std::string line; std::getline(lines, line);) {  // id:controllers:group
    const size_t first = line.find(':');
    if (first == line.npos) continue;
    const size_t second = line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool found =
        controller.empty() ? line.compare(0, first, "0") == 0 : has(controllers, controller);
    if (found) return line.substr(second + 1);
  }
  return "";
}

// As /proc/self/mountinfo lists them, and at their usual places where it doesn't.
std::vector<Mount> mounts(const std::string& mountinfo, const std::string& controller) {
  std::vector<Mount> found;
  std::istringstream lines(mountinfo);
  for (std::string line; std::getline(lines, line);) {
    const size_t dash = line.find(" - ");
    if (dash == line.npos) continue;
    std::string skip, group, point, type, source, options;
    std::istringstream(line) >> skip >> skip >> skip >> group >> point;
    std::istringstream(line.substr(dash + 3)) >> type >> source >> options;
    const bool wanted =
        controller.empty() ? type == "cgroup2" : type == "cgroup" && has(options, controller);
    if (wanted) found.push_back({point, group});
  }
  const std::string usual = "/sys/fs/cgroup";
  if (controller.empty()) {
    found.insert(found.end(), {{usual, "/"}, {usual + "/unified", "/"}});
  } else {
    found.insert(found.end(),
                 {{usual + "/" + controller, "/"}, {"/dev/cpuctl", "/"}});  // Android's
  }
  return found;
}

// Of `own`, what lies below the group that is mounted; "" if none of it does.
std::string below(const std::string& group, const std::string& own) {
  if (own.find("/..") != own.npos) return "";  // outside this name space
  if (group == "/") return own;
  const bool inside = own.compare(0, group.size(), group) == 0 &&
                      (own.size() == group.size() || own[group.size()] == '/');
  return inside ? own.substr(group.size()) : "";
}

}  // namespace

std::vector<std::string> cgroup_folders(const std::string& root, const std::string& controller) {
  const std::string cgroups = sysfs::text_of(root + "/proc/self/cgroup");
  const std::string mountinfo = sysfs::text_of(root + "/proc/self/mountinfo");
  std::vector<std::string> folders;
  for (const std::string& hierarchy : {std::string(), controller}) {
    const std::string own = own_group(cgroups, hierarchy);
    for (const Mount& mount : mounts(mountinfo, hierarchy)) {
      std::string group = below(mount.group, own);
      while (true) {
        while (!group.empty() && group.back() == '/') group.pop_back();
        const std::string folder = root + mount.point + group;
        if (std::find(folders.begin(), folders.end(), folder) == folders.end()) {
          folders.push_back(folder);
        }
        if (group.empty()) break;
        group.erase(group.rfind('/'));
      }
    }
  }
  return folders;
}

double cpu_quota(const std::string& root) {
  double least = std::numeric_limits<double>::infinity();
  const auto take = [&](double quota, double period) {
    if (quota > 0 && period > 0) least = std::min(least, quota / period);
  };
  for (const std::string& folder : cgroup_folders(root, "cpu")) {
    double quota = 0, period = 0;
    // "max 100000" is no quota, and no number either.
    if (std::istringstream(sysfs::first_line(folder + "/cpu.max")) >> quota >> period) {
      take(quota, period);
    }
    const auto v1 = sysfs::number_of(folder + "/cpu.cfs_quota_us");  // -1: none
    if (v1) {
      take(static_cast<double>(*v1),
           static_cast<double>(sysfs::number_of(folder + "/cpu.cfs_period_us").value_or(0)));
    }
  }
  return least;
}

}  // namespace edgelm
