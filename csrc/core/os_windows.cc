#ifdef _WIN32

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <algorithm>

#include "core/os.h"

namespace edgelm::os {
namespace {

HANDLE handle(FileHandle file) { return reinterpret_cast<HANDLE>(file); }

std::string utf8(const wchar_t* text, int n) {
  std::string out(
      static_cast<size_t>(WideCharToMultiByte(CP_UTF8, 0, text, n, nullptr, 0, nullptr, nullptr)),
      '\0');
  WideCharToMultiByte(CP_UTF8, 0, text, n, out.data(), static_cast<int>(out.size()), nullptr,
                      nullptr);
  return out;
}

}  // namespace

size_t page_bytes() {
  SYSTEM_INFO info;
  GetSystemInfo(&info);
  return info.dwPageSize;
}

uint64_t physical_bytes() {
  MEMORYSTATUSEX status = {};
  status.dwLength = sizeof status;
  GlobalMemoryStatusEx(&status);
  return status.ullTotalPhys;
}

uint64_t address_limit() { return 0; }

int64_t process_id() { return GetCurrentProcessId(); }

std::string last_error() {
  const DWORD number = GetLastError();
  wchar_t text[512];
  DWORD n = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, nullptr,
                           number, 0, text, 512, nullptr);
  while (n > 0 && (text[n - 1] <= L' ' || text[n - 1] == L'.')) --n;  // it ends a line
  return n > 0 ? utf8(text, static_cast<int>(n)) : "error " + std::to_string(number);
}

void* allocate(size_t bytes) noexcept {
  return VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

void* reserve(size_t bytes) noexcept {
  return VirtualAlloc(nullptr, bytes, MEM_RESERVE, PAGE_NOACCESS);
}

bool commit(void* pages, size_t bytes) noexcept {
  return VirtualAlloc(pages, bytes, MEM_COMMIT, PAGE_READWRITE) != nullptr;
}

void decommit(void* pages, size_t bytes) noexcept { VirtualFree(pages, bytes, MEM_DECOMMIT); }

void release(void* start, size_t) noexcept { VirtualFree(start, 0, MEM_RELEASE); }

FileHandle open_file(const std::filesystem::path& path) noexcept {
  // As on other systems, a file may be renamed, deleted or written while it is open.
  const HANDLE file = CreateFileW(path.c_str(), GENERIC_READ,
                                  FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                                  OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
  return reinterpret_cast<FileHandle>(file);  // INVALID_HANDLE_VALUE is kNoFile
}

void close_file(FileHandle file) noexcept { CloseHandle(handle(file)); }

bool file_status(FileHandle file, FileStatus& status) noexcept {
  BY_HANDLE_FILE_INFORMATION seen;
  status.regular = GetFileType(handle(file)) == FILE_TYPE_DISK;
  if (!status.regular) return true;
  if (GetFileInformationByHandle(handle(file), &seen) == 0) return false;
  const auto join = [](DWORD high, DWORD low) { return uint64_t{high} << 32 | low; };
  status.n_bytes = join(seen.nFileSizeHigh, seen.nFileSizeLow);
  status.modified_ns = static_cast<int64_t>(  // counted in units of 100 ns
      100 * join(seen.ftLastWriteTime.dwHighDateTime, seen.ftLastWriteTime.dwLowDateTime));
  return true;
}

int64_t read_file(FileHandle file, uint64_t offset, void* out, size_t n_bytes) noexcept {
  OVERLAPPED at = {};
  at.Offset = static_cast<DWORD>(offset);
  at.OffsetHigh = static_cast<DWORD>(offset >> 32);
  DWORD n = 0;
  const auto most = static_cast<DWORD>(std::min<size_t>(n_bytes, 1 << 30));
  if (ReadFile(handle(file), out, most, &n, &at) != 0) return n;
  return GetLastError() == ERROR_HANDLE_EOF ? 0 : -1;
}

void will_read(FileHandle, uint64_t, uint64_t) noexcept {}

}  // namespace edgelm::os

#endif
