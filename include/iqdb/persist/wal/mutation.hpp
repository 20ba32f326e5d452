// One mutation as a log stores it: an op byte, and the fields behind it. docs/format.md has the rules.
//
//   insert, upsert:              id | count 4 | that many f32 | metadata slot
//   erase:                       id
//   metadata:                    id | metadata slot
//   typed insert, typed upsert:  element type 1 | id | count 4 | the elements | metadata slot
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The type of the components of a vector that are not f32.
enum class ElementType : std::uint8_t { f16 = 1, bf16 = 2, i8 = 3, u8 = 4, bits = 5, f64 = 6 };

/// How many bytes `count` elements of this type take. Eight bits share a byte.
[[nodiscard]] constexpr std::uint64_t bytes_of_elements(ElementType type, std::uint64_t count) noexcept {
  switch (type) {
    case ElementType::f16:
    case ElementType::bf16:
      return count * 2;
    case ElementType::i8:
    case ElementType::u8:
      return count;
    case ElementType::bits:
      return (count + 7) / 8;
    case ElementType::f64:
      return count * 8;
  }
  return 0;
}

/// Whether the fields behind this op are those of one mutation.
[[nodiscard]] constexpr bool is_mutation(FrameOp op) noexcept {
  return op == FrameOp::insert || op == FrameOp::erase || op == FrameOp::upsert || op == FrameOp::metadata ||
         op == FrameOp::typed_insert || op == FrameOp::typed_upsert;
}

/// Whether a log of this version may hold the mutation.
[[nodiscard]] constexpr bool is_mutation_of(std::uint32_t version, FrameOp op) noexcept {
  return version < 3 ? op == FrameOp::insert || op == FrameOp::erase : is_mutation(op);
}

/// One mutation of a log. Callers reuse one object for many mutations, so that its memory is reused.
struct Mutation {
  FrameOp op = FrameOp::erase;                  ///< one for which is_mutation is true
  VectorId id = 0;                              ///< the vector that it concerns
  std::vector<float> vector = {};               ///< for an insert or an upsert
  std::optional<Metadata> metadata = {};        ///< for all but an erase
  ElementType element_type = ElementType::f16;  ///< for a typed insert or upsert
  std::uint32_t element_count = 0;              ///< for a typed insert or upsert
  std::vector<std::byte> elements = {};         ///< for a typed insert or upsert; bits begin with the lowest of a byte
};

namespace wal_format {

inline void write_vector_mutation(Writer& writer, FrameOp op, const VectorId& id, std::span<const float> vector,
                                  const std::optional<Metadata>& metadata) {
  writer.write_le(static_cast<std::uint8_t>(op));
  write_id(writer, id);
  writer.write_le(static_cast<std::uint32_t>(vector.size()));
  writer.write_array(vector);
  write_metadata(writer, metadata);
}

}  // namespace wal_format

/// Writes the body of an insert. Precondition: check_storable(metadata) does not throw.
inline void write_insert(Writer& writer, const VectorId& id, std::span<const float> vector,
                         const std::optional<Metadata>& metadata) {
  wal_format::write_vector_mutation(writer, FrameOp::insert, id, vector, metadata);
}

/// Writes the body of an upsert. Precondition: check_storable(metadata) does not throw.
inline void write_upsert(Writer& writer, const VectorId& id, std::span<const float> vector,
                         const std::optional<Metadata>& metadata) {
  wal_format::write_vector_mutation(writer, FrameOp::upsert, id, vector, metadata);
}

/// Writes the body of an update of metadata. Precondition: check_storable(metadata) does not throw.
inline void write_update_metadata(Writer& writer, const VectorId& id, const std::optional<Metadata>& metadata) {
  writer.write_le(static_cast<std::uint8_t>(FrameOp::metadata));
  write_id(writer, id);
  write_metadata(writer, metadata);
}

/// Writes the body of an erase.
inline void write_erase(Writer& writer, const VectorId& id) {
  writer.write_le(static_cast<std::uint8_t>(FrameOp::erase));
  write_id(writer, id);
}

/// Writes the body of a mutation. Preconditions: check_storable(mutation.metadata) does not throw; the elements of a
/// typed mutation have the bytes that bytes_of_elements tells.
IQDB_PERSIST_INLINE void write_mutation(Writer& writer, const Mutation& mutation);

/// Reads the fields behind the op byte of a mutation. Throws as read_id and read_metadata do, and PersistError
/// truncated_payload if the vector is cut short; invalid_payload for an element type or padding that no writer makes.
IQDB_PERSIST_INLINE void read_mutation(Reader& reader, FrameOp op, Mutation& mutation);

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE void write_mutation(Writer& writer, const Mutation& mutation) {
  switch (mutation.op) {
    case FrameOp::insert:
    case FrameOp::upsert:
      wal_format::write_vector_mutation(writer, mutation.op, mutation.id, mutation.vector, mutation.metadata);
      return;
    case FrameOp::metadata:
      write_update_metadata(writer, mutation.id, mutation.metadata);
      return;
    case FrameOp::typed_insert:
    case FrameOp::typed_upsert:
      writer.write_le(static_cast<std::uint8_t>(mutation.op));
      writer.write_le(static_cast<std::uint8_t>(mutation.element_type));
      write_id(writer, mutation.id);
      writer.write_le(mutation.element_count);
      writer.write(mutation.elements);
      write_metadata(writer, mutation.metadata);
      return;
    default:
      write_erase(writer, mutation.id);
  }
}

IQDB_PERSIST_INLINE void read_mutation(Reader& reader, FrameOp op, Mutation& mutation) {
  mutation.op = op;
  if (op == FrameOp::typed_insert || op == FrameOp::typed_upsert) {
    const auto type = reader.read_le<std::uint8_t>();
    if (type < static_cast<std::uint8_t>(ElementType::f16) || type > static_cast<std::uint8_t>(ElementType::f64)) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "the elements of a vector have the type " + std::to_string(type) + "; expected 1 to 6");
    }
    mutation.element_type = static_cast<ElementType>(type);
  }
  mutation.id = read_id(reader);
  if (op == FrameOp::insert || op == FrameOp::upsert) {
    const auto components = reader.read_le<std::uint32_t>();
    reader.require_items(components, sizeof(float));
    mutation.vector.resize(components);
    reader.read_array(std::span<float>(mutation.vector));
  } else if (op == FrameOp::typed_insert || op == FrameOp::typed_upsert) {
    mutation.element_count = reader.read_le<std::uint32_t>();
    const std::uint64_t bytes = bytes_of_elements(mutation.element_type, mutation.element_count);
    reader.require_items(bytes, 1);
    mutation.elements.resize(static_cast<std::size_t>(bytes));
    reader.read(mutation.elements);
    const std::uint32_t in_last_byte = mutation.element_count % 8;
    if (mutation.element_type == ElementType::bits && in_last_byte != 0 &&
        std::to_integer<unsigned>(mutation.elements.back()) >> in_last_byte != 0) {
      reader.fail(PersistErrorKind::invalid_payload, "the padding behind the last bit of a vector is not zero");
    }
  }
  if (op != FrameOp::erase) {
    mutation.metadata = read_metadata(reader);
  }
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace iqdb
