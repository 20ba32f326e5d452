#include "iqdb/persist/storage/directory_object_store.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/files.hpp"
#include "support/temporary_directory.hpp"

namespace of_directory_object_store {

using iqdb::DirectoryObjectStore;
using iqdb::ObjectBytes;
using iqdb::PersistErrorKind;
using iqdb::PutOutcome;
using iqdb_test::CallRecord;
using iqdb_test::error_of;
using iqdb_test::Fault;
using iqdb_test::FileCall;
using iqdb_test::require_kind;
using iqdb_test::system_error;
using iqdb_test::TemporaryDirectory;

// With two calls that FaultyFileSystem lacks.
struct FaultyFiles : iqdb_test::FaultyFileSystem {
  std::error_code make_directory(const std::filesystem::path& path, std::uint32_t permissions) {
    return iqdb::NativeFileSystem().make_directory(path, permissions);
  }
  std::error_code remove_directory(Handle directory, const std::filesystem::path& name) {
    return iqdb::NativeFileSystem().remove_directory(directory, name);
  }
};

using FaultyStore = iqdb::BasicDirectoryObjectStore<FaultyFiles>;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::optional<std::string> text_of(const std::optional<ObjectBytes>& bytes) {
  if (!bytes) {
    return std::nullopt;
  }
  std::string text(bytes->size(), '\0');
  std::ranges::transform(*bytes, text.begin(), [](std::byte each) { return static_cast<char>(each); });
  return text;
}

std::size_t files_below(const std::filesystem::path& path) {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    files += entry.is_regular_file() ? 1U : 0U;
  }
  return files;
}

std::vector<FileCall> changes(const FaultyFiles& files) {
  std::vector<FileCall> calls;
  for (const CallRecord& record : files.calls()) {
    if (record.call == FileCall::sync || record.call == FileCall::sync_directory || record.call == FileCall::link ||
        record.call == FileCall::rename || record.call == FileCall::remove) {
      calls.push_back(record.call);
    }
  }
  return calls;
}

TEST_CASE("DirectoryObjectStore: the first put if absent of a key stores and the others change nothing",
          "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  DirectoryObjectStore store(directory.path());
  CHECK(store.put_if_absent("a/log/1", bytes_of("first")) == PutOutcome::stored);
  CHECK(store.put_if_absent("a/log/1", bytes_of("other")) == PutOutcome::was_there);
  DirectoryObjectStore other(directory.path());
  CHECK(other.put_if_absent("a/log/1", bytes_of("third")) == PutOutcome::was_there);
  CHECK(text_of(other.get("a/log/1")) == "first");
  CHECK(files_below(directory.path()) == 1);
}

TEST_CASE("DirectoryObjectStore: of many threads that put one key at once one stores", "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  constexpr std::size_t threads = 4;
  constexpr std::size_t keys = 50;
  std::vector<std::vector<PutOutcome>> outcomes(threads);
  std::vector<std::thread> running;
  for (std::size_t at = 0; at < threads; ++at) {
    running.emplace_back([&, at] {
      DirectoryObjectStore store(directory.path());
      for (std::size_t key = 0; key < keys; ++key) {
        outcomes[at].push_back(store.put_if_absent("folder/" + std::to_string(key), bytes_of(std::to_string(at))));
      }
    });
  }
  for (std::thread& each : running) {
    each.join();
  }
  DirectoryObjectStore store(directory.path());
  for (std::size_t key = 0; key < keys; ++key) {
    std::string winner;
    for (std::size_t at = 0; at < threads; ++at) {
      winner += outcomes[at].at(key) == PutOutcome::stored ? std::to_string(at) : "";
    }
    CHECK(text_of(store.get("folder/" + std::to_string(key))) == winner);
  }
  CHECK(files_below(directory.path()) == keys);
}

TEST_CASE("DirectoryObjectStore: put replaces the whole object", "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  DirectoryObjectStore store(directory.path());
  store.put("a", bytes_of("a longer one"));
  store.put("a", bytes_of("short"));
  CHECK(text_of(store.get("a")) == "short");
  CHECK(files_below(directory.path()) == 1);
}

TEST_CASE("DirectoryObjectStore: ranges are cut off at the end and what is not there is nothing",
          "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  DirectoryObjectStore store(directory.path());
  store.put("a/b", bytes_of("0123456789"));
  CHECK(text_of(store.get("a/b", 2, 3)) == "234");
  CHECK(text_of(store.get("a/b", 8, 100)) == "89");
  CHECK(text_of(store.get("a/b", 10, 1)).value().empty());
  CHECK(text_of(store.get("a/b", std::uint64_t{1} << 60U, 1)).value().empty());
  CHECK(store.head("a/b") == 10U);
  for (const char* absent : {"b", "a/c", "c/d/e", "a", "a/b/c"}) {
    CHECK_FALSE(store.get(absent));
    CHECK_FALSE(store.head(absent));
  }
}

TEST_CASE("DirectoryObjectStore: lists keys in the order of their bytes in pages and no temporary files",
          "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  DirectoryObjectStore store(directory.path());
  for (const char* key : {"a/b", "a-b", "a/b-c", "a/bc/d", "b", "a/log/2", "a/log/10", "a.b"}) {
    store.put(key, bytes_of("x"));
  }
  iqdb_test::write_bytes(directory.path() / "a/.tmp-1", bytes_of("left behind"));
  const std::vector<std::string> all = {"a-b", "a.b", "a/b", "a/b-c", "a/bc/d", "a/log/10", "a/log/2", "b"};
  CHECK(store.list("", "", 100) == all);
  for (std::size_t page = 1; page <= all.size(); ++page) {
    std::vector<std::string> keys;
    for (auto some = store.list("", "", page); !some.empty(); some = store.list("", keys.back(), page)) {
      CHECK(some.size() <= page);
      keys.insert(keys.end(), some.begin(), some.end());
    }
    CHECK(keys == all);
  }
  CHECK(store.list("a/b", "", 100) == std::vector<std::string>{"a/b", "a/b-c", "a/bc/d"});
  CHECK(store.list("a/log/", "a/log/1", 100) == std::vector<std::string>{"a/log/10", "a/log/2"});
  CHECK(store.list("a/log/", "a/log/2", 100).empty());
  CHECK(store.list("no/such/", "", 100).empty());
  CHECK(store.list("../", "", 100).empty());
}

TEST_CASE("DirectoryObjectStore: deletes an object once and does nothing where there is none",
          "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  DirectoryObjectStore store(directory.path());
  store.put("a/b", bytes_of("x"));
  store.remove("a/b");
  store.remove("a/b");
  store.remove("c/d");
  store.remove("a");
  CHECK_FALSE(store.get("a/b"));
  CHECK(store.list("", "", 10).empty());
  CHECK(store.put_if_absent("a/b", bytes_of("y")) == PutOutcome::stored);
}

TEST_CASE("DirectoryObjectStore: refuses keys that lead out of its directory, and one that is a folder",
          "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  std::filesystem::create_directory(directory.path() / "root");
  DirectoryObjectStore store(directory.path() / "root");
  for (const char* key : {"", "../a", "a/../../b", "/a", ".tmp-1", "a//b"}) {
    require_kind(PersistErrorKind::invalid_config, [&] { return store.put_if_absent(key, bytes_of("x")); });
    require_kind(PersistErrorKind::invalid_config, [&] { store.put(key, bytes_of("x")); });
    require_kind(PersistErrorKind::invalid_config, [&] { return store.get(key); });
    require_kind(PersistErrorKind::invalid_config, [&] { return store.head(key); });
    require_kind(PersistErrorKind::invalid_config, [&] { store.remove(key); });
  }
  CHECK(files_below(directory.path()) == 0);
  store.put("a/b", bytes_of("x"));
  require_kind(PersistErrorKind::invalid_config, [&] { return store.put_if_absent("a", bytes_of("x")); });
  require_kind(PersistErrorKind::io, [&] { return store.put_if_absent("a/b/c", bytes_of("x")); });
  CHECK(files_below(directory.path()) == 1);
}

TEST_CASE("DirectoryObjectStore: an object is synced before it has a name and its folder before success is told",
          "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  FaultyFiles files;
  FaultyStore store(directory.path(), files);
  files.plan({});
  CHECK(store.put_if_absent("a/b/c", bytes_of("x")) == PutOutcome::stored);
  // The names of both folders, then the object.
  CHECK(changes(files) == std::vector{FileCall::sync_directory, FileCall::sync_directory, FileCall::sync,
                                      FileCall::link, FileCall::remove, FileCall::sync_directory});
  files.plan({});
  store.put("a/b/d", bytes_of("x"));
  CHECK(changes(files) == std::vector{FileCall::sync, FileCall::rename, FileCall::remove, FileCall::sync_directory});
  files.plan({});
  store.remove("a/b/d");
  CHECK(changes(files) == std::vector{FileCall::remove, FileCall::sync_directory});
}

TEST_CASE("DirectoryObjectStore: an object that was there is durable before that is told", "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  FaultyFiles files;
  FaultyStore store(directory.path(), files);
  std::ignore = store.put_if_absent("a", bytes_of("x"));
  files.plan({});
  CHECK(store.put_if_absent("a", bytes_of("x")) == PutOutcome::was_there);
  CHECK(changes(files).back() == FileCall::sync_directory);
}

TEST_CASE("DirectoryObjectStore: after a failed sync nothing is told to be stored any more",
          "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  for (const FileCall which : {FileCall::sync, FileCall::sync_directory}) {
    FaultyFiles files;
    FaultyStore store(directory.path(), files);
    std::ignore = store.put_if_absent("there", bytes_of("x"));
    files.plan([which, done = false](const CallRecord& call) mutable {
      const bool fails = call.call == which && !std::exchange(done, done || call.call == which);
      return Fault{.error = system_error(fails ? EIO : 0)};
    });
    require_kind(PersistErrorKind::io, [&] { return store.put_if_absent("new", bytes_of("x")); });
    const auto again = require_kind(PersistErrorKind::io, [&] { return store.put_if_absent("there", bytes_of("x")); });
    CHECK(std::string(again.what()).find("an earlier sync") != std::string::npos);
    require_kind(PersistErrorKind::io, [&] { store.put("new", bytes_of("x")); });
    require_kind(PersistErrorKind::io, [&] { store.remove("there"); });
    CHECK(text_of(store.get("there")) == "x");
    CHECK(files.open_files() == 0);
  }
}

TEST_CASE("DirectoryObjectStore: whichever call fails, no temporary file stays and no file stays open",
          "[directory_object_store]") {
  for (std::size_t call = 0;; ++call) {
    const TemporaryDirectory directory(iqdb_test::memory_directory());
    FaultyFiles files;
    FaultyStore store(directory.path(), files);
    std::filesystem::create_directory(directory.path() / "a");
    files.plan(iqdb_test::fail_call(call, EIO));
    bool has_failed = false;
    try {
      const PutOutcome outcome = store.put_if_absent("a/b", bytes_of("x"));
      CHECK(outcome == PutOutcome::stored);
    } catch (const iqdb::PersistError& error) {
      CHECK(error.kind() == PersistErrorKind::io);
      has_failed = true;
    }
    const bool was_made = files.calls().size() > call;
    CHECK(files.open_files() == 0);
    files.plan({});
    const auto left = store.get("a/b");
    // An object that is there is whole, and the only name there is: unless removing the temporary one is what failed.
    CHECK((!left || text_of(left) == "x"));
    const bool is_remove = !has_failed && files_below(directory.path()) == 2;
    CHECK((is_remove || files_below(directory.path()) == (left ? 1U : 0U)));
    CHECK(store.list("", "", 10).size() == (left ? 1U : 0U));
    if (!was_made) {
      break;
    }
  }
}

TEST_CASE("DirectoryObjectStore: interrupted calls are made again", "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  FaultyFiles files;
  FaultyStore store(directory.path(), files);
  files.plan([](const CallRecord& call) {
    return Fault{.error = system_error(call.number % 2 == 0 && call.call != FileCall::close ? EINTR : 0)};
  });
  CHECK(store.put_if_absent("a/b", bytes_of("x")) == PutOutcome::stored);
  store.put("a/b", bytes_of("y"));
  CHECK(text_of(store.get("a/b")) == "y");
  CHECK(store.list("a/", "", 1) == std::vector<std::string>{"a/b"});
  store.remove("a/b");
  CHECK(files.open_files() == 0);
}

TEST_CASE("DirectoryObjectStore: removes leftovers, and makes its own file again if it is taken for one",
          "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  std::filesystem::create_directory(directory.path() / "a");
  iqdb_test::write_bytes(directory.path() / "a/.tmp-1", bytes_of("left behind"));
  FaultyFiles files;
  FaultyStore store(directory.path(), files);
  bool is_first = true;
  files.plan([&](const CallRecord& call) {
    if (call.call == FileCall::link && std::exchange(is_first, false)) {
      CHECK(files_below(directory.path()) == 1);
      for (const auto& entry : std::filesystem::directory_iterator(directory.path() / "a")) {
        std::filesystem::remove(entry.path());
      }
    }
    return Fault{};
  });
  CHECK(store.put_if_absent("a/b", bytes_of("x")) == PutOutcome::stored);
  CHECK_FALSE(is_first);
  CHECK(text_of(store.get("a/b")) == "x");
  CHECK(files_below(directory.path()) == 1);
}

TEST_CASE("DirectoryObjectStore: parts are synced, and the object before its upload is gone",
          "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  FaultyFiles files;
  FaultyStore store(directory.path(), files);
  store.put("a/b", bytes_of("x"));
  files.plan({});
  const iqdb::ObjectUpload upload{.key = "a/c", .id = store.begin_upload("a/c")};
  CHECK(changes(files) == std::vector{FileCall::sync_directory});
  files.plan({});
  const std::vector<iqdb::UploadedPart> parts = {
      {.number = 1, .tag = store.put_part(upload, 1, bytes_of("y")).value()}};
  CHECK(changes(files) == std::vector{FileCall::sync, FileCall::sync_directory});
  files.plan({});
  CHECK(store.complete_upload(upload, parts) == iqdb::UploadOutcome::completed);
  // The object, then the upload, whose file is removed when it has no name any more.
  CHECK(changes(files) == std::vector{FileCall::sync, FileCall::rename, FileCall::remove, FileCall::sync_directory,
                                      FileCall::rename, FileCall::sync_directory, FileCall::remove});
  CHECK(text_of(store.get("a/c")) == "y");
  CHECK(files_below(directory.path()) == 2);
  CHECK(files.open_files() == 0);
}

TEST_CASE("DirectoryObjectStore: an upload is pending, or its object is there, whichever call fails",
          "[directory_object_store]") {
  for (std::size_t call = 0;; ++call) {
    const TemporaryDirectory directory(iqdb_test::memory_directory());
    FaultyFiles files;
    FaultyStore store(directory.path(), files);
    const iqdb::ObjectUpload upload{.key = "a/b", .id = store.begin_upload("a/b")};
    std::vector<iqdb::UploadedPart> parts;
    for (std::uint32_t number = 1; number <= 2; ++number) {
      parts.push_back({.number = number, .tag = store.put_part(upload, number, bytes_of("xy")).value()});
    }
    files.plan(iqdb_test::fail_call(call, EIO));
    bool has_failed = false;
    try {
      const auto outcome = store.complete_upload(upload, parts);
      CHECK(outcome == iqdb::UploadOutcome::completed);
    } catch (const iqdb::PersistError& error) {
      CHECK(error.kind() == PersistErrorKind::io);
      has_failed = true;
    }
    const bool was_made = files.calls().size() > call;
    CHECK(files.open_files() == 0);
    files.plan({});
    const auto left = store.get("a/b");
    const bool is_pending = !store.list_uploads("", {}, 10).empty();
    CHECK((!left || text_of(left) == "xyxy"));
    CHECK((left || is_pending));
    CHECK((has_failed || (left && !is_pending)));
    // Whatever failed: who opens the store next may complete or abort what is pending.
    DirectoryObjectStore other(directory.path());
    if (is_pending) {
      CHECK(other.complete_upload(upload, parts) == iqdb::UploadOutcome::completed);
    }
    CHECK(text_of(other.get("a/b")) == "xyxy");
    CHECK(other.list_uploads("", {}, 10).empty());
    if (!was_made) {
      break;
    }
  }
}

TEST_CASE("DirectoryObjectStore: a part and a completion that meet an abort find no upload",
          "[directory_object_store]") {
  for (const FileCall at : {FileCall::open, FileCall::read}) {
    const TemporaryDirectory directory(iqdb_test::memory_directory());
    FaultyFiles files;
    FaultyStore store(directory.path(), files);
    const iqdb::ObjectUpload upload{.key = "a/b", .id = store.begin_upload("a/b")};
    const std::vector<iqdb::UploadedPart> parts = {
        {.number = 1, .tag = store.put_part(upload, 1, bytes_of("1")).value()},
        {.number = 2, .tag = store.put_part(upload, 2, bytes_of("2")).value()}};
    bool is_first = true;
    files.plan([&](const CallRecord& call) {
      // The folder was found, and a file is created or read.
      if (call.call == at && call.number > 2 && std::exchange(is_first, false)) {
        DirectoryObjectStore(directory.path()).abort_upload(upload);
      }
      return Fault{};
    });
    CHECK(store.complete_upload(upload, parts) == iqdb::UploadOutcome::absent);
    CHECK_FALSE(is_first);
    CHECK_FALSE(store.get("a/b"));
    CHECK(files_below(directory.path()) == 0);
    CHECK_FALSE(store.put_part(upload, 3, bytes_of("3")));
  }
}

TEST_CASE("DirectoryObjectStore: what a crash left of an upload that had ended is removed",
          "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  std::filesystem::create_directories(directory.path() / "a/.tmp-1");
  iqdb_test::write_bytes(directory.path() / "a/.tmp-1/1-1", bytes_of("left behind"));
  DirectoryObjectStore store(directory.path());
  store.put("a/b", bytes_of("x"));
  CHECK(files_below(directory.path()) == 1);
  CHECK_FALSE(std::filesystem::exists(directory.path() / "a/.tmp-1"));
}

TEST_CASE("DirectoryObjectStore: an id or a tag that is none leads nowhere", "[directory_object_store]") {
  const TemporaryDirectory directory(iqdb_test::memory_directory());
  std::filesystem::create_directory(directory.path() / "root");
  iqdb_test::write_bytes(directory.path() / "1-secret", bytes_of("secret"));
  DirectoryObjectStore store(directory.path() / "root");
  const iqdb::ObjectUpload upload{.key = "b", .id = store.begin_upload("b")};
  for (const char* id : {"", "../1", "/", "x"}) {
    CHECK_FALSE(store.put_part({.key = "b", .id = id}, 1, bytes_of("x")));
    CHECK(store.complete_upload({.key = "b", .id = id}, {}) == iqdb::UploadOutcome::absent);
    CHECK_NOTHROW(store.abort_upload({.key = "b", .id = id}));
  }
  auto parts = std::vector<iqdb::UploadedPart>{{.number = 1, .tag = "/../../1-secret"}};
  require_kind(PersistErrorKind::invalid_config, [&] { return store.complete_upload(upload, parts); });
  // Nor do parts out of their order make an object.
  parts = {{.number = 2, .tag = store.put_part(upload, 2, bytes_of("2")).value()},
           {.number = 1, .tag = store.put_part(upload, 1, bytes_of("1")).value()}};
  require_kind(PersistErrorKind::invalid_config, [&] { return store.complete_upload(upload, parts); });
  CHECK_FALSE(store.get("b"));
}

TEST_CASE("DirectoryObjectStore: its directory must exist", "[directory_object_store]") {
  const TemporaryDirectory directory;
  require_kind(PersistErrorKind::io, [&] { DirectoryObjectStore(directory.path() / "none"); });
}

}  // namespace of_directory_object_store
