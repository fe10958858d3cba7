#include "core/os.h"

#include <cstring>
#include <string>

#include "gguf_bytes.h"
#include "testing.h"

namespace os = edgelm::os;

TEST(os_pages_have_a_size_and_the_machine_has_some) {
  const size_t page = os::page_bytes();
  EXPECT(page >= 4096 && (page & (page - 1)) == 0) << page;
  EXPECT(os::physical_bytes() % page == 0 && os::physical_bytes() > (64u << 20));
  EXPECT(os::process_id() > 0);
}

TEST(os_allocates_zeros) {
  for (const size_t bytes : {size_t{1}, size_t{100'000}, size_t{20} << 20}) {
    auto* start = static_cast<char*>(os::allocate(bytes));
    EXPECT(start != nullptr);
    EXPECT(start[0] == 0 && start[bytes - 1] == 0);
    start[bytes - 1] = 1;
    os::release(start, bytes);
  }
}

TEST(os_commits_a_page_again) {
  const size_t page = os::page_bytes(), all = page << 16;  // more than is ever touched
  auto* start = static_cast<char*>(os::reserve(all));
  EXPECT(start != nullptr);
  char* middle = start + (page << 15);
  for (int round = 0; round < 3; ++round) {
    EXPECT(os::commit(middle, 2 * page)) << os::last_error();
    std::memset(middle, round + 1, 2 * page);
    EXPECT(middle[2 * page - 1] == round + 1);
    os::decommit(middle, 2 * page);
  }
  os::release(start, all);
}

TEST(os_reserves_no_more_than_there_is) { EXPECT(os::reserve(size_t{1} << 62) == nullptr); }

TEST(os_reads_files_at_an_offset) {
  const TemporaryFile name("os");
  name.write("0123456789");
  const os::FileHandle file = os::open_file(name.path());
  EXPECT(file != os::kNoFile) << os::last_error();
  os::FileStatus status;
  EXPECT(os::file_status(file, status));
  EXPECT(status.regular && status.n_bytes == 10 && status.modified_ns != 0);
  char bytes[8];
  EXPECT(os::read_file(file, 6, bytes, 8) == 4);
  EXPECT(std::string(bytes, 4) == "6789");
  EXPECT(os::read_file(file, 0, bytes, 2) == 2 && bytes[0] == '0') << "there is no position";
  EXPECT(os::read_file(file, 10, bytes, 8) == 0);
  EXPECT(os::read_file(file, uint64_t{1} << 40, bytes, 8) == 0);
  os::will_read(file, 0, 10);
  os::close_file(file);
}

TEST(os_says_why_a_file_does_not_open) {
  EXPECT(os::open_file(std::filesystem::temp_directory_path() / "no such file") == os::kNoFile);
  EXPECT(!os::last_error().empty());
  const os::FileHandle folder = os::open_file(std::filesystem::temp_directory_path());
  os::FileStatus status;
  EXPECT(folder == os::kNoFile || !os::file_status(folder, status) || !status.regular);
  if (folder != os::kNoFile) os::close_file(folder);
}
