// Direct I/O: decides whether writes to a file bypass the system's page cache.
//
// Invariant: after a refusal the file system is never asked again for the same file.
#pragma once

#include <system_error>
#include <tuple>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/file_handle.hpp"
#include "iqdb/persist/storage/file_system.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Turns direct I/O of one file on and off, and gives it up for good if the file system refuses it. Used by one thread.
class DirectMode {
 public:
  /// With `wanted` false direct I/O is never turned on.
  explicit DirectMode(bool wanted) : possible_(wanted) {}

  /// Sends writes through the page cache from now on.
  template <FileSystem F>
  void turn_off(FileHandle<F>& file) {
    if (on_) {
      std::ignore = file_calls::uninterrupted([&] { return file.file_system().set_direct(file.get(), false); });
      on_ = false;
    }
  }

  /// Turns direct I/O on and calls `write()`. Returns false if the file system refuses direct writes; the caller then
  /// writes through the page cache. Throws what `write` throws for any other reason.
  template <FileSystem F, class Write>
  [[nodiscard]] bool try_to(FileHandle<F>& file, Write&& write) {
    if (!turn_on(file)) {
      return false;
    }
    try {
      std::forward<Write>(write)();
      return true;
    } catch (const PersistError& error) {
      if (error.code() != std::errc::invalid_argument) {
        throw;
      }
      turn_off(file);
      possible_ = false;
      return false;
    }
  }

 private:
  template <FileSystem F>
  [[nodiscard]] bool turn_on(FileHandle<F>& file) {
    if (possible_ && !on_) {
      possible_ = on_ = !file_calls::uninterrupted([&] { return file.file_system().set_direct(file.get(), true); });
    }
    return on_;
  }

  bool possible_;
  bool on_ = false;
};

}  // namespace iqdb
