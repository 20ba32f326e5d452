// How iqdb ends.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "iqdb/persist/error.hpp"

namespace iqdb_tool {

/// The status with which the program ends. They are documented in iqdb.1 and in docs/operations.md.
enum class ExitCode : int {
  fine = 0,     ///< everything that was asked for was done, and nothing is wrong with the files
  damaged = 1,  ///< a file is damaged, or the command refuses to do what it was told
  usage = 2,    ///< the command line is wrong
  io = 3,       ///< the system failed: a file cannot be read or written, or memory runs out
};

/// The worse of two: of several files one may be damaged, and another one unreadable.
[[nodiscard]] constexpr ExitCode worse(ExitCode a, ExitCode b) noexcept {
  return static_cast<int>(a) < static_cast<int>(b) ? b : a;
}

/// How the program ends after a PersistError of this kind.
[[nodiscard]] ExitCode exit_code_for(iqdb::PersistErrorKind kind) noexcept;

/// What went wrong, in the words that text and JSON share.
struct Failure {
  ExitCode code = ExitCode::io;
  std::string kind;     ///< a PersistErrorKind, an IndexErrorKind, or "out_of_memory", or "internal"
  std::string message;  ///< names the file
  std::string path;     ///< empty if no file is concerned
  std::optional<std::uint64_t> offset;

  /// Describes an error. Throws std::bad_alloc.
  [[nodiscard]] static Failure of(const iqdb::PersistError& error);

  /// Describes the exception that is being handled: call it in a catch handler only. Throws Interrupted if that is what is
  /// handled, and std::bad_alloc.
  [[nodiscard]] static Failure current();
};

}  // namespace iqdb_tool
