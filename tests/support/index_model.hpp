// IndexModel: a durable index beside a plain map, through random mutations, searches, checkpoints, loads, and files of its library.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/support/distance.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/sample_index.hpp"
#include "support/streams.hpp"
#include "support/temporary_directory.hpp"

namespace iqdb_test {

/// What an index can do.
struct IndexAbilities {
  bool erases = true;
  bool is_exact = false;  ///< also with `params`
  iqdb::SearchParams params = {};
};

/// Brings an index into a file of its library's own, and back.
template <class Index>
using ThroughOwnFile = std::function<Index(const Index& index, const std::filesystem::path& file)>;

/// An index, and what it must hold: the vectors come from the index itself, in the form in which it keeps them.
template <class Index>
class IndexModel {
 public:
  IndexModel(Index index, IndexAbilities abilities, std::uint64_t seed, ThroughOwnFile<Index> through_own_file = {})
      : abilities_(std::move(abilities)), through_own_file_(std::move(through_own_file)), random_(seed) {
    db_.emplace(Database::open_with(std::move(index), config_));
  }

  /// Makes a random mutation, search or question, a checkpoint, a replay of the log, or a file of the library's own, and
  /// requires that the index does what the map does.
  void step() {
    const std::uint64_t choice = random_.below(100);
    if (choice < 45) {
      insert(choice < 30 || !abilities_.erases);
    } else if (choice < 55 && abilities_.erases) {
      erase();
    } else if (choice < 65) {
      update_metadata();
    } else if (choice < 95) {
      search();
    } else if (choice < 97) {
      require_content();
    } else if (choice < 98) {
      db_->checkpoint();
    } else if (choice < 99) {
      load_again();
    } else if (through_own_file_) {
      require_through_own_file();
    }
  }

  void require_content() const {
    REQUIRE(index().size() == held_.size());
    std::vector<iqdb::VectorId> ids = index().ids();
    std::ranges::sort(ids);
    REQUIRE(std::ranges::equal(ids, held_, {}, {}, [](const auto& each) { return each.first; }));
    for (const auto& [id, expected] : held_) {
      require_held(id, expected);
    }
  }

  /// Of the hits that an exact search would have found, those that were found, in percent.
  [[nodiscard]] double recall() const { return expected_ == 0 ? 100.0 : 100.0 * found_ / expected_; }

 private:
  using Database = iqdb::PersistedIndex<Index>;

  static constexpr std::uint64_t most_ids = 400;

  [[nodiscard]] const Index& index() const { return db_->index(); }

  // A file of a library's own has integers as identifiers.
  [[nodiscard]] iqdb::VectorId id_of(std::uint64_t number) const {
    return through_own_file_ ? iqdb::VectorId(number) : sample_id(number);
  }

  [[nodiscard]] std::uint64_t any_number() { return random_.below(most_ids); }

  // The snapshot, and what the log holds behind it.
  void load_again() {
    db_.reset();
    db_.emplace(Database::load(config_));
    require_content();
  }

  void require_through_own_file() {
    const Index other = through_own_file_(index(), directory_ / "own");
    REQUIRE(other.size() == held_.size());
    for (const auto& [id, expected] : held_) {
      REQUIRE(other.get(id).vector == expected.vector);
    }
  }

  void insert(bool only_new) {
    const std::uint64_t number = any_number();
    const iqdb::VectorId id = id_of(number);
    const std::vector<float> vector = random_.vector(index().dim());
    const std::optional<iqdb::Metadata> metadata = sample_metadata(number, random_);
    if (!only_new) {
      db_->upsert(id, vector, metadata);
    } else if (held_.contains(id)) {
      require_kind(iqdb::IndexErrorKind::duplicate, [&] { db_->insert(id, vector, metadata); });
      return;
    } else {
      db_->insert(id, vector, metadata);
    }
    held_[id] = {.vector = index().get(id).vector, .metadata = metadata};
    require_held(id, held_[id]);
  }

  void erase() {
    const iqdb::VectorId id = id_of(any_number());
    if (held_.erase(id) == 0) {
      require_kind(iqdb::IndexErrorKind::not_found, [&] { db_->erase(id); });
    } else {
      db_->erase(id);
    }
    REQUIRE(!index().contains(id));
    REQUIRE(!index().find(id));
  }

  void update_metadata() {
    const iqdb::VectorId id = id_of(any_number());
    const std::optional<iqdb::Metadata> metadata = sample_metadata(any_number(), random_);
    const auto held = held_.find(id);
    if (held == held_.end()) {
      require_kind(iqdb::IndexErrorKind::not_found, [&] { db_->update_metadata(id, metadata); });
      return;
    }
    db_->update_metadata(id, metadata);
    held->second.metadata = metadata;
    require_held(id, held->second);
  }

  void require_held(const iqdb::VectorId& id, const iqdb::StoredVector& expected) const {
    const iqdb::StoredVector found = index().get(id);
    REQUIRE(found.vector == expected.vector);
    REQUIRE(same(found.metadata, expected.metadata));
  }

  // A NaN is equal to itself here.
  [[nodiscard]] static bool same(const std::optional<iqdb::Metadata>& one, const std::optional<iqdb::Metadata>& other) {
    return metadata_bytes(one) == metadata_bytes(other);
  }

  [[nodiscard]] static std::vector<std::byte> metadata_bytes(const std::optional<iqdb::Metadata>& metadata) {
    return written_by([&](iqdb::Writer& writer) { iqdb::write_metadata(writer, metadata); });
  }

  [[nodiscard]] iqdb::SearchFilter any_filter() {
    const std::uint64_t one_in = 1 + random_.below(random_.one_in(2) ? 3 : 60);
    const std::uint64_t salt = random_.next();
    const auto admits = [one_in, salt](const iqdb::VectorId& id) {
      return (std::hash<iqdb::VectorId>()(id) * 0x9E3779B97F4A7C15U ^ salt) % one_in == 0;
    };
    std::vector<iqdb::VectorId> ids;
    for (std::uint64_t number = 0; number < most_ids; ++number) {
      if (admits(id_of(number))) {
        ids.push_back(id_of(number));
      }
    }
    switch (random_.below(4)) {
      case 0:
        return {};
      case 1:
        return iqdb::SearchFilter::allow(ids);
      case 2:
        return iqdb::SearchFilter::deny(ids);
      default:
        return [admits](const iqdb::VectorId& id, const std::optional<iqdb::Metadata>& metadata) {
          return admits(id) || (metadata && metadata->contains("bool"));
        };
    }
  }

  void search() {
    iqdb::SearchParams params = abilities_.params;
    params.k = random_.one_in(10) ? iqdb::SearchParams::no_limit : random_.below(30);
    params.filter = any_filter();
    params.with_metadata = !random_.one_in(3);
    if (random_.one_in(3)) {
      params.radius = static_cast<float>(random_.below(100)) / 50.0F;
    }
    const std::vector<float> queries = random_.vector(3 * index().dim());
    const std::vector<std::vector<iqdb::Hit>> hits = index().search_many(queries, params, 1 + random_.below(2));
    REQUIRE(hits.size() == 3);
    for (std::size_t at = 0; at < 3; ++at) {
      const auto query = std::span(queries).subspan(at * index().dim(), index().dim());
      const std::vector<iqdb::Hit> expected = exact(query, params);
      require_right(hits[at], expected, query, params);
      require_right(index().search(query, params), expected, query, params);
    }
  }

  // As the index measures: it keeps a query as it keeps a vector.
  [[nodiscard]] float distance_to(std::span<const float> query, const iqdb::StoredVector& held) const {
    return iqdb::distance(index().metric(), query, held.vector);
  }

  [[nodiscard]] std::vector<iqdb::Hit> exact(std::span<const float> query, const iqdb::SearchParams& params) const {
    std::vector<iqdb::Hit> hits;
    for (const auto& [id, held] : held_) {
      const float distance = distance_to(query, held);
      if (params.filter.admits(id, held.metadata) && (!params.radius || distance <= *params.radius)) {
        hits.push_back({.id = id, .distance = distance, .metadata = held.metadata});
      }
    }
    std::ranges::sort(hits, {}, &iqdb::Hit::distance);
    hits.resize(std::min(hits.size(), params.k));
    return hits;
  }

  void require_right(const std::vector<iqdb::Hit>& hits, const std::vector<iqdb::Hit>& expected,
                     std::span<const float> query, const iqdb::SearchParams& params) {
    constexpr float rounding = 1e-5F;
    float before = -std::numeric_limits<float>::infinity();
    std::vector<iqdb::VectorId> seen;
    for (const iqdb::Hit& hit : hits) {
      const auto held = held_.find(hit.id);
      REQUIRE(held != held_.end());
      REQUIRE(params.filter.admits(hit.id, held->second.metadata));
      REQUIRE(std::abs(hit.distance - distance_to(query, held->second)) <= rounding);
      REQUIRE((!params.radius || hit.distance <= *params.radius));
      REQUIRE(hit.distance >= before);
      REQUIRE(same(hit.metadata, params.with_metadata ? held->second.metadata : std::nullopt));
      REQUIRE(std::ranges::find(seen, hit.id) == seen.end());
      before = hit.distance;
      seen.push_back(hit.id);
    }
    if (!params.radius || abilities_.is_exact) {
      REQUIRE(std::abs(static_cast<double>(hits.size()) - static_cast<double>(expected.size())) <=
              (params.radius ? 1.0 : 0.0));  // one may lie on the radius
    }
    for (std::size_t at = 0; at < expected.size() && at < hits.size(); ++at) {
      REQUIRE(hits[at].distance >= expected[at].distance - rounding);
      const bool found = hits[at].distance <= expected[at].distance + rounding;
      REQUIRE((found || !abilities_.is_exact));
      found_ += found ? 1 : 0;
    }
    expected_ += static_cast<double>(expected.size());
  }

  TemporaryDirectory directory_{memory_directory()};
  iqdb::PersistConfig config_{
      .path = directory_ / "index.iqdb", .wal_enabled = true, .fsync_policy = iqdb::FsyncPolicy::never()};
  std::optional<Database> db_;
  IndexAbilities abilities_;
  ThroughOwnFile<Index> through_own_file_;
  Random random_;
  std::map<iqdb::VectorId, iqdb::StoredVector> held_;
  double found_ = 0;
  double expected_ = 0;
};

/// Requires that the index that `make` makes, in so many random steps, does what a map does, and finds at least so many of a
/// hundred of the nearest vectors. With `through_own_file` its identifiers are integers.
template <class Make, class Index = std::invoke_result_t<const Make&>>
void require_as_a_map(const Make& make, std::size_t steps, std::uint64_t seed, IndexAbilities abilities = {},
                      double least_recall = 95.0, std::type_identity_t<ThroughOwnFile<Index>> through_own_file = {}) {
  CAPTURE(seed);
  IndexModel<Index> model(make(), std::move(abilities), seed, std::move(through_own_file));
  for (std::size_t step = 0; step < steps; ++step) {
    CAPTURE(step);
    model.step();
  }
  model.require_content();
  CHECK(model.recall() >= least_recall);
}

}  // namespace iqdb_test
