#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

// A machine laid out as a folder, gone with this object.
class Machine {
 public:
  Machine() {
    static int n = 0;
    root_ = std::filesystem::temp_directory_path() /
            ("edgelm-machine-" + std::to_string(n++) + "-" +
             std::to_string(reinterpret_cast<uintptr_t>(this)));
    std::filesystem::create_directories(root_);
  }
  ~Machine() { std::filesystem::remove_all(root_); }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  std::string root() const { return root_.string(); }

  Machine& file(const std::string& name, const std::string& content) {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << content << "\n";
    return *this;
  }

  // One more CPU, with a file of that name below its own folder, as in ("cpu_capacity", "1024").
  Machine& cpus(int count, const std::string& name, int value) {
    for (int i = 0; i < count; ++i, ++n_cpus_) {
      file(cpu(n_cpus_) + name, std::to_string(value));
    }
    return file("sys/devices/system/cpu/online", "0-" + std::to_string(n_cpus_ - 1));
  }

  Machine& allow(const std::string& list) {
    return file("proc/thread-self/status",
                "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t" + list + "\nMems_allowed:\t1");
  }

  static std::string cpu(int n) { return "sys/devices/system/cpu/cpu" + std::to_string(n) + "/"; }

 private:
  std::filesystem::path root_;
  int n_cpus_ = 0;
};
