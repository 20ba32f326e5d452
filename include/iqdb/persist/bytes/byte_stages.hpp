// Where the bytes of a file go and come from, stage by stage. A Writer stands before the first stage of a save, a Reader behind
// the last one of a load.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Where bytes go: the next stage of a save. Used by one thread.
class ByteSink {
 public:
  ByteSink() = default;
  ByteSink(const ByteSink&) = delete;
  ByteSink& operator=(const ByteSink&) = delete;
  virtual ~ByteSink() = default;

  /// Writes all of `bytes`, or throws.
  virtual void write(std::span<const std::byte> bytes) = 0;
};

/// Where bytes come from: the previous stage of a load. Used by one thread.
class ByteSource {
 public:
  ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;
  virtual ~ByteSource() = default;

  /// Reads into the beginning of `into`, which is not empty. Returns how many bytes, 0 only at the end. Throws if the
  /// bytes cannot be read.
  virtual std::size_t read(std::span<std::byte> into) = 0;

  /// Passes over up to `count` bytes, at least 1. Returns how many, 0 only at the end. Reads and drops them, unless the
  /// source can do without. Throws if they cannot be read, and std::bad_alloc.
  virtual std::uint64_t skip(std::uint64_t count) {
    // Large enough that a source which splits reads among several threads gains from it.
    constexpr std::uint64_t most = std::uint64_t{4} * 1024 * 1024;
    const auto piece = static_cast<std::size_t>(std::min(count, most));
    const auto dropped = std::make_unique_for_overwrite<std::byte[]>(piece);  // NOLINT(*-avoid-c-arrays)
    return read({dropped.get(), piece});
  }
};

/// A sink that keeps everything in memory: for tests of an index's save_to.
class MemorySink final : public ByteSink {
 public:
  void write(std::span<const std::byte> bytes) override { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }

  /// Everything written so far.
  [[nodiscard]] const std::vector<std::byte>& bytes() const noexcept { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace iqdb
