#include "given_path.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <system_error>

#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/storage/object_address.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/text.hpp"

namespace iqdb_tool {

namespace {

using iqdb::PersistErrorKind;

std::string beginning_of(const std::filesystem::path& path) {
  iqdb::FileStorage storage;
  auto file = storage.open(storage.resolve(path));
  std::array<std::byte, 16> bytes{};
  const std::size_t count = file ? file->read_at(0, bytes) : 0;
  std::string text;
  for (const std::byte byte : std::span(bytes).first(count)) {
    text += static_cast<char>(byte);
  }
  return text;
}

bool is_there(const std::filesystem::path& path) {
  std::error_code unknown;
  return std::filesystem::exists(path, unknown);
}

}  // namespace

GivenPath look_at(const std::string& path) {
  if (path.empty()) {
    iqdb::throw_persist_error(PersistErrorKind::invalid_config, "the path is empty; name a file");
  }
  GivenPath given{.path = path, .snapshot = path};
  const auto strip = [&](std::string_view ending) {
    const bool ends = path.size() > ending.size() && path.ends_with(ending);
    if (ends) {
      given.snapshot = path.substr(0, path.size() - ending.size());
    }
    return ends;
  };
  given.names_torn = strip(".wal.torn");
  given.names_log = !given.names_torn && strip(".wal");
  given.snapshot_exists = is_there(given.snapshot);

  iqdb::FileStorage storage;
  auto file = storage.open(storage.resolve(path));
  if (!file) {
    return given;
  }
  if (file->size() == 0) {
    given.kind = FileKind::empty;
    return given;
  }
  const std::string beginning = beginning_of(path);
  given.kind = beginning.starts_with(iqdb::snapshot_magic) ? FileKind::snapshot
               : beginning.starts_with(iqdb::log_magic)    ? FileKind::log
                                                           : FileKind::other;
  // A log without a whole header or with a damaged one is a log by its name.
  if (given.kind == FileKind::other && (given.names_log || given.names_torn)) {
    given.kind = FileKind::log;
  }
  return given;
}

std::filesystem::path index_at(const std::string& path) {
  if (iqdb::is_object_address(path)) {
    constexpr std::string_view log_ending = ".wal";
    return path.ends_with(log_ending) ? path.substr(0, path.size() - log_ending.size()) : path;
  }
  const GivenPath given = look_at(path);
  if (given.kind == FileKind::snapshot) {
    return given.path;
  }
  if (given.names_log && given.snapshot_exists) {
    return given.snapshot;
  }
  switch (given.kind) {
    case FileKind::missing:
      throw_missing(given);
    case FileKind::empty:
      throw_empty(given);
    default:
      throw_unknown(given, "the snapshot of an index, or the log beside one");
  }
}

void throw_missing(const GivenPath& given) {
  std::string message = "there is no such file; check the path";
  if (is_there(iqdb::log_path(given.path))) {
    message = "there is no snapshot, but its log '" + iqdb::log_path(given.path).string() +
              "' is there; put the snapshot back: without it the log cannot be loaded";
  } else if (given.names_log && given.snapshot_exists) {
    message = "the index '" + given.snapshot.string() + "' has no log; it has what its snapshot has";
  }
  iqdb::throw_persist_error(
      PersistErrorKind::io, message,
      {.path = given.path, .code = std::make_error_code(std::errc::no_such_file_or_directory), .offset = {}});
}

void throw_empty(const GivenPath& given) {
  const std::string name = given.path.filename().string();
  iqdb::throw_persist_error(
      PersistErrorKind::truncated_header,
      name.ends_with(".lock")
          ? "this is the lock file of an index, and always empty; name the index, '" +
                name.substr(0, name.size() - std::string_view(".lock").size()) + "'"
          : "the file is empty: it is no snapshot and no log, and holds nothing to recover; put it back from a copy",
      {.path = given.path, .code = {}, .offset = {}});
}

void throw_unknown(const GivenPath& given, std::string_view expected) {
  iqdb::throw_persist_error(PersistErrorKind::bad_magic,
                            "this is " + std::string(expected) + ": it begins with " +
                                iqdb::printable(beginning_of(given.path)) + "; check the path",
                            {.path = given.path, .code = {}, .offset = 0});
}

}  // namespace iqdb_tool
