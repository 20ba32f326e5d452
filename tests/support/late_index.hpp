// An index that checks nothing beforehand: what it rejects is in the log already.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/types.hpp"

namespace iqdb_test {

/// A flat index of dimension 1, but for that.
class LateIndex {
 public:
  static constexpr std::string_view index_type = "late";

  LateIndex() : LateIndex(iqdb::FlatIndex(1, iqdb::DistanceMetric::euclidean)) {}

  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
  [[nodiscard]] std::size_t dim() const noexcept { return rows_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const noexcept { return rows_.metric(); }
  [[nodiscard]] bool contains(const iqdb::VectorId& id) const { return rows_.contains(id); }
  [[nodiscard]] auto find(const iqdb::VectorId& id) const { return rows_.find(id); }
  [[nodiscard]] std::vector<iqdb::VectorId> ids() const { return rows_.ids(); }

  void insert(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata = {}) {
    rows_.insert(std::move(id), vector, std::move(metadata));
  }
  void upsert(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata = {}) {
    rows_.upsert(std::move(id), vector, std::move(metadata));
  }
  void erase(const iqdb::VectorId& id) { rows_.erase(id); }

  void save_to(iqdb::Writer& writer) const { rows_.save_to(writer); }
  static LateIndex load_from(iqdb::Reader& reader) { return LateIndex(iqdb::FlatIndex::load_from(reader)); }

 private:
  explicit LateIndex(iqdb::FlatIndex rows) : rows_(std::move(rows)) {}

  iqdb::FlatIndex rows_;
};

static_assert(iqdb::Index<LateIndex>);

}  // namespace iqdb_test
