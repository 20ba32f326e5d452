// PersistError: the exception type of persistence, with a kind for each failure.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "iqdb/persist/path_text.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What went wrong. Each failure that a program may want to handle differently has its own kind.
enum class PersistErrorKind : std::uint8_t {
  io,                      ///< a system call failed: code() says why
  bad_magic,               ///< the file does not begin with the magic of its format
  unsupported_version,     ///< this library does not know the format version
  truncated_header,        ///< the file ends within its header
  truncated_payload,       ///< the data ends before the field that is read
  checksum_mismatch,       ///< the bytes differ from those that were written
  invalid_metric,          ///< the metric tag is unknown
  invalid_index_type,      ///< the file holds another type of index
  invalid_payload,         ///< the format or the index does not allow these bytes
  compression,             ///< the codec failed, or the decoded length differs from the stated one
  unsupported,             ///< the program was built without something that the call needs
  index_build,             ///< the index's own decoder or constructor threw; its exception is nested
  locked,                  ///< another object holds the path, in this process or another
  log_corrupted,           ///< the log is damaged where it was durable, or holds a frame that no writer makes
  log_mismatch,            ///< the log continues another snapshot
  replay_rejected,         ///< the index rejects a mutation that it once took; its exception is nested
  record_too_large,        ///< a mutation exceeds a limit of the log
  would_discard_log,       ///< the call would replace a log that holds mutations
  would_discard_snapshot,  ///< the call would replace a snapshot that holds vectors
  snapshot_changed,        ///< somebody else replaced the snapshot since this object loaded or saved it
  unlogged_changes,        ///< the index was changed through index_mut(): no mutation can be logged before a save
  reentered,               ///< a callback called the object in the middle of another call
  read_only,               ///< the index was loaded with PersistConfig::read_only
  log_present,             ///< a log with mutations lies beside the snapshot, but the log is off
  fenced,                  ///< another writer has taken the log over: this object may not write any more
  poisoned,                ///< an earlier failure left the state of the disk unknown; load again
  invalid_config,          ///< a setting cannot be used
};

/// The kind's name as it is written in the source, e.g. "checksum_mismatch".
[[nodiscard]] constexpr std::string_view to_string(PersistErrorKind kind) noexcept {
  switch (kind) {
    case PersistErrorKind::io:
      return "io";
    case PersistErrorKind::bad_magic:
      return "bad_magic";
    case PersistErrorKind::unsupported_version:
      return "unsupported_version";
    case PersistErrorKind::truncated_header:
      return "truncated_header";
    case PersistErrorKind::truncated_payload:
      return "truncated_payload";
    case PersistErrorKind::checksum_mismatch:
      return "checksum_mismatch";
    case PersistErrorKind::invalid_metric:
      return "invalid_metric";
    case PersistErrorKind::invalid_index_type:
      return "invalid_index_type";
    case PersistErrorKind::invalid_payload:
      return "invalid_payload";
    case PersistErrorKind::compression:
      return "compression";
    case PersistErrorKind::unsupported:
      return "unsupported";
    case PersistErrorKind::index_build:
      return "index_build";
    case PersistErrorKind::locked:
      return "locked";
    case PersistErrorKind::log_corrupted:
      return "log_corrupted";
    case PersistErrorKind::log_mismatch:
      return "log_mismatch";
    case PersistErrorKind::replay_rejected:
      return "replay_rejected";
    case PersistErrorKind::record_too_large:
      return "record_too_large";
    case PersistErrorKind::would_discard_log:
      return "would_discard_log";
    case PersistErrorKind::would_discard_snapshot:
      return "would_discard_snapshot";
    case PersistErrorKind::snapshot_changed:
      return "snapshot_changed";
    case PersistErrorKind::unlogged_changes:
      return "unlogged_changes";
    case PersistErrorKind::reentered:
      return "reentered";
    case PersistErrorKind::read_only:
      return "read_only";
    case PersistErrorKind::log_present:
      return "log_present";
    case PersistErrorKind::fenced:
      return "fenced";
    case PersistErrorKind::poisoned:
      return "poisoned";
    case PersistErrorKind::invalid_config:
      return "invalid_config";
  }
  return "unknown";
}

/// Where a PersistError happened, as far as the thrower knows.
struct PersistErrorContext {
  std::filesystem::path path = {};           ///< the file; empty if none is involved
  std::error_code code = {};                 ///< the system's error, for kind io
  std::optional<std::uint64_t> offset = {};  ///< bytes from the beginning of the data being read
};

/// A failure of persistence. The message says what was tried, on which file, what was found and expected, and what the
/// user can do. Copying does not throw.
class PersistError : public std::runtime_error {
 public:
  /// `message` does not contain the file's name, the offset or the system's error: they are added from `context`.
  explicit PersistError(PersistErrorKind kind, std::string message, PersistErrorContext context = {})
      : std::runtime_error(compose(message, context)),
        kind_(kind),
        details_(std::make_shared<const Details>(Details{std::move(message), std::move(context)})) {}

  /// What went wrong.
  [[nodiscard]] PersistErrorKind kind() const noexcept { return kind_; }

  /// The file that is concerned; empty if none is.
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return details_->context.path; }

  /// The system's error code, for kind io; empty for other kinds.
  [[nodiscard]] std::error_code code() const noexcept { return details_->context.code; }

  /// The offset in the data that was read, in bytes, if it is known.
  [[nodiscard]] std::optional<std::uint64_t> offset() const noexcept { return details_->context.offset; }

  /// The same error with `path` as its file, for callers that know the file when the thrower did not.
  [[nodiscard]] PersistError in_file(const std::filesystem::path& path) const {
    PersistErrorContext context = details_->context;
    context.path = path;
    return PersistError(kind_, details_->message, std::move(context));
  }

 private:
  struct Details {
    std::string message;
    PersistErrorContext context;
  };

  static std::string compose(const std::string& message, const PersistErrorContext& context) {
    std::string text;
    if (!context.path.empty()) {
      text.append("'").append(path_text(context.path)).append("': ");
    }
    text += message;
    if (context.offset) {
      text += " (at byte " + std::to_string(*context.offset) + ")";
    }
    if (context.code) {
      text += ": " + context.code.message();
    }
    return text;
  }

  PersistErrorKind kind_;
  std::shared_ptr<const Details> details_;
};

/// Throws a PersistError. Out of line, so that the code of successful calls stays small.
[[noreturn, gnu::cold, gnu::noinline]] inline void throw_persist_error(PersistErrorKind kind, std::string message,
                                                                       PersistErrorContext context = {}) {
  throw PersistError(kind, std::move(message), std::move(context));
}

/// The message of the exception being handled; call it in a catch handler only. It is valid until the handler ends.
[[nodiscard]] inline const char* message_of_current_exception() noexcept {
  try {
    throw;
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

/// Rethrows the exception being handled; call it in a catch handler only. A PersistError that names no file then names
/// `path`, and keeps its nested exception. Other exceptions pass unchanged.
[[noreturn, gnu::cold, gnu::noinline]] inline void rethrow_naming(const std::filesystem::path& path) {
  try {
    throw;
  } catch (const std::nested_exception& nested) {
    // The exception may also be a PersistError: throw_with_nested derives from both.
    try {
      throw;
    } catch (const PersistError& error) {
      if (!error.path().empty() || nested.nested_ptr() == nullptr) {
        throw;
      }
      try {
        nested.rethrow_nested();
      } catch (...) {
        std::throw_with_nested(error.in_file(path));
      }
    }
  } catch (const PersistError& error) {
    if (!error.path().empty()) {
      throw;
    }
    throw error.in_file(path);
  }
}

/// Calls `action` and returns its result. A PersistError that names no file then names `path`, and keeps its nested
/// exception. Other exceptions pass unchanged.
template <class Action>
decltype(auto) naming_file(const std::filesystem::path& path, Action&& action) {
  try {
    return std::forward<Action>(action)();
  } catch (...) {
    rethrow_naming(path);
  }
}

}  // namespace iqdb
