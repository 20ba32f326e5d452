// The encoding of identifiers, metadata and metric tags, which payloads, snapshots and logs share.
//
// Invariant: decoding refuses unknown tags, a bool other than 0 or 1, and metadata text that is not UTF-8, as
// PersistError invalid_payload; an unknown metric is invalid_metric.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace row_format {
inline constexpr std::uint8_t id_integer = 0;
inline constexpr std::uint8_t id_bytes = 1;
inline constexpr std::uint8_t no_metadata = 0;
inline constexpr std::uint8_t has_metadata = 1;
inline constexpr std::uint8_t value_string = 0;
inline constexpr std::uint8_t value_integer = 1;
inline constexpr std::uint8_t value_float = 2;
inline constexpr std::uint8_t value_bool = 3;
inline constexpr std::uint8_t value_null = 4;

// Throws IndexError resource_limit if a length or a number of entries does not fit in its field.
inline void require_storable_count(std::uint64_t count, std::string_view holder, std::string_view items) {
  if (count > std::numeric_limits<std::uint32_t>::max()) {
    throw IndexError(IndexErrorKind::resource_limit, std::string(holder) + " has " + std::to_string(count) + " " +
                                                         std::string(items) + "; at most 4294967295 can be stored");
  }
}

}  // namespace row_format

/// Returns the metric with this tag. Throws PersistError invalid_metric if no metric has it.
[[nodiscard]] inline DistanceMetric metric_from_tag(std::uint8_t tag) {
  const auto metric = static_cast<DistanceMetric>(tag);
  if (!is_valid(metric)) {
    throw_persist_error(PersistErrorKind::invalid_metric,
                        "the metric has the tag " + std::to_string(tag) + "; expected 0 to 4");
  }
  return metric;
}

/// The size of the smallest identifier, in bytes: kind and length.
inline constexpr std::uint64_t smallest_id_bytes = 1 + 8;

/// The size of the smallest metadata slot, in bytes: the flag for no metadata.
inline constexpr std::uint64_t smallest_metadata_bytes = 1;

/// Throws IndexError if `metadata` cannot be stored and read again: invalid_config for a key or a string that is not
/// UTF-8, resource_limit for a key or a string of more than 2^32-1 bytes or for more than 2^32-1 entries. An index
/// calls it before it accepts a vector.
IQDB_PERSIST_INLINE void check_storable(const std::optional<Metadata>& metadata);

/// The most bytes of an identifier that is stored. Longer ones are read, should a file hold them.
inline constexpr std::uint64_t most_id_bytes = std::uint64_t{16} << 20U;

/// Throws IndexError resource_limit for an identifier of more than most_id_bytes. An index calls it before it accepts a
/// vector.
IQDB_PERSIST_INLINE void check_storable(const VectorId& id);

/// Writes an identifier: kind, then the integer, or length and bytes. Throws what the writer throws.
IQDB_PERSIST_INLINE void write_id(Writer& writer, const VectorId& id);

/// Reads what write_id wrote. Throws PersistError invalid_payload for an unknown kind, truncated_payload if the payload
/// ends early.
[[nodiscard]] IQDB_PERSIST_INLINE VectorId read_id(Reader& reader);

/// Writes a metadata slot: a flag, then the entries in ascending byte order of their keys. Throws what the writer
/// throws. Precondition: check_storable(metadata) does not throw.
IQDB_PERSIST_INLINE void write_metadata(Writer& writer, const std::optional<Metadata>& metadata);

/// Reads what write_metadata wrote. Accepts entries in any order; the last of several entries with the same key counts.
/// Throws PersistError invalid_payload for an unknown flag or tag and for text that is not UTF-8, truncated_payload if
/// the payload ends early.
[[nodiscard]] IQDB_PERSIST_INLINE std::optional<Metadata> read_metadata(Reader& reader);

#if IQDB_PERSIST_DEFINITIONS

namespace row_format {

inline void write_text(Writer& writer, std::string_view text) {
  writer.write_le(static_cast<std::uint32_t>(text.size()));
  writer.write_array(text);
}

[[nodiscard]] inline std::string read_text(Reader& reader, std::string_view what) {
  std::string text = reader.read_string(reader.read_le<std::uint32_t>());
  if (!is_utf8(text)) {
    reader.fail(PersistErrorKind::invalid_payload,
                "the metadata " + std::string(what) + " " + printable(text) + " is not UTF-8");
  }
  return text;
}

inline void write_value(Writer& writer, const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    writer.write_le(value_string);
    write_text(writer, *text);
  } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    writer.write_le(value_integer);
    writer.write_le(*integer);
  } else if (const auto* number = std::get_if<double>(&value)) {
    writer.write_le(value_float);
    writer.write_le(*number);
  } else if (const auto* truth = std::get_if<bool>(&value)) {
    writer.write_le(value_bool);
    writer.write_le(static_cast<std::uint8_t>(*truth));
  } else {
    writer.write_le(value_null);
  }
}

inline void read_value(Reader& reader, Value& value) {
  const auto tag = reader.read_le<std::uint8_t>();
  switch (tag) {
    case value_string:
      value = read_text(reader, "value");
      return;
    case value_integer:
      value = reader.read_le<std::int64_t>();
      return;
    case value_float:
      // In its place: a copy may change the bits of a NaN.
      reader.read_array(std::span(&value.emplace<double>(), 1));
      return;
    case value_bool: {
      const auto truth = reader.read_le<std::uint8_t>();
      if (truth > 1) {
        reader.fail(PersistErrorKind::invalid_payload,
                    "a metadata bool is " + std::to_string(truth) + "; expected 0 or 1");
      }
      value = truth == 1;
      return;
    }
    case value_null:
      value = Null{};
      return;
    default:
      reader.fail(PersistErrorKind::invalid_payload,
                  "a metadata value has the tag " + std::to_string(tag) + "; expected 0 to 4");
  }
}

}  // namespace row_format

IQDB_PERSIST_INLINE void check_storable(const std::optional<Metadata>& metadata) {
  const auto check = [](std::string_view text, std::string_view what) {
    row_format::require_storable_count(text.size(), what, "bytes");
    if (!is_utf8(text)) {
      throw IndexError(IndexErrorKind::invalid_config,
                       std::string(what) + " " + printable(text) + " is not UTF-8; encode other bytes, e.g. in base64");
    }
  };
  if (!metadata) {
    return;
  }
  row_format::require_storable_count(metadata->size(), "the metadata", "entries");
  for (const auto& [key, value] : *metadata) {
    check(key, "the metadata key");
    if (const auto* text = std::get_if<std::string>(&value)) {
      check(*text, "the metadata value");
    }
  }
}

IQDB_PERSIST_INLINE void check_storable(const VectorId& id) {
  if (!id.is_integer() && id.bytes().size() > most_id_bytes) {
    throw IndexError(IndexErrorKind::resource_limit, "an identifier has " + std::to_string(id.bytes().size()) +
                                                         " bytes; at most " + std::to_string(most_id_bytes) +
                                                         " can be stored; use a hash of it, or keep it as metadata");
  }
}

IQDB_PERSIST_INLINE void write_id(Writer& writer, const VectorId& id) {
  if (id.is_integer()) {
    writer.write_le(row_format::id_integer);
    writer.write_le(id.integer());
  } else {
    writer.write_le(row_format::id_bytes);
    writer.write_le(std::uint64_t{id.bytes().size()});
    writer.write_array(id.bytes());
  }
}

IQDB_PERSIST_INLINE VectorId read_id(Reader& reader) {
  const auto kind = reader.read_le<std::uint8_t>();
  if (kind == row_format::id_integer) {
    return reader.read_le<std::uint64_t>();
  }
  if (kind == row_format::id_bytes) {
    return VectorId::from_stored_bytes(reader.read_string(reader.read_le<std::uint64_t>()));
  }
  reader.fail(PersistErrorKind::invalid_payload,
              "an identifier has the kind " + std::to_string(kind) + "; expected 0 (integer) or 1 (bytes)");
}

IQDB_PERSIST_INLINE void write_metadata(Writer& writer, const std::optional<Metadata>& metadata) {
  if (!metadata) {
    writer.write_le(row_format::no_metadata);
    return;
  }
  writer.write_le(row_format::has_metadata);
  writer.write_le(static_cast<std::uint32_t>(metadata->size()));
  for (const auto& [key, value] : *metadata) {
    row_format::write_text(writer, key);
    row_format::write_value(writer, value);
  }
}

IQDB_PERSIST_INLINE std::optional<Metadata> read_metadata(Reader& reader) {
  const auto flag = reader.read_le<std::uint8_t>();
  if (flag == row_format::no_metadata) {
    return std::nullopt;
  }
  if (flag != row_format::has_metadata) {
    reader.fail(PersistErrorKind::invalid_payload,
                "a metadata slot begins with " + std::to_string(flag) + "; expected 0 (none) or 1");
  }
  const auto entries = reader.read_le<std::uint32_t>();
  Metadata metadata;
  for (std::uint32_t entry = 0; entry < entries; ++entry) {
    row_format::read_value(reader, metadata[row_format::read_text(reader, "key")]);
  }
  return metadata;
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace iqdb
