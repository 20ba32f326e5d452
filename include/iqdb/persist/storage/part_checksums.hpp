// Computes the checksums of many parts of a file, of any length, after one pass over the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/storage/file_window.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Checksums of parts of a file. After one pass over the file each takes the same short time, however long the part is:
/// a CRC is linear, so the checksum of a part follows from the checksums of everything before its end and of everything
/// before its beginning. Used by one thread.
template <ReadableFile F>
class PartChecksums {
 public:
  /// Prepares checksums of parts behind `begin`. Reads the file from there to its end, `piece_bytes` at a time. `file`
  /// must outlive this. Throws what the file throws, and std::bad_alloc.
  PartChecksums(F& file, std::uint64_t begin, std::size_t piece_bytes)
      : begin_(begin), at_from_(file, piece_bytes), at_to_(file, mark_bytes) {
    Crc32 checksum;
    for (std::uint64_t mark = begin; mark <= file.size(); mark += mark_bytes) {
      marks_.push_back(checksum);
      checksum.update(at_from_.at(mark, mark_bytes));
    }
  }

  /// Returns the value of `beginning` updated with the file's bytes from `from` to `to`. Calls with ascending `from`
  /// are fast. Throws what the file throws.
  [[nodiscard]] std::uint32_t continued(const Crc32& beginning, std::uint64_t from, std::uint64_t to) {
    return rebaser_.rebased(up_to(at_to_, to).value(), up_to(at_from_, from), beginning, to - from);
  }

 private:
  static constexpr std::size_t mark_bytes = 256;

  Crc32 up_to(FileWindow<F>& window, std::uint64_t offset) const {
    const std::uint64_t mark = (offset - begin_) / mark_bytes;
    const std::uint64_t marked = begin_ + mark * mark_bytes;
    Crc32 checksum = marks_[static_cast<std::size_t>(mark)];
    checksum.update(window.at(marked, offset - marked));
    return checksum;
  }

  std::uint64_t begin_;
  FileWindow<F> at_from_;
  FileWindow<F> at_to_;
  std::vector<Crc32> marks_;  // marks_[i] covers the bytes from begin_ to begin_ + i * mark_bytes
  Crc32Rebaser rebaser_;
};

}  // namespace iqdb
