// That the calls which make something durable reach the system: nothing but a power cut could tell by the files.
#include "iqdb/persist/storage/posix_file_system.hpp"

#include <unistd.h>

#include <array>
#include <system_error>

#include "support/catch.hpp"

TEST_CASE("A sync asks the system, which refuses to sync a pipe", "[file_system]") {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const iqdb::PosixFileSystem fs;
  CHECK(fs.sync(ends[1]) == std::errc::invalid_argument);
  CHECK(fs.sync_data(ends[1]) == std::errc::invalid_argument);
  for (const int end : ends) {
    fs.close(end);
  }
}
