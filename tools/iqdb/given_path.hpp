// What a PATH of the command line leads to: users name a snapshot, its log, or one of the other files beside it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "iqdb/persist/error.hpp"

namespace iqdb_tool {

/// What a file is, by its first bytes.
enum class FileKind {
  missing,   ///< there is none
  empty,     ///< it has no bytes
  snapshot,  ///< it begins as a snapshot
  log,       ///< it begins as a log
  other,     ///< anything else
};

/// A path of the command line.
struct GivenPath {
  std::filesystem::path path;      ///< as it was given
  std::filesystem::path snapshot;  ///< the index that it belongs to: the same, or without ".wal" or ".wal.torn"
  FileKind kind = FileKind::missing;
  bool names_log = false;   ///< it ends with ".wal"
  bool names_torn = false;  ///< it ends with ".wal.torn"
  bool snapshot_exists = false;
};

/// Looks at what is at `path`. Throws PersistError invalid_config for an empty path, io if it cannot be opened, also for
/// a directory and other things that are no files.
[[nodiscard]] GivenPath look_at(const std::string& path);

/// The snapshot of the index that a path of the command line names, by its snapshot or its log; the address of an index on an
/// object store as it is, of which nothing is asked yet. Throws PersistError as look_at, throw_missing, throw_empty and
/// throw_unknown do.
[[nodiscard]] std::filesystem::path index_at(const std::string& path);

/// Throws PersistError io: there is no such file. The message says what lies beside it, if anything does.
[[noreturn]] void throw_missing(const GivenPath& given);

/// Throws PersistError truncated_header: the file is empty.
[[noreturn]] void throw_empty(const GivenPath& given);

/// Throws PersistError bad_magic: the file is neither a snapshot nor a log. `expected` says what it should be.
[[noreturn]] void throw_unknown(const GivenPath& given, std::string_view expected);

}  // namespace iqdb_tool
