// Indexes in files of other libraries: the checks on every import and export, whichever the library.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/index/support/direction.hpp"
#include "iqdb/index/support/distance.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// Throws PersistError invalid_payload if bytes follow an index of `library`.
inline void require_end(const Reader& reader, std::string_view library) {
  if (reader.remaining() > 0) {
    reader.fail(PersistErrorKind::invalid_payload, std::to_string(reader.remaining()) + " bytes stand behind the " +
                                                       std::string(library) + " index; expected none");
  }
}

/// Reads a whole file of `library` with `decode(reader)` and returns the index that it returns. Throws what `decode`
/// throws, and PersistError invalid_payload if it leaves bytes unread.
template <ReadableFile F, class Decode>
[[nodiscard]] auto read_whole(F& file, std::string_view library, Decode&& decode) {
  FileRange source(file, 0, file.size());
  Reader reader(source, file.size(), LengthEvidence::stored);
  auto index = std::forward<Decode>(decode)(reader);
  require_end(reader, library);
  return index;
}

/// Throws PersistError invalid_payload unless each vector of an index that was read is a direction. For the cosine,
/// `library` leaves it to the program to normalize vectors to length 1. `vector_in(slot)` is the vector in a slot.
template <class VectorIn>
void require_directions(const Reader& reader, const SlotTable& slots, std::string_view library, VectorIn&& vector_in) {
  for (std::size_t slot = 0; slot < slots.slots(); ++slot) {
    if (slots.is_free(slot)) {
      continue;
    }
    if (const double square = squared_norm(vector_in(slot)); !is_direction(square)) {
      reader.fail(PersistErrorKind::invalid_payload, "the vector " + to_string(slots.id(slot)) + " has the length " +
                                                         std::to_string(std::sqrt(square)) +
                                                         "; for the cosine, vectors of " + std::string(library) +
                                                         " must have a length of 1; take it as dot_product");
    }
  }
}

/// Throws IndexError invalid_config unless every identifier is an integer from 0 to `most`, since `library` knows
/// vectors by number only. `numbers` is the library's word for them: "labels".
inline void check_exportable(const SlotTable& slots, std::uint64_t most, std::string_view library,
                             std::string_view numbers) {
  for (std::size_t slot = 0; slot < slots.slots(); ++slot) {
    if (!slots.is_free(slot) && (!slots.id(slot).is_integer() || slots.id(slot).integer() > most)) {
      throw IndexError(IndexErrorKind::invalid_config, "the vector " + to_string(slots.id(slot)) +
                                                           " cannot be exported: the " + std::string(numbers) + " of " +
                                                           std::string(library) + " are integers from 0 to " +
                                                           std::to_string(most) + "; insert it under one of these");
    }
  }
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
