// Inspects a snapshot and its log without the type of the index. Nothing here takes a lock or writes, and all of it may run
// beside a writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/snapshot/verify.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/log_end.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/log_replay.hpp"
#include "iqdb/persist/wal/read_only.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace inspection {

// Opens the file to which `path` leads. Throws PersistError io if it does not exist.
template <Storage S>
typename S::File open_existing(S& storage, const std::filesystem::path& path) {
  auto file = storage.open(storage.resolve(path));
  if (!file) {
    throw_persist_error(
        PersistErrorKind::io, "cannot look at the file; check the path",
        {.path = path, .code = std::make_error_code(std::errc::no_such_file_or_directory), .offset = {}});
  }
  return std::move(*file);
}
inline FileStorage::File open_existing(const std::filesystem::path& path) {
  FileStorage storage;
  return open_existing(storage, path);
}

}  // namespace inspection

/// The header of the snapshot at `path`; the contents are not read. Throws PersistError io if it cannot be read, and
/// what read_header(Reader&) throws.
[[nodiscard]] inline FileHeader read_header(const std::filesystem::path& path) {
  auto file = inspection::open_existing(path);
  return naming_file(path, [&] { return snapshot::read_header_of(file); });
}

/// Checks everything about the snapshot at `path` that can be checked without its index: the header, the checksum, and
/// that the data decompresses to the stated length. Reads it once. Uses buffer_bytes, helper_threads and on_progress of
/// `config`. Throws the PersistErrors of load_snapshot that do not depend on the index, and what on_progress throws.
inline SnapshotReport verify_snapshot(const std::filesystem::path& path, const PersistConfig& config = {}) {
  auto file = inspection::open_existing(path);
  return naming_file(path, [&] { return snapshot::verified(file, config); });
}

/// What a log says of itself.
struct LogReport {
  LogIdentity log = {};              ///< its version and its header
  std::uint64_t file_bytes = 0;      ///< the size of the file, with the space ahead of its end
  std::optional<LogScan> scan = {};  ///< all of it up to its end or its damage; nothing if it was not read whole
  std::optional<LogEnd> end = {};    ///< where it ends; nothing if that is not known
  std::optional<PersistError> problem =
      {};  ///< what keeps it from being loaded: log_corrupted, log_mismatch and others
};

/// What the files of an index say of themselves.
struct IndexReport {
  FileHeader header = {};             ///< the header of the snapshot
  std::uint64_t file_bytes = 0;       ///< the size of the snapshot
  Fingerprint fingerprint = {};       ///< what a log knows the snapshot by
  std::optional<LogReport> log = {};  ///< nothing if there is no log
};

/// How much inspect_index and inspect_log read.
struct InspectOptions {
  /// A larger log is not read whole: of it only the header and the end are looked at.
  std::uint64_t most_log_bytes = std::numeric_limits<std::uint64_t>::max();
  /// Threads besides the caller's that share the reading of a log.
  unsigned helper_threads = 0;
  /// Called now and then while a log is read, in the calling thread. An exception from it reaches the caller.
  std::function<void(const Progress&)> on_progress = {};
};

namespace inspection {

inline constexpr std::size_t piece_bytes = std::size_t{256} * 1024;

// Reads the log in `file`. Throws PersistError log_corrupted or log_mismatch for what a writer may be about to settle.
template <ReadableFile F>
LogReport read_log(F& file, const std::optional<Fingerprint>& snapshot, const InspectOptions& options,
                   BehindTheEnd behind = BehindTheEnd::examined) {
  LogReport report{.log = identify_log(file), .file_bytes = file.size()};
  if (report.file_bytes > options.most_log_bytes) {
    report.end = find_log_end(file, report.log);
    return report;
  }
  HelperThreads helpers(options.helper_threads);
  ProgressMeter progress(options.on_progress, Progress::Phase::verify, report.file_bytes);
  report.scan = scan_log(file, snapshot.value_or(Fingerprint()), piece_bytes, helpers.if_any(), behind, &progress);
  report.end = LogEnd{.position = report.scan->end, .closed = report.scan->closed};
  if (snapshot && !report.scan->replay && behind == BehindTheEnd::examined) {
    recovery::throw_log_mismatch(report.scan->log, *snapshot, report.scan->mutations);
  }
  return report;
}

// The report on a log that `problem` keeps from being loaded: as much as can be read.
template <ReadableFile F>
LogReport report_problem(F& file, const std::optional<Fingerprint>& snapshot, const InspectOptions& options,
                         PersistError problem) {
  LogReport report{.file_bytes = file.size()};
  if (problem.kind() == PersistErrorKind::log_corrupted || problem.kind() == PersistErrorKind::log_mismatch) {
    try {
      report = read_log(file, snapshot, options, BehindTheEnd::ignored);
    } catch (const PersistError& error) {
      if (error.kind() == PersistErrorKind::io) {
        throw;
      }
      // Its header is damaged, and tells nothing.
    }
  }
  report.problem = std::move(problem);
  return report;
}

}  // namespace inspection

/// Reads the log at `path`, by its own name, e.g. "x.iqdb.wal". Damage is a part of the report, and so is that the log does
/// not continue `snapshot`, if that is given. Throws PersistError io, and std::bad_alloc.
[[nodiscard]] inline LogReport inspect_log(const std::filesystem::path& path,
                                           const std::optional<Fingerprint>& snapshot = {},
                                           const InspectOptions& options = {}) {
  return naming_file(path, [&] {
    try {
      return read_only::until_they_fit([&] {
        auto file = inspection::open_existing(path);
        return naming_file(path, [&] { return inspection::read_log(file, snapshot, options); });
      });
    } catch (const PersistError& error) {
      if (error.kind() == PersistErrorKind::io) {
        throw;
      }
      auto file = inspection::open_existing(path);
      return inspection::report_problem(file, snapshot, options, error);
    }
  });
}

/// Reads the header of the snapshot at `path` and the log beside it, which belong together as in a load, also while a
/// writer goes on. What is wrong with the log is a part of the report. Throws PersistError io, also if there is no
/// snapshot, what read_header throws, and std::bad_alloc.
template <Storage S>
[[nodiscard]] IndexReport inspect_index(S& storage, const std::filesystem::path& path,
                                        const InspectOptions& options = {}) {
  const std::filesystem::path name = storage.resolve(path);
  const auto attempt = [&](bool once_more) {
    // The log first: if a checkpoint replaces both in between, the log is the one that still has everything.
    auto log = storage.open(log_path(name));
    auto file = inspection::open_existing(storage, name);
    IndexReport report{.header = naming_file(path, [&] { return snapshot::read_header_of(file); }),
                       .file_bytes = file.size()};
    report.fingerprint = fingerprint(report.header, report.file_bytes);
    if (log) {
      try {
        report.log =
            naming_file(log_path(path), [&] { return inspection::read_log(*log, report.fingerprint, options); });
      } catch (const PersistError& error) {
        if (once_more || error.kind() == PersistErrorKind::io) {
          throw;
        }
        report.log = naming_file(log_path(path),
                                 [&] { return inspection::report_problem(*log, report.fingerprint, options, error); });
      }
    }
    return report;
  };
  try {
    return read_only::until_they_fit([&] { return attempt(true); });
  } catch (const PersistError& error) {
    if (error.kind() == PersistErrorKind::io) {
      throw;
    }
    return attempt(false);
  }
}

/// The same for an index of files.
[[nodiscard]] inline IndexReport inspect_index(const std::filesystem::path& path, const InspectOptions& options = {}) {
  FileStorage storage;
  return inspect_index(storage, path, options);
}

}  // namespace iqdb
