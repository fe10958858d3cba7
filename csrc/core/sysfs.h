#pragma once

#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// The small text files below /proc and /sys. Where a system has none, nothing is found.
namespace edgelm::sysfs {

inline std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

inline std::optional<long long> number_in(std::string_view text, int base = 10) {
  long long number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return number;
}

inline std::optional<long long> number_of(const std::string& path) {
  return number_in(first_line(path));
}

// The kernel's list format: "0-3,6" is {0, 1, 2, 3, 6}.
inline std::vector<int> cpu_list(std::string_view text) {
  constexpr long long kMost = 1 << 16;
  std::vector<int> cpus;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(part.size() + (part.size() < text.size()));
    const size_t dash = part.find('-');
    const auto first = number_in(part.substr(0, dash));
    const auto last = dash == part.npos ? first : number_in(part.substr(dash + 1));
    if (!first || !last || *first < 0) continue;
    for (long long cpu = *first; cpu <= *last && cpu < kMost; ++cpu) {
      cpus.push_back(static_cast<int>(cpu));
    }
  }
  return cpus;
}

}  // namespace edgelm::sysfs
