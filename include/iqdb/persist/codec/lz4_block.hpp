// Joins LZ4 blocks into one. The blocks come from parts of a payload that were compressed at the same time.
//
// A block is a series of sequences (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md):
//
//   token u8: number of literals, length of the match | rest of the number | literals | offset of the match u16 |
//   rest of the length
//
// A number of 15 in the token continues in the following bytes: each adds to it, and the first that is not 255 ends it.
// The last sequence ends behind its literals. So a concatenation of blocks is nearly one block: the last literals of
// each block only have to move into the first sequence of the next.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "iqdb/persist/bytes/chunked_buffer.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace coding {

/// The offsets of a sequence in its block, in bytes.
struct Lz4Sequence {
  std::size_t begin = 0;         ///< its token
  std::size_t literals = 0;      ///< its first literal
  std::size_t literals_end = 0;  ///< the end of its literals: the offset of its match, or the end of the block
};

/// The first and the last sequence of a block; they may be the same.
struct Lz4Ends {
  Lz4Sequence first;
  Lz4Sequence last;
};

inline constexpr std::uint8_t lz4_long = 15;       ///< in a token: the number continues behind the token
inline constexpr std::uint8_t lz4_goes_on = 0xFF;  ///< in a byte behind the token: the number continues in the next

/// Finds the first and the last sequence of a block. The block must be valid: LZ4 has just made it, and it was not read
/// from a file.
[[nodiscard]] inline Lz4Ends find_lz4_ends(std::span<const std::byte> block) {
  const auto at = [&](std::size_t offset) { return std::to_integer<std::uint8_t>(block[offset]); };
  std::size_t next = 0;
  const auto read_number = [&](std::uint8_t in_token) {
    std::size_t number = in_token;
    if (in_token == lz4_long) {
      while (at(next) == lz4_goes_on) {
        number += at(next++);
      }
      number += at(next++);
    }
    return number;
  };
  Lz4Ends ends;
  for (;;) {
    Lz4Sequence sequence{.begin = next};
    const std::uint8_t token = at(next++);
    const std::size_t literals = read_number(token >> 4U);
    sequence.literals = next;
    next += literals;
    sequence.literals_end = next;
    if (sequence.begin == 0) {
      ends.first = sequence;
    }
    if (next >= block.size()) {
      ends.last = sequence;
      return ends;
    }
    next += sizeof(std::uint16_t);
    read_number(token & lz4_long);
  }
}

/// Joins several blocks into one. Used by one thread.
class Lz4BlockJoiner {
 public:
  /// Appends the next block, which LZ4 made, with its `ends` from find_lz4_ends(). Its matches may reach back into the
  /// payload of earlier blocks. Throws std::bad_alloc.
  void append(std::span<const std::byte> block, const Lz4Ends& ends) {
    const auto first_literals = block.first(ends.first.literals_end).subspan(ends.first.literals);
    if (ends.last.begin == 0) {
      literals_.append(first_literals);
      return;
    }
    append_token(std::to_integer<std::uint8_t>(block[0]) & lz4_long, literals_.size() + first_literals.size());
    literals_.for_each([this](std::span<const std::byte> literals) { block_.append(literals); });
    literals_.clear();
    block_.append(block.first(ends.last.begin).subspan(ends.first.literals));
    literals_.append(block.subspan(ends.last.literals));
  }

  /// Ends the joined block. Without any block it becomes an empty sequence, the block of an empty payload. append()
  /// must not be called afterwards. Throws std::bad_alloc.
  void finish() { append_token(0, literals_.size()); }

  /// Calls `take` with the pieces of the finished block, in order.
  template <class Take>
  void for_each(Take&& take) const {
    block_.for_each(take);
    literals_.for_each(take);
  }

  /// The size of the block, in bytes.
  [[nodiscard]] std::uint64_t size() const noexcept { return block_.size() + literals_.size(); }

 private:
  void append_token(std::uint8_t match, std::uint64_t literals) {
    const std::uint64_t in_token = std::min<std::uint64_t>(literals, lz4_long);
    head_.assign(1, static_cast<std::byte>(in_token << 4U | match));
    if (in_token == lz4_long) {
      head_.resize(1 + static_cast<std::size_t>((literals - lz4_long) / lz4_goes_on), std::byte{lz4_goes_on});
      head_.push_back(static_cast<std::byte>((literals - lz4_long) % lz4_goes_on));
    }
    block_.append(head_);
  }

  ChunkedBuffer block_;          // whole sequences
  ChunkedBuffer literals_;       // the literals of the last sequence, which has no match yet
  std::vector<std::byte> head_;  // a token and the rest of the number of literals
};

}  // namespace coding

}  // namespace iqdb::inline IQDB_PERSIST_ABI
