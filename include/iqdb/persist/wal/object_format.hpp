// The header of an object of a log on an object store, and its key: fields <-> bytes. docs/format.md has the rules.
//
//   header, 64: magic 8 | version 4 | CRC32 4 | nonce 8 | number 8 | base LSN 8 | fence 8 | history id 8 | kind 1 | zero 7
//
// Invariants: a header is one for its own number only, so an object that was copied to another key is not taken for a part of
// the log there. The keys of a log are in the order of its numbers.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The first bytes of an object of a log.
inline constexpr std::string_view log_object_magic("IQDBSEG\0", 8);

/// The version of log objects, the only one so far.
inline constexpr std::uint32_t log_object_version = 1;

/// The size of the header of a log object in bytes.
inline constexpr std::size_t log_object_header_bytes = 64;

/// The largest number of an object of a log. No log reaches it, and no sum of numbers overflows.
inline constexpr std::uint64_t largest_log_object = std::uint64_t{1} << 62U;

/// What follows the header.
enum class LogObjectKind : std::uint8_t {
  fence = 1,       ///< nothing: from here on only the writer of this object writes
  frames = 2,      ///< frames
  checkpoint = 3,  ///< the key of a snapshot, and one checkpoint frame
  close = 4,       ///< one close frame: its writer has ended
};

/// The header of a log object.
struct LogObjectHeader {
  std::uint64_t nonce = 0;       ///< random, new for each object; part of the checksum of each of its frames
  std::uint64_t number = 0;      ///< of the object in its log
  std::uint64_t base_lsn = 0;    ///< the LSN before its first mutation
  std::uint64_t fence = 0;       ///< the number of its writer's fence; of a fence its own number
  std::uint64_t history_id = 0;  ///< random; while it stays the same, an LSN names the same mutation
  LogObjectKind kind = LogObjectKind::frames;

  friend bool operator==(const LogObjectHeader&, const LogObjectHeader&) = default;
};

static_assert(8 + sizeof(log_object_version) + sizeof(std::uint32_t) + 5 * sizeof(std::uint64_t) +
                  sizeof(LogObjectKind) + 7 ==
              log_object_header_bytes);
static_assert(log_object_magic.size() == 8);

/// The prefix of the keys of the log of the index `name`.
[[nodiscard]] inline std::string log_object_prefix(std::string_view name) { return std::string(name) + "/log/"; }

namespace log_objects {

inline constexpr std::size_t largest_printed_key = 256;

inline constexpr std::size_t digits = 20;
static_assert(std::numeric_limits<std::uint64_t>::digits10 + 1 == digits);

// The log of the index `name`, for messages.
[[nodiscard]] inline std::string log_words(std::string_view name) {
  return "the log " + printable(log_object_prefix(name), largest_printed_key);
}

// One of its objects.
[[nodiscard]] inline std::string object_words(std::string_view key) {
  return "the log's object " + printable(key, largest_printed_key);
}

// Throws PersistError log_corrupted: the object is not what a writer makes.
[[noreturn, gnu::cold, gnu::noinline]] inline void fail(std::string_view key, const std::string& found,
                                                        std::optional<std::uint64_t> offset = {}) {
  throw_persist_error(PersistErrorKind::log_corrupted,
                      object_words(key) + " is damaged: " + found +
                          "; put this object back from a copy, as a store with versions keeps one, and remove nothing: "
                          "without the log, every mutation since the last snapshot is lost",
                      {.path = {}, .code = {}, .offset = offset});
}

// A number in as many digits as any has, so that keys are in the order of their numbers.
[[nodiscard]] inline std::string decimal(std::uint64_t number) {
  const std::string text = std::to_string(number);
  return std::string(digits - text.size(), '0') + text;
}

// The number in these digits; nothing if decimal() does not write so.
[[nodiscard]] inline std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  const bool is_number = text.size() == digits && error == std::errc() && stopped == end;
  return is_number ? std::optional(number) : std::nullopt;
}

}  // namespace log_objects

/// The key of an object of the log of the index `name`.
[[nodiscard]] inline std::string log_object_key(std::string_view name, std::uint64_t number) {
  return log_object_prefix(name) + log_objects::decimal(number);
}

/// The number of the object with this key; nothing if it is no key of an object of this log.
[[nodiscard]] inline std::optional<std::uint64_t> log_object_number(std::string_view name, std::string_view key) {
  const std::string prefix = log_object_prefix(name);
  if (!key.starts_with(prefix)) {
    return std::nullopt;
  }
  const auto number = log_objects::number_of(key.substr(prefix.size()));
  return number && *number <= largest_log_object ? number : std::nullopt;
}

/// The bytes of a header, with its checksum.
[[nodiscard]] inline std::array<std::byte, log_object_header_bytes> encoded(const LogObjectHeader& header) noexcept {
  std::array<std::byte, log_object_magic.size()> magic{};
  std::ranges::transform(log_object_magic, magic.begin(), [](char each) { return static_cast<std::byte>(each); });
  const auto encode = [&](std::uint32_t crc32) {
    // The kind is the first of eight bytes, little-endian: the seven zeros follow it.
    const auto rest = wal_format::packed<log_object_header_bytes - log_object_magic.size()>(
        log_object_version, crc32, header.nonce, header.number, header.base_lsn, header.fence, header.history_id,
        std::uint64_t{static_cast<std::uint8_t>(header.kind)});
    std::array<std::byte, log_object_header_bytes> bytes{};
    std::ranges::copy(rest, std::ranges::copy(magic, bytes.begin()).out);
    return bytes;
  };
  return encode(Crc32(encode(0)).value());
}

/// Reads the header of the object `number`, whose key is `key`, from its bytes or from the first of them. Throws PersistError
/// log_corrupted if it is not complete and correct; unsupported_version if this library does not know its version.
[[nodiscard]] inline LogObjectHeader read_log_object_header(std::span<const std::byte> bytes, std::string_view key,
                                                            std::uint64_t number) {
  if (bytes.size() < log_object_header_bytes) {
    log_objects::fail(key, "it has " + std::to_string(bytes.size()) + " bytes, and its header alone has " +
                               std::to_string(log_object_header_bytes));
  }
  Reader reader(bytes.first(log_object_header_bytes));
  if (const std::string magic = reader.read_string(log_object_magic.size()); magic != log_object_magic) {
    log_objects::fail(key, "it begins with " + printable(magic) + ", expected " + printable(log_object_magic), 0);
  }
  const auto version = reader.read_le<std::uint32_t>();
  std::ignore = reader.read_le<std::uint32_t>();
  LogObjectHeader header;
  header.nonce = reader.read_le<std::uint64_t>();
  header.number = reader.read_le<std::uint64_t>();
  header.base_lsn = reader.read_le<std::uint64_t>();
  header.fence = reader.read_le<std::uint64_t>();
  header.history_id = reader.read_le<std::uint64_t>();
  header.kind = static_cast<LogObjectKind>(reader.read_le<std::uint8_t>());
  if (version != log_object_version) {
    throw_persist_error(PersistErrorKind::unsupported_version,
                        log_objects::object_words(key) + " has format version " + std::to_string(version) +
                            ", but this library reads " + std::to_string(log_object_version) +
                            "; it needs a newer library, or the object is damaged");
  }
  // Encoding the fields again must produce the same bytes: this checks the checksum and the zeros at once.
  if (const auto right = encoded(header); !std::equal(right.begin(), right.end(), bytes.begin())) {
    log_objects::fail(key, "the checksum of its header is wrong", 0);
  }
  if (header.number != number) {
    log_objects::fail(
        key, "it says that it is number " + std::to_string(header.number) + ", expected " + std::to_string(number));
  }
  if (header.kind < LogObjectKind::fence || header.kind > LogObjectKind::close) {
    log_objects::fail(key, "its kind is " + std::to_string(static_cast<unsigned>(header.kind)) + ", expected 1 to 4");
  }
  const bool is_fence = header.kind == LogObjectKind::fence;
  if (header.base_lsn > largest_lsn || header.fence > number || is_fence != (header.fence == number)) {
    log_objects::fail(key, "its base LSN is " + std::to_string(header.base_lsn) + " and its writer's fence is " +
                               std::to_string(header.fence) + ", which no writer makes of " +
                               (is_fence ? "a fence" : "an object that is no fence"));
  }
  return header;
}

}  // namespace iqdb
