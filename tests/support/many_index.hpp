// An index that finds out late what is wrong with a vector, with and without an insert_many.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/types.hpp"

namespace iqdb_test {

/// What every index here was given by insert_many, and what it makes of it.
struct ManyRuns {
  enum class Answer : std::uint8_t {
    as_insert,
    no_memory,
    no,  ///< what is no std::exception
  };

  inline static Answer answer = Answer::as_insert;
  inline static bool uses_threads = false;
  inline static std::vector<std::vector<iqdb::VectorId>> given;  ///< the identifiers of each run
  inline static std::vector<std::size_t> counts;                 ///< LentThreads::count() of each run
  inline static std::set<std::thread::id> threads;               ///< which worked, with uses_threads

  static void forget() {
    answer = Answer::as_insert;
    uses_threads = false;
    given.clear();
    counts.clear();
    threads.clear();
  }

  /// How many rows each run had.
  static std::vector<std::size_t> sizes() {
    std::vector<std::size_t> all;
    for (const auto& run : given) {
      all.push_back(run.size());
    }
    return all;
  }
};

/// What the first component of a vector makes of its insert.
inline constexpr float not_finite_enough = -1.0F;  ///< IndexError invalid_vector, which follows from the vector
inline constexpr float over_the_limit = 1000.0F;   ///< IndexError resource_limit; insert_logged takes it
inline constexpr float out_of_order = 2000.0F;     ///< std::runtime_error
inline constexpr float out_of_memory = 3000.0F;    ///< std::bad_alloc

/// A flat index, but for that. It checks nothing beforehand, and has no upsert of its own.
class OneByOneIndex {
 public:
  static constexpr std::string_view index_type = "one by one";

  explicit OneByOneIndex(std::size_t dim) : rows_(dim, iqdb::DistanceMetric::euclidean) {}
  explicit OneByOneIndex(iqdb::FlatIndex rows) : rows_(std::move(rows)) {}

  [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
  [[nodiscard]] std::size_t dim() const noexcept { return rows_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const noexcept { return rows_.metric(); }
  [[nodiscard]] const iqdb::FlatIndex& rows() const noexcept { return rows_; }

  void insert(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata = {}) {
    const float first = vector.empty() ? 0.0F : vector.front();
    if (first == not_finite_enough) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::invalid_vector, "not this vector");
    }
    if (first == over_the_limit) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::resource_limit, "no more of these");
    }
    if (first == out_of_order) {
      throw std::runtime_error("out of order");
    }
    if (first == out_of_memory) {
      throw std::bad_alloc();
    }
    rows_.insert(std::move(id), vector, std::move(metadata));
  }
  void erase(const iqdb::VectorId& id) { rows_.erase(id); }

  void save_to(iqdb::Writer& writer) const { rows_.save_to(writer); }
  static OneByOneIndex load_from(iqdb::Reader& reader) { return OneByOneIndex(iqdb::FlatIndex::load_from(reader)); }

 protected:
  iqdb::FlatIndex& own_rows() noexcept { return rows_; }

 private:
  iqdb::FlatIndex rows_;
};

/// The same, and it takes many rows in one call. It loads what OneByOneIndex saved.
class ManyIndex : public OneByOneIndex {
 public:
  using OneByOneIndex::OneByOneIndex;

  void insert_many(const iqdb::InsertedRows& given, iqdb::LentThreads& threads) {
    ManyRuns::given.emplace_back(given.ids.begin(), given.ids.end());
    ManyRuns::counts.push_back(threads.count());
    if (given.metadata.size() != given.size() || given.vectors.size() != given.size() * dim()) {
      throw std::logic_error("the parts of a run have different sizes");
    }
    switch (ManyRuns::answer) {
      case ManyRuns::Answer::no_memory:
        throw std::bad_alloc();
      case ManyRuns::Answer::no:
        throw 17;
      default:
        break;
    }
    ManyIndex next = *this;
    for (std::size_t row = 0; row < given.size(); ++row) {
      next.insert(given.ids[row], given.vectors.subspan(row * dim(), dim()), iqdb::copied(given.metadata[row]));
    }
    if (ManyRuns::uses_threads) {
      std::mutex mutex;
      threads.each(given.size(), [&](std::size_t /*row*/) {
        const std::lock_guard guard(mutex);
        ManyRuns::threads.insert(std::this_thread::get_id());
      });
    }
    *this = std::move(next);
  }

  static ManyIndex load_from(iqdb::Reader& reader) { return ManyIndex(iqdb::FlatIndex::load_from(reader)); }
};

/// The same, which took `over_the_limit` once.
class UpgradedManyIndex : public ManyIndex {
 public:
  using ManyIndex::ManyIndex;

  void insert_logged(const iqdb::VectorId& id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata) {
    if (!vector.empty() && vector.front() == over_the_limit) {
      own_rows().insert(id, vector, std::move(metadata));
    } else {
      insert(id, vector, std::move(metadata));
    }
  }
  void upsert_logged(const iqdb::VectorId& id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata) {
    own_rows().upsert(id, vector, std::move(metadata));
  }

  static UpgradedManyIndex load_from(iqdb::Reader& reader) {
    return UpgradedManyIndex(iqdb::FlatIndex::load_from(reader));
  }
};

static_assert(!iqdb::InsertsMany<OneByOneIndex> && iqdb::InsertsMany<ManyIndex>);
static_assert(iqdb::InsertsMany<UpgradedManyIndex> && iqdb::TakesLogged<UpgradedManyIndex>);

}  // namespace iqdb_test
