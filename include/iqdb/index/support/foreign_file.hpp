// Files in the formats of other libraries: read by an import, written by an export. Invariant: an export replaces the
// file whole or not at all.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace foreign_file {

// Appends to a file that will replace another.
class ReplacementSink final : public ByteSink {
 public:
  explicit ReplacementSink(FileStorage::Replacement& file) : file_(&file) {}
  void write(std::span<const std::byte> bytes) override { file_->append(bytes); }

 private:
  FileStorage::Replacement* file_;
};

}  // namespace foreign_file

/// Calls `decode(file)` with the FileStorage::File at `path` and returns its result. `what` says what the file should
/// be, for the message if no file exists. Throws PersistError io if the file cannot be read, and what `decode` throws.
/// Every PersistError names the path.
template <class Decode>
decltype(auto) read_foreign_file(const std::filesystem::path& path, std::string_view what, Decode&& decode) {
  return naming_file(path, [&]() -> decltype(auto) {
    FileStorage storage;
    std::optional<FileStorage::File> file = storage.open(storage.resolve(path));
    if (!file) {
      throw_persist_error(
          PersistErrorKind::io, "cannot import " + std::string(what) + ": there is no such file; check the path",
          {.path = path, .code = std::make_error_code(std::errc::no_such_file_or_directory), .offset = {}});
    }
    return std::forward<Decode>(decode)(*file);
  });
}

/// Writes to `path` what `encode(writer)` writes. The file appears whole or not at all, and it is durable when the call
/// returns. The call leaves a lock file `path`.lock beside it. Throws PersistError invalid_config if the path cannot be
/// that of an index either (index_path.hpp), locked if another writer holds the lock on that path, io if the file cannot
/// be written, and what `encode` throws. In the last case nothing has changed.
template <class Encode>
void write_foreign_file(const std::filesystem::path& path, Encode&& encode) {
  naming_file(path, [&] {
    FileStorage storage;
    const std::filesystem::path name = storage.resolve(path);
    const FileStorage::Lock lock = storage.lock(name, std::chrono::milliseconds::zero());
    FileStorage::Replacement file = storage.replace(name, lock);
    foreign_file::ReplacementSink sink(file);
    Writer writer(sink);
    std::forward<Encode>(encode)(writer);
    writer.flush();
    put_in_place(file);
  });
}

}  // namespace iqdb::inline IQDB_PERSIST_ABI
