// A file that is read, wherever it lies: what looks into snapshots is compiled once.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>

#include "iqdb/persist/storage/past_cache.hpp"
#include "iqdb/persist/storage/storage.hpp"

namespace iqdb_tool {

/// A ReadableFile that refers to another one, which must outlive it. Several threads may read it if they may read that one.
class AnyFile {
 public:
  template <class F>
    requires(!std::same_as<std::remove_cv_t<F>, AnyFile>)
  &&iqdb::ReadableFile<F> AnyFile(F& file)  // NOLINT(google-explicit-constructor): as a reference is made
      : file_(&file),
  size_([](void* any) { return static_cast<F*>(any)->size(); }),
  read_at_([](void* any, std::uint64_t offset, std::span<std::byte> into) {
    return static_cast<F*>(any)->read_at(offset, into);
  }),
  open_past_cache_([](void* any) {
    if constexpr (iqdb::ReadablePastCache<F>) {
      return static_cast<F*>(any)->open_past_cache();
    } else {
      return false;
    }
  }),
  read_past_cache_([](void* any, std::uint64_t offset, std::span<std::byte> into) -> std::optional<std::size_t> {
    if constexpr (iqdb::ReadablePastCache<F>) {
      return static_cast<F*>(any)->read_past_cache(offset, into);
    } else {
      return std::nullopt;
    }
  }) {}

  [[nodiscard]] std::uint64_t size() const { return size_(file_); }
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) { return read_at_(file_, offset, into); }
  [[nodiscard]] bool open_past_cache() { return open_past_cache_(file_); }
  std::optional<std::size_t> read_past_cache(std::uint64_t offset, std::span<std::byte> into) {
    return read_past_cache_(file_, offset, into);
  }

 private:
  void* file_;
  std::uint64_t (*size_)(void* file);
  std::size_t (*read_at_)(void* file, std::uint64_t offset, std::span<std::byte> into);
  bool (*open_past_cache_)(void* file);
  std::optional<std::size_t> (*read_past_cache_)(void* file, std::uint64_t offset, std::span<std::byte> into);
};

}  // namespace iqdb_tool
