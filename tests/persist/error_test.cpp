#include "iqdb/persist/error.hpp"

#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>

#include "support/catch.hpp"
#include "support/expect_error.hpp"

namespace {

using iqdb::PersistError;
using iqdb::PersistErrorContext;
using iqdb::PersistErrorKind;
using iqdb_test::error_of;
using iqdb_test::require_kind;

static_assert(std::is_base_of_v<std::runtime_error, PersistError>);
// An exception object is copied where throwing another would end the program.
static_assert(std::is_nothrow_copy_constructible_v<PersistError>);
static_assert(std::is_nothrow_copy_assignable_v<PersistError>);

PersistErrorContext full_context() {
  return {.path = "/data/a.iqdb", .code = std::make_error_code(std::errc::no_space_on_device), .offset = 17};
}

}  // namespace

TEST_CASE("PersistErrorKind: to_string gives the name in the source and unknown for what is none", "[error]") {
  CHECK(to_string(PersistErrorKind::io) == "io");
  CHECK(to_string(PersistErrorKind::bad_magic) == "bad_magic");
  CHECK(to_string(PersistErrorKind::unsupported_version) == "unsupported_version");
  CHECK(to_string(PersistErrorKind::truncated_header) == "truncated_header");
  CHECK(to_string(PersistErrorKind::truncated_payload) == "truncated_payload");
  CHECK(to_string(PersistErrorKind::checksum_mismatch) == "checksum_mismatch");
  CHECK(to_string(PersistErrorKind::invalid_metric) == "invalid_metric");
  CHECK(to_string(PersistErrorKind::invalid_index_type) == "invalid_index_type");
  CHECK(to_string(PersistErrorKind::invalid_payload) == "invalid_payload");
  CHECK(to_string(PersistErrorKind::compression) == "compression");
  CHECK(to_string(PersistErrorKind::unsupported) == "unsupported");
  CHECK(to_string(PersistErrorKind::index_build) == "index_build");
  CHECK(to_string(PersistErrorKind::locked) == "locked");
  CHECK(to_string(PersistErrorKind::log_corrupted) == "log_corrupted");
  CHECK(to_string(PersistErrorKind::log_mismatch) == "log_mismatch");
  CHECK(to_string(PersistErrorKind::replay_rejected) == "replay_rejected");
  CHECK(to_string(PersistErrorKind::record_too_large) == "record_too_large");
  CHECK(to_string(PersistErrorKind::would_discard_log) == "would_discard_log");
  CHECK(to_string(PersistErrorKind::log_present) == "log_present");
  CHECK(to_string(PersistErrorKind::fenced) == "fenced");
  CHECK(to_string(PersistErrorKind::poisoned) == "poisoned");
  CHECK(to_string(PersistErrorKind::invalid_config) == "invalid_config");
  CHECK(to_string(static_cast<PersistErrorKind>(255)) == "unknown");
}

TEST_CASE("PersistError: without a context it is its message and nothing else", "[error]") {
  const PersistError error(PersistErrorKind::compression, "the codec failed");
  CHECK(error.kind() == PersistErrorKind::compression);
  CHECK(std::string(error.what()) == "the codec failed");
  CHECK(error.path().empty());
  CHECK_FALSE(error.code());
  CHECK_FALSE(error.offset().has_value());
}

TEST_CASE("PersistError: the message names file and offset and the system's answer", "[error]") {
  const PersistError error(PersistErrorKind::io, "cannot write", full_context());
  const std::string answer = std::make_error_code(std::errc::no_space_on_device).message();
  CHECK(std::string(error.what()) == "'/data/a.iqdb': cannot write (at byte 17): " + answer);
}

TEST_CASE("PersistError: keeps path and code and offset", "[error]") {
  const PersistError error(PersistErrorKind::io, "cannot write", full_context());
  CHECK(error.path() == "/data/a.iqdb");
  CHECK(error.code() == std::errc::no_space_on_device);
  CHECK(error.offset() == 17);
}

TEST_CASE("PersistError: an offset of zero is an offset", "[error]") {
  const PersistError error(PersistErrorKind::io, "cannot read", {.path = {}, .code = {}, .offset = 0});
  CHECK(error.offset() == 0);
  CHECK(iqdb_test::mentions(error, "(at byte 0)"));
}

TEST_CASE("PersistError: in_file names the file and keeps the rest", "[error]") {
  const PersistError error(PersistErrorKind::io, "cannot write", full_context());
  const PersistError moved = error.in_file("/other");
  CHECK(moved.kind() == PersistErrorKind::io);
  CHECK(moved.path() == "/other");
  CHECK(moved.code() == error.code());
  CHECK(moved.offset() == error.offset());
  CHECK(iqdb_test::mentions(moved, "'/other': cannot write (at byte 17)"));
  CHECK_FALSE(iqdb_test::mentions(moved, "/data"));
  CHECK(error.path() == "/data/a.iqdb");
}

TEST_CASE("PersistError: a copy is the same error", "[error]") {
  const PersistError error(PersistErrorKind::io, "cannot write", full_context());
  PersistError copy(PersistErrorKind::locked, "other");
  copy = error;
  CHECK(copy.kind() == error.kind());
  CHECK(copy.path() == error.path());
  CHECK(copy.code() == error.code());
  CHECK(copy.offset() == error.offset());
  CHECK(std::string(copy.what()) == error.what());
}

TEST_CASE("throw_persist_error: throws what it is given", "[error]") {
  const auto error = require_kind(PersistErrorKind::locked,
                                  [] { iqdb::throw_persist_error(PersistErrorKind::locked, "held", full_context()); });
  CHECK(error.path() == "/data/a.iqdb");
  CHECK(error.offset() == 17);
}

TEST_CASE("naming_file: passes on what the call returns", "[error]") {
  int number = 5;
  CHECK(iqdb::naming_file("/f", [&] { return number + 1; }) == 6);
  int& same = iqdb::naming_file("/f", [&]() -> int& { return number; });
  CHECK(&same == &number);
}

TEST_CASE("naming_file: an error that names no file names this one", "[error]") {
  const auto error = error_of([] {
    iqdb::naming_file("/f", [] {
      iqdb::throw_persist_error(PersistErrorKind::bad_magic, "no snapshot", {.path = {}, .code = {}, .offset = 3});
    });
  });
  CHECK(error.kind() == PersistErrorKind::bad_magic);
  CHECK(error.path() == "/f");
  CHECK(error.offset() == 3);
}

TEST_CASE("naming_file: an error that names a file keeps it", "[error]") {
  const auto error = error_of(
      [] { iqdb::naming_file("/f", [] { iqdb::throw_persist_error(PersistErrorKind::io, "x", {.path = "/g"}); }); });
  CHECK(error.path() == "/g");
}

TEST_CASE("naming_file: other exceptions pass unchanged", "[error]") {
  CHECK_THROWS_AS(iqdb::naming_file("/f", [] { throw std::out_of_range("x"); }), std::out_of_range);
  CHECK_THROWS_AS(iqdb::naming_file("/f", [] { throw 7; }), int);
}

TEST_CASE("naming_file: an error with another nested in it names the file and keeps what is nested", "[error]") {
  try {
    iqdb::naming_file("/f", [] {
      try {
        throw std::out_of_range("inner");
      } catch (const std::out_of_range&) {
        std::throw_with_nested(PersistError(PersistErrorKind::index_build, "outer"));
      }
    });
    FAIL("nothing was thrown");
  } catch (const PersistError& error) {
    CHECK(error.kind() == PersistErrorKind::index_build);
    CHECK(error.path() == "/f");
    CHECK_THROWS_AS(std::rethrow_if_nested(error), std::out_of_range);
  }
}

TEST_CASE("naming_file: an error with another nested in it that names a file passes unchanged", "[error]") {
  try {
    iqdb::naming_file("/f", [] {
      try {
        throw std::out_of_range("inner");
      } catch (const std::out_of_range&) {
        std::throw_with_nested(PersistError(PersistErrorKind::index_build, "outer", {.path = "/g"}));
      }
    });
    FAIL("nothing was thrown");
  } catch (const PersistError& error) {
    CHECK(error.path() == "/g");
    CHECK_THROWS_AS(std::rethrow_if_nested(error), std::out_of_range);
  }
}
