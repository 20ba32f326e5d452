// Indexes on the files of Windows: their names, their messages, and what there is no fork for.
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/path_text.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "iqdb/persist/storage/directory_object_store.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace stdfs = std::filesystem;

using iqdb::PersistErrorKind;
using iqdb_test::TemporaryDirectory;
using SharedFlat = iqdb::SharedIndex<iqdb::FlatIndex>;

// Requires a PersistError of this kind that says this.
template <class Call>
void expect_error(PersistErrorKind kind, std::string_view part, Call&& call) {
  const iqdb::PersistError error = iqdb_test::require_kind(kind, std::forward<Call>(call));
  INFO(error.what());
  CHECK(iqdb_test::mentions(error, part));
}

const std::vector<std::byte> some_bytes{std::byte{1}, std::byte{2}};

}  // namespace

TEST_CASE("what another program has open for good is said so on Windows", "[windows]") {
  const TemporaryDirectory directory;
  iqdb_test::write_bytes(directory / "file", some_bytes);
  const HANDLE alone = ::CreateFileW((directory / "file").c_str(), GENERIC_READ, 0, nullptr, OPEN_EXISTING,
                                     FILE_ATTRIBUTE_NORMAL, nullptr);
  REQUIRE(alone != INVALID_HANDLE_VALUE);
  expect_error(PersistErrorKind::io, "another program has the file open",
               [&] { std::ignore = iqdb::FileStorage().open(directory / "file"); });
  ::CloseHandle(alone);
}

TEST_CASE("an index of Windows may have a long path and a name in any script", "[windows]") {
  const TemporaryDirectory directory;
  stdfs::path deep = directory.path();
  iqdb::NativeFileSystem fs;
  for (int level = 0; level < 8; ++level) {
    deep /= std::wstring(40, L'd');
    REQUIRE(!fs.make_directory(deep, 0));
  }
  const stdfs::path path = deep / L"W\u00F6rter \u65E5\u672C \U0001F600.iqdb";
  REQUIRE(path.native().size() > MAX_PATH);
  {
    auto db = iqdb_test::DurableIndex::open_with(iqdb_test::empty_index(), {.path = path, .wal_enabled = true});
    iqdb_test::insert_row(db, 1);
    db.checkpoint();
    iqdb_test::insert_row(db, 2);
  }
  const auto db = iqdb_test::DurableIndex::load({.path = path, .wal_enabled = true});
  CHECK(db.index().size() == 2);
}

TEST_CASE("a message of Windows has the name in UTF-8", "[windows]") {
  const TemporaryDirectory directory;
  const stdfs::path path = directory / L"W\u00F6rter \U0001F600.iqdb";
  expect_error(PersistErrorKind::io, "W\u00F6rter \U0001F600.iqdb",
               [&] { std::ignore = iqdb_test::DurableIndex::load({.path = path}); });
  CHECK(iqdb::path_text(L"a\u00F6\U0001F600") == "a\u00F6\U0001F600");
  CHECK(iqdb::path_text(std::wstring{0xD800}) == "(a name that is no Unicode)");
}

TEST_CASE("Windows has no fork, and says so to who asks for one", "[windows]") {
  const TemporaryDirectory directory;
  expect_error(PersistErrorKind::invalid_config, "the system has no fork, as Windows", [&] {
    std::ignore =
        SharedFlat::open_with(iqdb_test::empty_index(),
                              {.path = directory / "x.iqdb", .wal_enabled = true, .freezing = iqdb::Freezing::by_fork});
  });
}

TEST_CASE("a checkpoint on Windows waits, or copies the index", "[windows]") {
  const TemporaryDirectory directory;
  for (const auto freezing : {iqdb::Freezing::automatic, iqdb::Freezing::by_copy, iqdb::Freezing::by_waiting}) {
    const stdfs::path path = directory / ("x" + std::to_string(static_cast<int>(freezing)) + ".iqdb");
    const iqdb::PersistConfig config{.path = path, .wal_enabled = true, .freezing = freezing};
    {
      SharedFlat db = SharedFlat::open_with(iqdb_test::empty_index(), config);
      iqdb_test::insert_row(db, 1);
      db.checkpoint();
      iqdb_test::insert_row(db, 2);
    }
    CHECK(iqdb_test::DurableIndex::load(config).index().size() == 2);
  }
}

TEST_CASE("a key of an object leads out of no directory of Windows", "[windows]") {
  const TemporaryDirectory directory;
  stdfs::create_directory(directory / "store");
  iqdb::DirectoryObjectStore store(directory / "store");
  for (const char* key : {R"(a\..\..\b)", "C:b", R"(C:\b)"}) {
    expect_error(PersistErrorKind::invalid_config, "no file of this system", [&] { store.put(key, some_bytes); });
  }
  expect_error(PersistErrorKind::io, "", [&] { store.put("ab:c", some_bytes); });
  store.put("a/\u00F6", some_bytes);
  CHECK(store.list("", "", 9) == std::vector<std::string>{"a/\u00F6"});
  CHECK(stdfs::exists(directory / "store" / "a" / L"\u00F6"));
}
