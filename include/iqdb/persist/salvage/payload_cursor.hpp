// What is read of a damaged payload, and the place in it where the reading stands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace salvage {

/// A row that was read from a damaged payload.
struct SalvagedRow {
  VectorId id = 0;
  std::vector<float> vector = {};
  std::optional<Metadata> metadata = {};
  bool metadata_lost = false;  ///< its metadata could not be read
};

/// What was read of a damaged payload.
struct SalvagedRows {
  std::uint64_t dim = 0;                              ///< 0 if not even the beginning could be read
  DistanceMetric metric = DistanceMetric::euclidean;  ///< how distances are measured
  std::uint64_t stated = 0;                           ///< how many rows the payload states
  std::vector<std::uint64_t> settings = {};           ///< those of an adapter, in the order of its payload
  std::uint32_t kind = 0;                             ///< faiss' tag of the kind of index
  std::vector<SalvagedRow> rows = {};                 ///< the rows
  std::vector<VectorId> lost = {};                    ///< identifiers whose vectors could not be read
};

namespace payload_rows {

// A payload that is read from its beginning, and the rows that were read. What cannot be read throws PersistError, and the
// rows before it stay. Used by one thread.
class PayloadCursor {
 public:
  explicit PayloadCursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  // Calls `read(reader)` with a reader of everything from `next_` on, and moves `next_` behind what was read.
  template <class Read>
  auto take(Read&& read) {
    Reader reader(bytes_.subspan(next_));
    auto value = std::forward<Read>(read)(reader);
    next_ += static_cast<std::size_t>(reader.position());
    return value;
  }
  template <class T>
  T number() {
    return take([](Reader& reader) { return reader.read_le<T>(); });
  }
  void skip(std::uint64_t count, std::uint64_t bytes_each) {
    Reader reader(bytes_.subspan(next_));
    reader.require_items(count, bytes_each);
    next_ += static_cast<std::size_t>(count * bytes_each);
  }
  [[noreturn]] static void stop() { throw_persist_error(PersistErrorKind::invalid_payload, "the payload is damaged"); }

  [[nodiscard]] bool vector_fits() const noexcept { return (bytes_.size() - next_) / sizeof(float) >= rows_.dim; }

  std::vector<float> vector() {
    return take([&](Reader& reader) { return reader.read_vector<float>(rows_.dim); });
  }

  // The bytes of the payload, and where the next one that is read stands in them.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::size_t next() const noexcept { return next_; }
  void move_to(std::size_t place) noexcept { next_ = place; }
  [[nodiscard]] std::size_t left() const noexcept { return bytes_.size() - next_; }
  [[nodiscard]] SalvagedRows& rows() noexcept { return rows_; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t next_ = 0;
  SalvagedRows rows_;
};

}  // namespace payload_rows

}  // namespace salvage

}  // namespace iqdb
