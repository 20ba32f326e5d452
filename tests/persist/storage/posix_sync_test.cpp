// How a POSIX system is asked to put bytes where a power cut does not reach them: what counts is which calls are made, since
// no test can cut the power.
#include "iqdb/persist/storage/posix_sync.hpp"

#include <string>
#include <system_error>
#include "support/catch.hpp"

namespace {

// The calls that were made, and what the first of them answered.
struct SyncCalls {
  std::string made;
  std::error_code answer;
};

// Asks for a flush of the drive, which answers `flush`; a plain sync answers `plain`.
SyncCalls asked(std::error_code flush, std::error_code plain = {}) {
  SyncCalls calls;
  calls.answer = iqdb::posix_sync::flushed(
      [&] {
        calls.made += "flush ";
        return flush;
      },
      [&] {
        calls.made += "plain ";
        return plain;
      });
  return calls;
}

}  // namespace

TEST_CASE("posix sync: a drive that was flushed is not asked again", "[posix_sync]") {
  const SyncCalls calls = asked({});
  CHECK(calls.made == "flush ");
  CHECK_FALSE(calls.answer);
}

TEST_CASE("posix sync: where a file system has no flush, it is synced as it can", "[posix_sync]") {
  for (const std::errc has_none : {std::errc::not_supported, std::errc::operation_not_supported,
                                   std::errc::invalid_argument, std::errc::inappropriate_io_control_operation}) {
    const SyncCalls calls = asked(std::make_error_code(has_none));
    CAPTURE(std::make_error_code(has_none).message());
    CHECK(calls.made == "flush plain ");
    CHECK_FALSE(calls.answer);
  }
}

TEST_CASE("posix sync: what the plain sync answers is the answer where there is no flush", "[posix_sync]") {
  const SyncCalls calls =
      asked(std::make_error_code(std::errc::not_supported), std::make_error_code(std::errc::io_error));
  CHECK(calls.answer == std::errc::io_error);
}

TEST_CASE("posix sync: a flush that failed is not made good by a plain sync", "[posix_sync]") {
  for (const std::errc failed :
       {std::errc::io_error, std::errc::no_space_on_device, std::errc::bad_file_descriptor, std::errc::interrupted}) {
    const SyncCalls calls = asked(std::make_error_code(failed));
    CAPTURE(std::make_error_code(failed).message());
    CHECK(calls.made == "flush ");
    CHECK(calls.answer == failed);
  }
}
