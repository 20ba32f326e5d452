// An index that is right, but for the one fault that a test gives it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/testing/conformance_options.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/types.hpp"

namespace iqdb_test {

/// What is wrong with a FaultyIndex.
enum class Fault : std::uint8_t {
  none,
  // what save_to leaves out
  forgets_metadata,
  forgets_empty_metadata,
  keeps_metadata_elsewhere,  // in a static member
  rounds_vectors,
  forgets_vectors,
  forgets_ids,
  keeps_ids_elsewhere,  // in a static member
  forgets_the_last_vector,
  forgets_that_it_is_empty,  // once it was not
  forgets_dim,
  forgets_metric,
  forgets_limit,       // and has none after a load
  loads_with_a_limit,  // of 5, where there was none
  // what save_to does beside
  saves_a_counter,
  freezes_when_saved,  // takes nothing afterwards
  drifts_when_saved,   // what is seen of it changes
  drops_when_saved,    // forgets, once saved, what it holds on the next insert
  throws_when_saved,
  // erases
  erased_come_back,
  cannot_erase_after_load,
  // load_from
  swallows_truncation,
  reads_until_the_end,
  skips_to_the_end,
  leaves_a_byte_unread,
  reads_a_byte_too_many,
  refuses_its_own,
  throws_a_number_on_its_own,
  throws_at_its_own,
  throws_at_every_second_load,
  forgets_metadata_at_every_second_load,
  believes_a_count,
  believes_its_size,
  believes_how_much_to_save,
  believes_the_metric,
  throws_bad_alloc_when_damaged,
  throws_a_number_when_damaged,  // right: any exception will do
  // after a load
  ignores_metadata_after_load,  // that of what is inserted then
  loses_hits_after_load,        // of a search: the farthest
  throws_at_a_search_after_load,
  throws_at_an_empty_search,  // right, since it always does
  // mutations
  changes_what_it_rejects,
  rejects_by_out_of_range,
  rejects_by_a_number,
  differs_from_the_next,  // every second one takes one vector
  takes_nothing,
  limited,            // takes 5 vectors ever; right, since it saves how many it took
  takes_no_bytes,     // of identifiers; right
  takes_no_low_ids,   // right
  takes_no_metadata,  // right
  cannot_erase,       // right
};

/// Vectors in the order of their identifiers.
class FaultyIndex {
 public:
  static constexpr std::string_view index_type = "faulty";

  explicit FaultyIndex(std::size_t dim, iqdb::DistanceMetric metric = iqdb::DistanceMetric::manhattan)
      : dim_(dim), metric_(metric) {
    if (fault == Fault::limited || fault == Fault::forgets_limit) {
      left_ = 5;
    } else if (fault == Fault::differs_from_the_next && ++made % 2 == 0) {
      left_ = 1;
    }
  }

  [[nodiscard]] std::size_t size() const { return rows_.size() - erased_ + beyond_; }
  [[nodiscard]] std::size_t dim() const { return dim_; }
  [[nodiscard]] iqdb::DistanceMetric metric() const { return metric_; }

  void insert(const iqdb::VectorId& id, std::span<const float> vector, const std::optional<iqdb::Metadata>& metadata) {
    const auto reject = [](iqdb::IndexErrorKind kind) { throw iqdb::IndexError(kind, "not this one"); };
    if (vector.size() != dim_) {
      reject(iqdb::IndexErrorKind::dimension_mismatch);
    }
    const auto [place, is_new] = rows_.try_emplace(id);
    if (!is_new && !place->second.erased) {
      switch (fault) {
        case Fault::changes_what_it_rejects:
          place->second.metadata = metadata;
          break;
        case Fault::rejects_by_out_of_range:
          throw std::out_of_range("it is there");
        case Fault::rejects_by_a_number:
          throw 17;
        default:
          break;
      }
      reject(iqdb::IndexErrorKind::duplicate);
    }
    const bool refused =
        left_ == 0 || frozen_ || fault == Fault::takes_nothing ||
        (fault == Fault::takes_no_bytes && !id.is_integer()) ||
        (fault == Fault::takes_no_low_ids && !(id.is_integer() && id.integer() >= 20 && id.integer() < 1'000)) ||
        (fault == Fault::takes_no_metadata && metadata);
    if (refused) {
      if (is_new) {
        rows_.erase(place);
      }
      reject(iqdb::IndexErrorKind::resource_limit);
    }
    erased_ -= is_new ? 0U : 1U;
    if (left_) {
      --*left_;
    }
    note_use("insert");
    was_filled_ = true;
    place->second = {.vector = {vector.begin(), vector.end()}, .metadata = metadata, .erased = false};
    if (loaded_ && fault == Fault::ignores_metadata_after_load) {
      place->second.metadata.reset();
    }
    elsewhere[id] = metadata;
    if (forgetful_) {
      place->second.vector.assign(dim_, 0.0F);
    }
  }

  void erase(const iqdb::VectorId& id) {
    note_use("erase");
    const auto found = rows_.find(id);
    if (found == rows_.end() || found->second.erased || (loaded_ && fault == Fault::cannot_erase_after_load)) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::not_found, "it is not there");
    }
    if (fault == Fault::cannot_erase) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::invalid_config, "nothing can be erased");
    }
    if (fault == Fault::erased_come_back) {
      found->second.erased = true;
      ++erased_;
    } else {
      rows_.erase(found);
    }
  }

  [[nodiscard]] std::vector<iqdb::Hit> search(std::span<const float> query, const iqdb::SearchParams& params) const {
    note_use("search");
    if ((fault == Fault::throws_at_an_empty_search && rows_.empty()) ||
        (fault == Fault::throws_at_a_search_after_load && loaded_)) {
      throw std::logic_error("nothing to be found");
    }
    std::vector<iqdb::Hit> hits;
    for (const auto& [id, row] : rows_) {
      if (!row.erased) {
        float distance = drift_;
        for (std::size_t at = 0; at < std::min(query.size(), row.vector.size()); ++at) {
          distance += std::max(query[at], row.vector[at]) - std::min(query[at], row.vector[at]);
        }
        hits.push_back({.id = id,
                        .distance = distance,
                        .metadata = fault == Fault::keeps_metadata_elsewhere ? elsewhere[id] : row.metadata});
      }
    }
    std::ranges::sort(hits, {}, &iqdb::Hit::distance);
    if (hits.size() > params.k) {
      hits.erase(hits.begin() + static_cast<std::ptrdiff_t>(params.k), hits.end());
    }
    if (fault == Fault::loses_hits_after_load && loaded_ && !hits.empty()) {
      hits.pop_back();
    }
    return hits;
  }

  void save_to(iqdb::Writer& writer) const {
    note_use("save_to");
    if (fault == Fault::throws_when_saved) {
      throw std::runtime_error("no pen");
    }
    writer.write_le(std::uint64_t{dim_});
    writer.write_le(static_cast<std::uint8_t>(metric_));
    const std::uint64_t rows = rows_.size() - (fault == Fault::forgets_the_last_vector && !rows_.empty() ? 1U : 0U);
    if (fault == Fault::believes_its_size) {
      writer.write_le(beyond_);
    } else if (fault == Fault::believes_how_much_to_save) {
      writer.write_le(more_);
      for (std::uint64_t each = 0; each < more_; ++each) {
        writer.write_le(std::uint64_t{0});
      }
    } else if (fault == Fault::limited) {
      writer.write_le(*left_);
    }
    if (fault != Fault::reads_until_the_end &&
        !(fault == Fault::forgets_that_it_is_empty && was_filled_ && rows == 0)) {
      writer.write_le(rows);
    }
    if (fault == Fault::keeps_ids_elsewhere) {
      saved_ids.clear();
    }
    std::uint64_t number = 0;
    for (const auto& [id, row] : rows_) {
      if (number == rows) {
        break;
      }
      ++number;
      if (fault == Fault::keeps_ids_elsewhere) {
        saved_ids.push_back(id);
      } else {
        iqdb::write_id(writer, fault == Fault::forgets_ids ? iqdb::VectorId(number) : id);
      }
      for (const float component : row.vector) {
        writer.write_le(fault == Fault::forgets_vectors  ? 0.0F
                        : fault == Fault::rounds_vectors ? static_cast<float>(static_cast<int>(component * 256)) / 256
                                                         : component);
      }
      const bool left_out = fault == Fault::forgets_metadata || fault == Fault::keeps_metadata_elsewhere ||
                            (fault == Fault::forgets_empty_metadata && row.metadata && row.metadata->empty());
      iqdb::write_metadata(writer, left_out ? std::nullopt : row.metadata);
    }
    if (fault == Fault::leaves_a_byte_unread) {
      writer.write_le(std::uint8_t{0});
    } else if (fault == Fault::saves_a_counter) {
      writer.write_le(++saves);
    }
    frozen_ = fault == Fault::freezes_when_saved;
    forgetful_ = fault == Fault::drops_when_saved;
    drift_ += fault == Fault::drifts_when_saved ? 1.0F : 0.0F;
  }

  [[nodiscard]] static FaultyIndex load_from(iqdb::Reader& reader) {
    const auto dim = reader.read_le<std::uint64_t>();
    const auto tag = reader.read_le<std::uint8_t>();
    if (dim == 0 || dim > 1'000) {
      reader.fail(iqdb::PersistErrorKind::invalid_payload, "that many dimensions?");
    }
    FaultyIndex index(fault == Fault::forgets_dim ? 3 : static_cast<std::size_t>(dim));
    index.loaded_ = true;
    index.left_.reset();
    if (fault == Fault::loads_with_a_limit) {
      index.left_ = 5;
    }
    if (fault != Fault::forgets_metric) {
      index.metric_ =
          fault == Fault::believes_the_metric ? static_cast<iqdb::DistanceMetric>(tag) : iqdb::metric_from_tag(tag);
    }
    if (fault == Fault::believes_its_size) {
      index.beyond_ = reader.read_le<std::uint64_t>();
    } else if (fault == Fault::believes_how_much_to_save) {
      index.more_ = reader.read_le<std::uint64_t>();
    } else if (fault == Fault::limited) {
      index.left_ = reader.read_le<std::uint64_t>();
    }
    std::uint64_t rows = fault == Fault::reads_until_the_end ? 0 : reader.read_le<std::uint64_t>();
    if (fault == Fault::believes_a_count) {
      std::vector<iqdb::VectorId> ids;
      ids.reserve(rows);
    }
    try {
      for (std::uint64_t row = 0; fault == Fault::reads_until_the_end ? reader.remaining() > 0 : row < rows; ++row) {
        iqdb::VectorId id = fault == Fault::keeps_ids_elsewhere ? saved_ids.at(row) : iqdb::read_id(reader);
        std::vector<float> vector = reader.read_vector<float>(dim);
        index.rows_[std::move(id)] = {
            .vector = std::move(vector), .metadata = iqdb::read_metadata(reader), .erased = false};
      }
    } catch (const iqdb::PersistError&) {
      if (fault == Fault::throws_bad_alloc_when_damaged) {
        throw std::bad_alloc();
      }
      if (fault == Fault::throws_a_number_when_damaged) {
        throw 17;
      }
      if (fault != Fault::swallows_truncation) {
        throw;
      }
    }
    index.was_filled_ = !index.rows_.empty();
    switch (fault) {
      case Fault::saves_a_counter:
        std::ignore = reader.read_le<std::uint64_t>();
        break;
      case Fault::reads_a_byte_too_many:
        std::ignore = reader.read_le<std::uint8_t>();
        break;
      case Fault::skips_to_the_end:
        std::ignore = reader.read_string(reader.remaining());
        break;
      case Fault::refuses_its_own:
        reader.fail(iqdb::PersistErrorKind::invalid_payload, "I have not written this");
      case Fault::throws_at_its_own:
        throw std::runtime_error("I do not know this");
      case Fault::throws_a_number_on_its_own:
        throw 17;
      case Fault::forgets_metadata_at_every_second_load:
        if (++loads % 2 == 0) {
          for (auto& [id, row] : index.rows_) {
            row.metadata.reset();
          }
        }
        break;
      case Fault::throws_at_every_second_load:
        if (++loads % 2 == 0) {
          throw std::runtime_error("once too often");
        }
        break;
      default:
        break;
    }
    return index;
  }

  /// Whether it was made of a payload.
  [[nodiscard]] bool was_loaded() const { return loaded_; }

  /// Which members of indexes that were loaded were called.
  inline static std::set<std::string> uses;

  /// What is wrong with every FaultyIndex from now on.
  static void give(Fault what) {
    fault = what;
    made = saves = loads = 0;
    elsewhere.clear();
  }

 private:
  struct Row {
    std::vector<float> vector;
    std::optional<iqdb::Metadata> metadata;
    bool erased = false;
  };

  void note_use(const char* member) const {
    if (loaded_) {
      uses.insert(member);
    }
  }

  inline static Fault fault = Fault::none;
  inline static std::uint64_t made = 0;
  inline static std::uint64_t saves = 0;
  inline static std::uint64_t loads = 0;
  inline static std::map<iqdb::VectorId, std::optional<iqdb::Metadata>> elsewhere;
  inline static std::vector<iqdb::VectorId> saved_ids;

  std::size_t dim_;
  iqdb::DistanceMetric metric_;
  std::map<iqdb::VectorId, Row> rows_;
  std::size_t erased_ = 0;
  std::optional<std::uint64_t> left_;  // how many vectors it takes yet
  std::uint64_t beyond_ = 0;           // how many it says that it holds beside those it does
  std::uint64_t more_ = 0;
  bool loaded_ = false;
  bool was_filled_ = false;
  mutable bool frozen_ = false;
  mutable bool forgetful_ = false;
  mutable float drift_ = 0.0F;
};

static_assert(iqdb::SearchableIndex<FaultyIndex> && iqdb::Persistable<FaultyIndex>);

/// The same, but it cannot be searched.
class UnsearchableIndex : private FaultyIndex {
 public:
  using FaultyIndex::dim;
  using FaultyIndex::erase;
  using FaultyIndex::FaultyIndex;
  using FaultyIndex::index_type;
  using FaultyIndex::insert;
  using FaultyIndex::metric;
  using FaultyIndex::save_to;
  using FaultyIndex::size;
  [[nodiscard]] static UnsearchableIndex load_from(iqdb::Reader& reader) {
    return UnsearchableIndex(FaultyIndex::load_from(reader));
  }

 private:
  explicit UnsearchableIndex(FaultyIndex&& index) : FaultyIndex(std::move(index)) {}
};

static_assert(iqdb::Index<UnsearchableIndex> && !iqdb::Searchable<UnsearchableIndex>);
static_assert(iqdb::Persistable<UnsearchableIndex>);

/// What `check(subject, options)` finds in an index with a fault; "" where it finds nothing.
template <class I = FaultyIndex, class Check>
[[nodiscard]] std::string finding_of(Fault fault, Check&& check,
                                     iqdb::testing::Subject<I> subject = {.make = [] { return I(4); }},
                                     const iqdb::testing::ConformanceOptions& options = {}) {
  FaultyIndex::give(fault);
  try {
    static_cast<void>(std::forward<Check>(check)(subject, options));
  } catch (const iqdb::testing::Violation& violation) {
    return violation.what();
  }
  return {};
}

}  // namespace iqdb_test
