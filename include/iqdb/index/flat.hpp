// FlatIndex: exact search that compares the query with every vector. It is the reference example of a durable index.
//
// Invariants: rows are in insertion order; a mutation that throws has changed nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/exact_index.hpp"
#include "iqdb/index/support/identifier_column.hpp"
#include "iqdb/index/support/metadata_column.hpp"
#include "iqdb/index/support/payload.hpp"
#include "iqdb/index/support/rows.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/bytes/huge_pages.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// An index that compares a query with every vector: exact, and linear in the number of vectors.
///
/// Vectors are contiguous in memory, in insertion order, so that saving or loading them is one transfer. The payload is
/// that of the Rust crate's flat index (docs/format.md). Several threads may call const members at the same time; a
/// mutation needs the index alone.
class FlatIndex : public index_support::ExactIndex,
                  public InsertOverloads<FlatIndex>,
                  public UpsertOverloads<FlatIndex> {
 public:
  /// The identity on disk.
  static constexpr std::string_view index_type = "flat";

  /// load_from checks everything that it reads.
  static constexpr bool trusts_nothing = true;

  /// All of it is private memory, and save_to only reads it.
  static constexpr bool freezes_by_fork = true;

  /// An empty index for vectors of `dim` components, 1 to 2^32-1. Throws IndexError invalid_config if `dim` is out of
  /// range, and invalid_metric if `metric` is not a value of DistanceMetric.
  FlatIndex(std::size_t dim, DistanceMetric metric) : ExactIndex(metric, index_support::Rows(dim)) {
    index_support::check_exact(dim, metric, "a flat index");
  }

  /// Throws what insert would throw, except std::bad_alloc.
  void check_insert(const VectorId& id, std::span<const float> vector, const std::optional<Metadata>& metadata) const {
    check_upsert(id, vector, metadata);
    rows().require_absent(id);
  }

  /// Throws what upsert would throw, except std::bad_alloc.
  void check_upsert(const VectorId& id, std::span<const float> vector, const std::optional<Metadata>& metadata) const {
    check_vector(vector, metadata);
    check_storable(id);
  }

  /// Throws what erase would throw.
  void check_erase(const VectorId& id) const { rows().require_present(id); }

  using InsertOverloads<FlatIndex>::insert;

  /// Adds a vector of dim() components; any floats are allowed. If it throws, nothing has changed: IndexError
  /// dimension_mismatch; duplicate if the identifier is taken; invalid_config or resource_limit for metadata or an
  /// identifier that cannot be stored (check_storable); std::bad_alloc.
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    check_insert(id, vector, metadata);
    rows().append(std::move(id), vector, std::move(metadata));
  }

  using UpsertOverloads<FlatIndex>::upsert;

  /// Replaces the vector and the metadata of an identifier, which keeps its place in the order, or adds them as insert
  /// does. If it throws, nothing has changed: what insert throws, except duplicate.
  void upsert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    check_upsert(id, vector, metadata);
    rows().put(std::move(id), vector, std::move(metadata));
  }

  /// As insert, for a vector that a log says was once taken: its identifier may have any number of bytes, since earlier
  /// versions took any.
  void insert_logged(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
    check_vector(vector, metadata);
    rows().require_absent(id);
    rows().append(std::move(id), vector, std::move(metadata));
  }

  /// As upsert, for a vector that a log says was once taken, as for insert_logged.
  void upsert_logged(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
    check_vector(vector, metadata);
    rows().put(std::move(id), vector, std::move(metadata));
  }

  /// Removes a vector and keeps the order of the others. Throws IndexError not_found if the index does not hold the
  /// vector.
  void erase(const VectorId& id) { rows().erase_in_order(id); }

  /// Writes the payload.
  void save_to(Writer& writer) const {
    index_support::require_not_moved_from(dim());
    writer.write_le(std::uint64_t{dim()});
    writer.write_le(static_cast<std::uint8_t>(metric()));
    writer.write_le(std::uint64_t{size()});
    for_each([&](const VectorId& id, auto, const auto&) { write_id(writer, id); });
    rows().for_each_run([&](std::span<const float> components) { writer.write_array(components); });
    for_each([&](const VectorId&, auto, const auto& metadata) { write_metadata(writer, metadata); });
  }

  /// Makes an index from a payload. Throws PersistError invalid_payload or invalid_metric for a payload that save_to
  /// did not write.
  [[nodiscard]] static FlatIndex load_from(Reader& reader) {
    return index_support::decode_whole(reader, index_type, [&reader] { return decode(reader); });
  }

  /// See SkipsVectors: the vectors stand in one piece.
  static constexpr bool check_payload_skips_vectors = true;

  /// Throws what load_from throws, and keeps the identifiers alone.
  [[nodiscard]] static PayloadFacts check_payload(Reader& reader) {
    return index_support::decode_whole(reader, index_type, [&reader] { return check(reader); });
  }

 private:
  FlatIndex(DistanceMetric metric, index_support::Rows rows) : ExactIndex(metric, std::move(rows)) {}

  // Reads what precedes the rows.
  [[nodiscard]] static PayloadFacts read_facts(Reader& reader) {
    const auto dim = reader.read_le<std::uint64_t>();
    const DistanceMetric metric = metric_from_tag(reader.read_le<std::uint8_t>());
    const auto count = reader.read_le<std::uint64_t>();
    index_support::require_addressable(reader, dim, index_type);
    // After this check no product below overflows: a row takes at least this many bytes of a payload, and the payload's
    // size fits 64 bits.
    if (count > 0) {
      reader.require_items(dim, sizeof(float));
      reader.require_items(count, smallest_id_bytes + dim * sizeof(float) + smallest_metadata_bytes);
    }
    return {.dim = dim, .metric = metric, .vectors = count};
  }

  [[nodiscard]] static index_support::IdentifierColumn read_ids(Reader& reader, std::uint64_t count) {
    index_support::IdentifierColumn ids;
    while (ids.size() < count) {
      ids.make_room(reader, count, smallest_id_bytes);
      ids.push(index_support::IdentifierColumn::Cell(read_id(reader)));
    }
    return ids;
  }

  [[nodiscard]] static PayloadFacts check(Reader& reader) {
    const PayloadFacts facts = read_facts(reader);
    index_support::IdentifierColumn ids = read_ids(reader, facts.vectors);
    reader.skip(facts.vectors * facts.dim * sizeof(float));
    for (std::uint64_t row = 0; row < facts.vectors; ++row) {
      std::ignore = read_metadata(reader);
    }
    index_support::require_unique(reader, index_type, std::move(ids));
    return facts;
  }

  [[nodiscard]] static FlatIndex decode(Reader& reader) {
    const auto [dim, metric, count] = read_facts(reader);
    index_support::IdentifierColumn ids = read_ids(reader, count);
    auto vectors = reader.read_vector<float, HugePageAllocator<float>>(count * dim);
    index_support::MetadataColumn metadata;
    for (std::size_t row = 0; row < ids.size(); ++row) {
      metadata.set(row, read_metadata(reader));
    }
    return {metric, index_support::Rows(reader, index_type, static_cast<std::size_t>(dim), std::move(ids),
                                        std::move(metadata), std::move(vectors))};
  }
};

static_assert(SearchableIndex<FlatIndex>);
static_assert(Persistable<FlatIndex>);
static_assert(ChecksVector<FlatIndex> && ChecksInsert<FlatIndex> && ChecksErase<FlatIndex>);
static_assert(Upsertable<FlatIndex> && ChecksUpsert<FlatIndex>);
static_assert(TrustsNothing<FlatIndex> && ChecksPayload<FlatIndex>);

}  // namespace iqdb::inline IQDB_PERSIST_ABI
