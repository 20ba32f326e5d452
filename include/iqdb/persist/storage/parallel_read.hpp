// Reads a large part of a file with several threads, into memory or to compute its checksum.
//
// One thread can be slower than a disk or the page cache: it spends its time on copying, checksums and the first touch
// of memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/progress.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace parallel_read {

// Fills `into` with the file's bytes from `offset` on. Throws what the file throws.
template <ReadableFile F>
void read_all(F& file, std::uint64_t offset, std::span<std::byte> into) {
  while (!into.empty()) {
    const std::size_t count = file.read_at(offset, into);
    offset += count;
    into = into.subspan(count);
  }
}

// Combines the checksums of pieces in the order of their numbers, whatever order they arrive in. Several threads may
// call add() at the same time; whole() is called after all of them.
class OrderedChecksum {
 public:
  void add(std::uint64_t number, const Crc32& piece) {
    const std::lock_guard guard(mutex_);
    waiting_.emplace(number, piece);
    while (!waiting_.empty() && waiting_.begin()->first == next_) {
      whole_.append(waiting_.begin()->second);
      waiting_.erase(waiting_.begin());
      ++next_;
    }
  }

  [[nodiscard]] const Crc32& whole() const { return whole_; }

 private:
  std::mutex mutex_;
  std::uint64_t next_ = 0;
  std::map<std::uint64_t, Crc32> waiting_;
  Crc32 whole_;
};

}  // namespace parallel_read

/// Returns the CRC32 of a file's bytes from `begin` to its end. Reads pieces of `piece_bytes`, which begin at multiples of it but
/// for the first; each thread holds one. Advances `progress` in the calling thread only. `helpers` may be null. Throws what the
/// file and `progress` throw, and std::bad_alloc.
template <ReadableFile F>
[[nodiscard]] std::uint32_t checksum_of(F& file, std::uint64_t begin, std::size_t piece_bytes, HelperThreads* helpers,
                                        ProgressMeter& progress) {
  const std::uint64_t end = file.size();
  const std::uint64_t first = begin / piece_bytes;
  const std::uint64_t count = (end + piece_bytes - 1) / piece_bytes - first;
  Pieces pieces(count);
  parallel_read::OrderedChecksum checksum;
  std::atomic<std::uint64_t> done = 0;
  const std::thread::id caller = std::this_thread::get_id();
  const auto work = [&] {
    const AlignedBuffer buffer(static_cast<std::size_t>(std::min<std::uint64_t>(piece_bytes, end - begin)));
    pieces.take_all([&](std::uint64_t number) {
      const std::uint64_t at = std::max(begin, (first + number) * piece_bytes);
      const std::uint64_t behind = std::min(end, (first + number + 1) * piece_bytes);
      const auto piece = buffer.bytes().first(static_cast<std::size_t>(behind - at));
      parallel_read::read_all(file, at, piece);
      checksum.add(number, Crc32(piece));
      done += piece.size();
      if (std::this_thread::get_id() == caller) {
        progress.advance(done.exchange(0));
      }
    });
  };
  // With fewer pieces, waking a thread takes longer than the work.
  constexpr std::uint64_t fewest_shared = 4;
  if (count < fewest_shared || helpers == nullptr) {
    work();
  } else {
    helpers->run(work);
  }
  progress.advance(done);
  return checksum.whole().value();
}

/// Fills `into` with the file's bytes from `offset` on; the file must have that many. Uses `helpers`, unless null, if
/// `into` is large. Adds the bytes to `sum`, unless null. Throws what the file throws, and std::bad_alloc.
template <ReadableFile F>
void read_shared(F& file, std::uint64_t offset, std::span<std::byte> into, HelperThreads* helpers,
                 Crc32* sum = nullptr) {
  // Large enough that waking a thread costs little in comparison.
  constexpr std::size_t piece_bytes = std::size_t{512} * 1024;
  if (into.size() < 2 * piece_bytes || helpers == nullptr) {
    parallel_read::read_all(file, offset, into);
    if (sum != nullptr) {
      sum->update(into);
    }
    return;
  }
  Pieces pieces((into.size() + piece_bytes - 1) / piece_bytes);
  parallel_read::OrderedChecksum checksum;
  helpers->run([&] {
    pieces.take_all([&](std::uint64_t number) {
      const auto at = static_cast<std::size_t>(number) * piece_bytes;
      const auto piece = into.subspan(at, std::min(piece_bytes, into.size() - at));
      parallel_read::read_all(file, offset + at, piece);
      if (sum != nullptr) {
        checksum.add(number, Crc32(piece));
      }
    });
  });
  if (sum != nullptr) {
    sum->append(checksum.whole());
  }
}

/// The bytes of a file from `begin` to its end, as a source for a Reader, which computes their checksum as they are
/// read. Splits large reads among several threads. Used by one thread.
template <ReadableFile F>
class SharedFileRange final : public ByteSource {
 public:
  /// `file` must outlive this, and so must `helpers` unless it is null.
  SharedFileRange(F& file, std::uint64_t begin, HelperThreads* helpers)
      : file_(&file), helpers_(helpers), position_(begin) {}

  std::size_t read(std::span<std::byte> into) override {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), file_->size() - position_));
    read_shared(*file_, position_, into.first(count), helpers_, &checksum_);
    position_ += count;
    return count;
  }

  /// The checksum of all bytes of the range: reads what was not read yet, in pieces of `piece_bytes`. Throws what the
  /// file throws.
  [[nodiscard]] const Crc32& checksum(std::size_t piece_bytes) {
    std::vector<std::byte> piece(
        static_cast<std::size_t>(std::min<std::uint64_t>(piece_bytes, file_->size() - position_)));
    while (read(piece) > 0) {
    }
    return checksum_;
  }

 private:
  F* file_;
  HelperThreads* helpers_;
  std::uint64_t position_;
  Crc32 checksum_;
};

}  // namespace iqdb
