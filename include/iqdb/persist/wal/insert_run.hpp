// Runs of insertions, which an index that InsertsMany is given in one call.
//
// Invariant: an index that does not take a run as a whole is given its rows one by one, so that each mutation ends as
// it does without runs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/lent_helpers.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// An insertion, which belongs to the caller.
struct Insertion {
  const VectorId* id = nullptr;                       ///< null for no insertion
  std::span<const float> vector = {};                 ///< what is inserted
  const std::optional<Metadata>* metadata = nullptr;  ///< its metadata

  /// That of a mutation, if it is one.
  [[nodiscard]] static Insertion of(const Mutation& mutation) noexcept {
    return mutation.op == FrameOp::insert ? Insertion{&mutation.id, mutation.vector, &mutation.metadata} : Insertion();
  }
};

/// Insertions that follow one another, with their vectors row behind row.
class InsertRun {
 public:
  static constexpr std::size_t most_rows = 1024;
  static constexpr std::size_t most_bytes = std::size_t{4} << 20;

  InsertRun();
  InsertRun(const InsertRun&) = delete;
  InsertRun& operator=(const InsertRun&) = delete;
  InsertRun(InsertRun&& other) noexcept;
  InsertRun& operator=(InsertRun&& other) noexcept;
  ~InsertRun();

  /// Begins a run of an index of this dimension. The memory is kept.
  void begin(std::size_t dim) noexcept;

  /// Whether the run has room for the insertion. A row that is so large that two would be too much is in no run.
  [[nodiscard]] bool takes(const Insertion& row) const noexcept;

  /// Adds a row that the run takes. If it throws std::bad_alloc, begin() must be the next call.
  void add(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata);

  [[nodiscard]] std::size_t size() const noexcept { return ids_.size(); }
  [[nodiscard]] InsertedRows rows() const noexcept { return {.ids = ids_, .vectors = vectors_, .metadata = metadata_}; }

  /// Makes `mutation` the insertion of a row, whose identifier and metadata are moved. Throws std::bad_alloc.
  void take_out(std::size_t row, Mutation& mutation);

 private:
  std::size_t dim_ = 0;
  std::size_t bytes_ = 0;
  std::vector<VectorId> ids_;
  std::vector<float> vectors_;
  std::vector<std::optional<Metadata>> metadata_;
};

/// Gives a run to the index. Returns whether it took all rows; otherwise it has changed nothing.
template <InsertsMany I>
[[nodiscard]] bool insert_run(I& index, const InsertRun& run, HelperThreads& helpers) noexcept {
  try {
    LentHelpers threads(helpers);
    index.insert_many(run.rows(), threads);
    return true;
  } catch (...) {
    return false;  // whoever inserts the rows one by one finds out which is rejected, and why
  }
}

/// What became of the mutations that come next.
struct GivenRun {
  std::size_t rows = 1;  ///< so many, at least one
  bool taken = false;    ///< the index took them; if not, they must be applied one by one
};

/// Finds runs among mutations that are in memory, and gives them to an index. Keeps the memory of a run, and threads.
/// One thread at a time uses it.
class InsertRuns {
 public:
  /// `helper_threads` is that of the configuration.
  explicit InsertRuns(unsigned helper_threads) noexcept : helpers_(helper_threads) {}

  /// Gives the index the run of at most `most` rows that begins with the next mutation, if there is one. `next()`
  /// returns the Insertion that comes next; where another mutation comes, or none, an empty one. Memory that runs out
  /// is no error: then the rows are to be applied one by one.
  template <Index I, class Next>
  [[nodiscard]] GivenRun give(I& index, std::size_t most, Next&& next) noexcept {
    GivenRun given;
    if constexpr (InsertsMany<I>) {
      try {
        run_.begin(index.dim());
        const Insertion first = next();
        Insertion row = most > 1 && run_.takes(first) ? next() : Insertion();
        if (!run_.takes(row)) {
          return given;  // and nothing is copied
        }
        run_.add(*first.id, first.vector, copied(*first.metadata));
        for (; run_.size() < most && run_.takes(row); row = next()) {
          given.rows = run_.size() + 1;
          run_.add(*row.id, row.vector, copied(*row.metadata));
        }
        given.taken = insert_run(index, run_, helpers_.get());
      } catch (...) {
        // The index has not been asked.
      }
    } else {
      given.rows = std::numeric_limits<std::size_t>::max();
    }
    return given;
  }

  /// Applies mutations in order: the index is given runs of them, and `one(position)` applies the others. Throws what
  /// `one` throws, and applies nothing behind that.
  template <Index I, class One>
  void apply(I& index, std::span<const Mutation> mutations, One&& one) {
    std::size_t singly = 0;  // so many of the next are not tried as a run again
    for (std::size_t position = 0; position < mutations.size();) {
      if (singly == 0) {
        const GivenRun given = give(index, InsertRun::most_rows, [&, at = position]() mutable {
          return at < mutations.size() ? Insertion::of(mutations[at++]) : Insertion();
        });
        if (given.taken) {
          position += given.rows;
          continue;
        }
        singly = given.rows;
      }
      one(position);
      ++position;
      --singly;
    }
  }

 private:
  InsertRun run_;
  KeptHelpers helpers_;
};

#if IQDB_PERSIST_DEFINITIONS

namespace insert_runs {

// About how many bytes of memory a copy of the insertion takes.
[[nodiscard]] IQDB_PERSIST_INLINE std::size_t bytes_of(const Insertion& row) noexcept {
  std::size_t bytes = sizeof(VectorId) + row.vector.size_bytes() + sizeof(*row.metadata);
  bytes += row.id->is_integer() ? 0 : row.id->bytes().size();
  if (*row.metadata) {
    for (const auto& [key, value] : **row.metadata) {
      const auto* const text = std::get_if<std::string>(&value);
      bytes += sizeof(Metadata::value_type) + key.size() + (text != nullptr ? text->size() : 0);
    }
  }
  return bytes;
}

}  // namespace insert_runs

IQDB_PERSIST_INLINE InsertRun::InsertRun() = default;
IQDB_PERSIST_INLINE InsertRun::InsertRun(InsertRun&& other) noexcept = default;
IQDB_PERSIST_INLINE InsertRun& InsertRun::operator=(InsertRun&& other) noexcept = default;
IQDB_PERSIST_INLINE InsertRun::~InsertRun() = default;

IQDB_PERSIST_INLINE void InsertRun::begin(std::size_t dim) noexcept {
  dim_ = dim;
  bytes_ = 0;
  ids_.clear();
  vectors_.clear();
  metadata_.clear();
}

IQDB_PERSIST_INLINE bool InsertRun::takes(const Insertion& row) const noexcept {
  if (row.id == nullptr || row.vector.size() != dim_ || ids_.size() == most_rows) {
    return false;
  }
  const std::size_t bytes = insert_runs::bytes_of(row);
  return bytes <= most_bytes / 2 && bytes_ + bytes <= most_bytes;
}

IQDB_PERSIST_INLINE void InsertRun::add(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
  bytes_ += insert_runs::bytes_of({.id = &id, .vector = vector, .metadata = &metadata});
  vectors_.insert(vectors_.end(), vector.begin(), vector.end());
  metadata_.push_back(std::move(metadata));
  ids_.push_back(std::move(id));
}

IQDB_PERSIST_INLINE void InsertRun::take_out(std::size_t row, Mutation& mutation) {
  const std::span<const float> vector = std::span<const float>(vectors_).subspan(row * dim_, dim_);
  mutation.op = FrameOp::insert;
  mutation.id = std::move(ids_[row]);
  mutation.vector.assign(vector.begin(), vector.end());
  mutation.metadata = std::move(metadata_[row]);
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace iqdb
