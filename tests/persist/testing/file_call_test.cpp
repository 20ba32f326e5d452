// FileCall and Fault: the words for calls, and which of them a disk notices.
#include "iqdb/persist/testing/file_call.hpp"

#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

#include "support/catch.hpp"

namespace of_file_call {

namespace {

using iqdb::testing::changes_disk;
using iqdb::testing::Fault;
using iqdb::testing::FileCall;
using iqdb::testing::FileCallRecord;
using iqdb::testing::is_sync;

std::vector<FileCall> every_call() {
  std::vector<FileCall> all;
  for (auto call = static_cast<unsigned>(FileCall::resolve); call <= static_cast<unsigned>(FileCall::abandon); ++call) {
    all.push_back(static_cast<FileCall>(call));
  }
  return all;
}

std::string text_of(FileCall call, std::uint64_t offset = 0) {
  return FileCallRecord{.call = call, .file = "log", .offset = offset, .bytes = 5, .number = 3}.text();
}

}  // namespace

TEST_CASE("FileCall: every call has a name", "[testing]") {
  for (const FileCall call : every_call()) {
    CHECK(to_string(call).size() > 2);
  }
  CHECK(to_string(static_cast<FileCall>(200)) == "?");
}

TEST_CASE("FileCall: a call in words says what is done to which file and where", "[testing]") {
  CHECK(text_of(FileCall::write, 64) == "write log at 64");
  CHECK(text_of(FileCall::read, 7) == "read log at 7");
  CHECK(text_of(FileCall::truncate, 9) == "truncate log to 9");
  CHECK(text_of(FileCall::sync_data, 9) == "sync data of log");
  CHECK(text_of(FileCall::remove) == "remove log");
  CHECK(text_of(FileCall::open_to_write) == "open to write log");
  CHECK(text_of(FileCall::sync_directory) == "sync directory");
}

TEST_CASE("FileCall: a disk notices what is written and synced and named and nothing else", "[testing]") {
  std::vector<FileCall> noticed;
  for (const FileCall call : every_call()) {
    if (changes_disk(call)) {
      noticed.push_back(call);
    }
  }
  CHECK(noticed == std::vector<FileCall>{FileCall::create, FileCall::write, FileCall::truncate, FileCall::sync,
                                         FileCall::sync_data, FileCall::sync_directory, FileCall::rename,
                                         FileCall::link, FileCall::remove});
}

TEST_CASE("FileCall: there are three syncs and a disk notices each", "[testing]") {
  std::vector<FileCall> syncs;
  for (const FileCall call : every_call()) {
    if (is_sync(call)) {
      syncs.push_back(call);
      CHECK(changes_disk(call));
    }
  }
  CHECK(syncs == std::vector<FileCall>{FileCall::sync, FileCall::sync_data, FileCall::sync_directory});
}

TEST_CASE("Fault: the default lets a call be made as it is", "[testing]") {
  const Fault none;
  CHECK_FALSE(none.error);
  CHECK_FALSE(none.most_bytes);
}

TEST_CASE("Fault: an error is what a system call would report", "[testing]") {
  CHECK(iqdb::testing::system_error(ENOSPC) == std::errc::no_space_on_device);
  CHECK(iqdb::testing::system_error(EINTR) == std::errc::interrupted);
  CHECK(iqdb::testing::system_error(EIO).value() == EIO);
  CHECK_FALSE(iqdb::testing::system_error(0));
}

}  // namespace of_file_call
