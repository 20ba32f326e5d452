// CoreIndex: the rows of a database of the Rust crate `iqdb`, as the crate writes them.
//
// Invariant: what load_from has read, save_to writes byte for byte; a mutation that throws has changed nothing.
#pragma once

#include <algorithm>
#include <array>
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
#include "iqdb/index_error.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The index that an application of the crate builds from the rows when it loads them.
enum class CoreKind : std::uint8_t {
  flat = 0,  ///< none: it compares with every vector
  hnsw = 1,  ///< a graph
  ivf = 2,   ///< lists around centroids
};

/// A database of the Rust crate `iqdb`: its rows, and the settings of the index that the crate builds from them, which
/// are kept as they are. Search is exact, whatever the kind. Several threads may call const members at the same time; a
/// mutation needs the index alone.
///
/// Mutations mean what they mean in the crate: an insert of a known identifier replaces its row, an erase of an unknown
/// one does nothing, and the last row moves into the place of an erased one. So a log of the crate's, in which these
/// are common, replays as it was meant.
class CoreIndex : public index_support::ExactIndex,
                  public InsertOverloads<CoreIndex>,
                  public UpsertOverloads<CoreIndex> {
 public:
  /// The identity on disk.
  static constexpr std::string_view index_type = "iqdb-core";

  /// load_from checks everything that it reads.
  static constexpr bool trusts_nothing = true;

  /// All of it is private memory, and save_to only reads it.
  static constexpr bool freezes_by_fork = true;

  /// An empty database of the kind flat, for vectors of `dim` components, 1 to 2^32-1. Throws IndexError invalid_config
  /// if `dim` is out of range, and invalid_metric if `metric` is not a value of DistanceMetric.
  CoreIndex(std::size_t dim, DistanceMetric metric) : ExactIndex(metric, index_support::Rows(dim)) {
    index_support::check_exact(dim, metric, "a core index");
  }

  /// The index that the crate builds from the rows.
  [[nodiscard]] CoreKind kind() const noexcept { return settings_.kind; }

  /// Throws what insert would throw, except std::bad_alloc.
  void check_insert(const VectorId& id, std::span<const float> vector, const std::optional<Metadata>& metadata) const {
    check_storable(id);
    check_logged(id, vector, metadata);
  }

  /// Throws what insert_logged would throw, except std::bad_alloc.
  void check_logged(const VectorId& id, std::span<const float> vector, const std::optional<Metadata>& metadata) const {
    check_vector(vector, metadata);
    if (!id.is_integer() && id.bytes().empty()) {
      throw IndexError(IndexErrorKind::invalid_config,
                       "a vector identifier of no bytes was given; a database of the crate takes at least one");
    }
  }

  /// Throws what upsert would throw, except std::bad_alloc: what check_insert throws.
  void check_upsert(const VectorId& id, std::span<const float> vector, const std::optional<Metadata>& metadata) const {
    check_insert(id, vector, metadata);
  }

  /// Throws nothing: any identifier can be erased.
  void check_erase(const VectorId& /*id*/) const noexcept {}

  using InsertOverloads<CoreIndex>::insert;

  /// Adds a vector of dim() components behind all others, or replaces the vector and the metadata of a known identifier
  /// in its place. Any floats are allowed. If it throws, nothing has changed: IndexError dimension_mismatch;
  /// invalid_config or resource_limit for metadata or an identifier that cannot be stored; std::bad_alloc.
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    check_insert(id, vector, metadata);
    rows().put(std::move(id), vector, std::move(metadata));
  }

  using UpsertOverloads<CoreIndex>::upsert;

  /// The same as insert.
  void upsert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    insert(std::move(id), vector, std::move(metadata));
  }

  /// As insert, for a vector that a log says was once taken: its identifier may have any number of bytes but none, since
  /// the crate takes any.
  void insert_logged(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
    check_logged(id, vector, metadata);
    rows().put(std::move(id), vector, std::move(metadata));
  }

  /// The same as insert_logged.
  void upsert_logged(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
    insert_logged(std::move(id), vector, std::move(metadata));
  }

  /// Removes a vector, and moves the last one into its place. Does nothing if the index does not hold the vector.
  void erase(const VectorId& id) { rows().erase_by_last(id); }

  /// Writes the payload: magic "IQDC" | version 4 | kind 1 and its settings | dim 8 | metric 1 | rows 8 | of each row:
  /// identifier, vector, metadata. Numbers are little-endian.
  void save_to(Writer& writer) const {
    index_support::require_not_moved_from(dim());
    writer.write_array(magic);
    writer.write_le(layout_version);
    writer.write_le(static_cast<std::uint8_t>(settings_.kind));
    writer.write(std::span(settings_.bytes).first(settings_.size));
    writer.write_le(std::uint64_t{dim()});
    writer.write_le(static_cast<std::uint8_t>(metric()));
    writer.write_le(std::uint64_t{size()});
    for_each([&](const VectorId& id, std::span<const float> vector, const auto& metadata) {
      write_short_id(writer, id);
      writer.write_array(vector);
      write_metadata(writer, metadata);
    });
  }

  /// Makes an index from a payload. Throws PersistError invalid_payload or invalid_metric for a payload that neither
  /// save_to nor the crate has written.
  [[nodiscard]] static CoreIndex load_from(Reader& reader) {
    return index_support::decode_whole(reader, index_type, [&reader] { return decode(reader); });
  }

  /// Throws what load_from throws, and keeps the identifiers alone.
  [[nodiscard]] static PayloadFacts check_payload(Reader& reader) {
    return index_support::decode_whole(reader, index_type, [&reader] { return check(reader); });
  }

 private:
  // The kind, and the bytes of its settings as they were read.
  struct Settings {
    static constexpr std::size_t most_bytes = 3 * 8 + 1 + 1 + 8 + 4 + 8;  // those of ivf

    CoreKind kind = CoreKind::flat;
    std::array<std::byte, most_bytes> bytes = {};
    std::size_t size = 0;
  };

  static constexpr std::string_view magic = "IQDC";
  static constexpr std::uint32_t layout_version = 1;
  static constexpr std::uint64_t smallest_short_id_bytes = 1 + 4 + 1;

  CoreIndex(DistanceMetric metric, Settings settings, index_support::Rows rows)
      : ExactIndex(metric, std::move(rows)), settings_(settings) {}

  // What precedes the rows, and the least that each of them takes.
  struct Head {
    Settings settings;
    PayloadFacts facts;
    std::uint64_t row_bytes = 0;
  };

  [[nodiscard]] static Head read_head(Reader& reader) {
    if (const std::string found = reader.read_string(magic.size()); found != magic) {
      reader.fail(PersistErrorKind::invalid_payload, "the payload begins with " + printable(found) + "; expected " +
                                                         printable(magic) + ", as a database of the crate iqdb has it");
    }
    if (const auto version = reader.read_le<std::uint32_t>(); version != layout_version) {
      reader.fail(PersistErrorKind::invalid_payload, "the database has the layout version " + std::to_string(version) +
                                                         "; expected " + std::to_string(layout_version) +
                                                         "; it needs a newer library, or it is damaged");
    }
    const Settings settings = read_settings(reader);
    const auto dim = reader.read_le<std::uint64_t>();
    const DistanceMetric metric = metric_from_tag(reader.read_le<std::uint8_t>());
    const auto count = reader.read_le<std::uint64_t>();
    index_support::require_addressable(reader, dim, index_type);
    // After this check no product below overflows.
    if (count > 0) {
      reader.require_items(dim, sizeof(float));
    }
    const std::uint64_t row_bytes =
        smallest_short_id_bytes + (count > 0 ? dim * sizeof(float) : 0) + smallest_metadata_bytes;
    reader.require_items(count, row_bytes);
    return {.settings = settings, .facts = {.dim = dim, .metric = metric, .vectors = count}, .row_bytes = row_bytes};
  }

  [[nodiscard]] static PayloadFacts check(Reader& reader) {
    const Head head = read_head(reader);
    index_support::IdentifierColumn ids;
    while (ids.size() < head.facts.vectors) {
      ids.make_room(reader, head.facts.vectors, head.row_bytes);
      ids.push(index_support::IdentifierColumn::Cell(read_short_id(reader)));
      reader.skip(head.facts.dim * sizeof(float));
      std::ignore = read_metadata(reader);
    }
    index_support::require_unique(reader, index_type, std::move(ids));
    return head.facts;
  }

  [[nodiscard]] static CoreIndex decode(Reader& reader) {
    const auto [settings, facts, row_bytes] = read_head(reader);
    const auto [dim, metric, count] = facts;
    index_support::IdentifierColumn ids;
    index_support::MetadataColumn metadata;
    index_support::Components vectors;
    for (std::size_t row = 0; row < count; ++row) {
      ids.make_room(reader, count, row_bytes);
      ids.push(index_support::IdentifierColumn::Cell(read_short_id(reader)));
      for (const std::size_t end = vectors.size() + static_cast<std::size_t>(dim); vectors.size() < end;) {
        reader.make_room(vectors, count * dim, sizeof(float));
        const std::size_t begin = vectors.size();
        vectors.resize(std::min(end, vectors.capacity()));
        reader.read_array(std::span<float>(vectors).subspan(begin));
      }
      metadata.set(row, read_metadata(reader));
    }
    return {metric, settings,
            index_support::Rows(reader, index_type, static_cast<std::size_t>(dim), std::move(ids), std::move(metadata),
                                std::move(vectors))};
  }

  // hnsw: five settings 8 each. ivf: three settings 8 each | whether it quantizes 1 | whether a number of parts follows
  // 1 | it 8, if so | a factor 4 | seed 8.
  [[nodiscard]] static Settings read_settings(Reader& reader) {
    Settings settings;
    const auto kind = reader.read_le<std::uint8_t>();
    if (kind > static_cast<std::uint8_t>(CoreKind::ivf)) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "the database is of the kind " + std::to_string(kind) + "; expected 0 (flat), 1 (hnsw) or 2 (ivf)");
    }
    settings.kind = static_cast<CoreKind>(kind);
    const auto take = [&](std::size_t bytes) {
      const auto into = std::span(settings.bytes).subspan(settings.size, bytes);
      reader.read(into);
      settings.size += bytes;
    };
    const auto take_flag = [&](std::string_view what) {
      take(1);
      const auto flag = std::to_integer<unsigned>(settings.bytes[settings.size - 1]);
      if (flag > 1) {
        reader.fail(PersistErrorKind::invalid_payload, "a setting of the database, " + std::string(what) + ", is " +
                                                           std::to_string(flag) + "; expected 0 or 1");
      }
      return flag == 1;
    };
    if (settings.kind == CoreKind::hnsw) {
      take(5 * sizeof(std::uint64_t));
    } else if (settings.kind == CoreKind::ivf) {
      take(3 * sizeof(std::uint64_t));
      static_cast<void>(take_flag("whether it quantizes"));
      if (take_flag("whether a number of parts is set")) {
        take(sizeof(std::uint64_t));
      }
      take(sizeof(std::uint32_t) + sizeof(std::uint64_t));
    }
    return settings;
  }

  // As write_id, but the length has four bytes.
  static void write_short_id(Writer& writer, const VectorId& id) {
    if (id.is_integer()) {
      write_id(writer, id);
      return;
    }
    writer.write_le(row_format::id_bytes);
    writer.write_le(static_cast<std::uint32_t>(id.bytes().size()));
    writer.write_array(id.bytes());
  }

  [[nodiscard]] static VectorId read_short_id(Reader& reader) {
    const auto kind = reader.read_le<std::uint8_t>();
    if (kind == row_format::id_integer) {
      return reader.read_le<std::uint64_t>();
    }
    if (kind != row_format::id_bytes) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "an identifier has the kind " + std::to_string(kind) + "; expected 0 (integer) or 1 (bytes)");
    }
    const auto length = reader.read_le<std::uint32_t>();
    if (length == 0) {
      reader.fail(PersistErrorKind::invalid_payload, "an identifier has no bytes; expected at least one");
    }
    return VectorId::from_stored_bytes(reader.read_string(length));
  }

  Settings settings_;
};

static_assert(SearchableIndex<CoreIndex>);
static_assert(Persistable<CoreIndex>);
static_assert(ChecksVector<CoreIndex> && ChecksInsert<CoreIndex> && ChecksErase<CoreIndex>);
static_assert(Upsertable<CoreIndex> && ChecksUpsert<CoreIndex>);
static_assert(TrustsNothing<CoreIndex>);

}  // namespace iqdb::inline IQDB_PERSIST_ABI
