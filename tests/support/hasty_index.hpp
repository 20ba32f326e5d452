// An index that finds out late: its checks can be turned off, and some vectors find no memory when they are inserted. It
// takes many rows in one call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "iqdb/index.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/types.hpp"

namespace iqdb_test {

/// A flat index, but for that.
class HastyIndex {
 public:
  static constexpr std::string_view index_type = "hasty";

  HastyIndex(std::size_t dim, iqdb::DistanceMetric metric) : rows_(dim, metric) {}

  /// Whether the indexes of this thread tell beforehand what they would reject.
  inline static thread_local bool checks = true;

  /// An identifier for which an insert finds no memory. A replay finds it.
  static constexpr std::uint64_t first_unlucky = 9000;
  static constexpr std::uint64_t last_unlucky = 9099;

  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
  [[nodiscard]] std::size_t dim() const noexcept { return rows_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const noexcept { return rows_.metric(); }

  void check_vector(std::span<const float> vector, const std::optional<iqdb::Metadata>& metadata) const {
    if (checks) {
      rows_.check_vector(vector, metadata);
    }
  }
  void check_insert(const iqdb::VectorId& id, std::span<const float> vector,
                    const std::optional<iqdb::Metadata>& metadata) const {
    if (checks) {
      rows_.check_insert(id, vector, metadata);
    }
  }
  void check_upsert(const iqdb::VectorId& id, std::span<const float> vector,
                    const std::optional<iqdb::Metadata>& metadata) const {
    if (checks) {
      rows_.check_upsert(id, vector, metadata);
    }
  }
  void check_erase(const iqdb::VectorId& id) const {
    if (checks) {
      rows_.check_erase(id);
    }
  }

  void insert(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata = {}) {
    if (id >= iqdb::VectorId(first_unlucky) && id <= iqdb::VectorId(last_unlucky)) {
      throw std::bad_alloc();
    }
    rows_.insert(std::move(id), vector, std::move(metadata));
  }
  /// Takes no three rows at once, nor six: those are inserted one by one.
  void insert_many(const iqdb::InsertedRows& rows, iqdb::LentThreads& /*threads*/) {
    if (rows.size() % 3 == 0) {
      throw std::bad_alloc();
    }
    HastyIndex next = *this;
    for (std::size_t row = 0; row < rows.size(); ++row) {
      next.insert(rows.ids[row], rows.vectors.subspan(row * dim(), dim()), iqdb::copied(rows.metadata[row]));
    }
    *this = std::move(next);
  }
  void upsert(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata = {}) {
    rows_.upsert(std::move(id), vector, std::move(metadata));
  }
  void insert_logged(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata) {
    rows_.insert_logged(std::move(id), vector, std::move(metadata));
  }
  void upsert_logged(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata) {
    rows_.upsert_logged(std::move(id), vector, std::move(metadata));
  }
  void erase(const iqdb::VectorId& id) { rows_.erase(id); }

  void save_to(iqdb::Writer& writer) const { rows_.save_to(writer); }
  static HastyIndex load_from(iqdb::Reader& reader) { return HastyIndex(iqdb::FlatIndex::load_from(reader)); }

 private:
  explicit HastyIndex(iqdb::FlatIndex rows) : rows_(std::move(rows)) {}

  iqdb::FlatIndex rows_;
};

static_assert(iqdb::InsertsMany<HastyIndex>);

}  // namespace iqdb_test
