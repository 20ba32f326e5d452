// A file of a store that holds what another one holds, in another directory.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/sparing_file.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A store whose files can share their bytes and their rights.
template <class S>
concept DuplicatesStoredFiles = Storage<S> &&
    requires(S& storage, const std::filesystem::path& path, const typename S::Lock& lock, const typename S::File& file,
             typename S::Replacement& replacement, std::size_t count) {
  // Creates a directory durably, unless it exists.
  storage.create_directory(path);
  // As storage.replace(path, lock), with the rights of `file`.
  { storage.replace_like(path, lock, file) } -> std::same_as<typename S::Replacement>;
  // A second name of `file`, which takes the place of `path` by rename(). Nothing if the store cannot do that.
  { storage.linked(path, lock, file) } -> std::same_as<std::optional<typename S::Replacement>>;
  // Appends up to so many bytes of `file`, from the place at which `replacement` ends. Returns how many, 0 if it cannot.
  { storage.append_from(replacement, file, count) } -> std::same_as<std::size_t>;
};

/// Begins a new file at `path`, which gets the rights of `like` if the store can do that. Throws what storage.replace throws.
template <Storage S>
[[nodiscard]] typename S::Replacement replace_like(S& storage, const std::filesystem::path& path,
                                                   const typename S::Lock& lock,
                                                   [[maybe_unused]] const typename S::File& like) {
  if constexpr (DuplicatesStoredFiles<S>) {
    return storage.replace_like(path, lock, like);
  } else {
    return storage.replace(path, lock);
  }
}

/// A new file that holds what another one holds.
template <Storage S>
struct Duplicate {
  typename S::Replacement file;
  bool linked = false;  ///< it is the same file, under a second name: nobody may ever write into it
};

/// Begins a new file at `path` that is the same as `source`, under a second name. Nothing if the store cannot do that. Throws
/// PersistError io.
template <Storage S>
[[nodiscard]] std::optional<Duplicate<S>> linked_duplicate([[maybe_unused]] S& storage,
                                                           [[maybe_unused]] typename S::File& source,
                                                           [[maybe_unused]] const std::filesystem::path& path,
                                                           [[maybe_unused]] const typename S::Lock& lock) {
  if constexpr (DuplicatesStoredFiles<S>) {
    if (std::optional<typename S::Replacement> link = storage.linked(path, lock, source)) {
      return Duplicate<S>{.file = std::move(*link), .linked = true};
    }
  }
  return std::nullopt;
}

/// Begins a new file at `path` that holds what `source` holds, and is another file. With `links` it shares the bytes of `source`, if
/// the store can do that. Calls `advance(file, bytes)` behind each piece that is copied, with the new file. Throws PersistError
/// io, and what `advance` throws.
template <Storage S, class Advance>
[[nodiscard]] Duplicate<S> duplicate(S& storage, typename S::File& source, const std::filesystem::path& path,
                                     const typename S::Lock& lock, bool links, Advance&& advance) {
  constexpr std::size_t shared_bytes = std::size_t{1024} * 1024;
  Duplicate<S> copy{.file = replace_like(storage, path, lock, source)};
  std::vector<std::byte> piece;
  for (std::uint64_t offset = 0; offset < source.size();) {
    const std::uint64_t left = source.size() - offset;
    std::size_t count = 0;
    if constexpr (DuplicatesStoredFiles<S>) {
      if (links && piece.empty()) {
        count = storage.append_from(copy.file, source,
                                    static_cast<std::size_t>(std::min<std::uint64_t>(left, shared_bytes)));
      }
    }
    if (count == 0) {
      piece.resize(sparing_piece_bytes);
      count = source.read_at(offset, piece);
      copy.file.append(std::span<const std::byte>(piece).first(count));
    }
    offset += count;
    advance(copy.file, count);
  }
  return copy;
}

}  // namespace iqdb
