// What the tests of insert_many have in common: rows to insert, and what must hold for every adapter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "iqdb/index_error.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/lent_threads.hpp"
#include "support/sample_index.hpp"

namespace iqdb_test {

/// Rows of sample identifiers, vectors and metadata.
struct SampleRows {
  /// The samples from the number `first` on.
  SampleRows(std::uint64_t first, std::size_t count, std::size_t components) : dim(components) {
    Random random(1000 + first);
    for (std::uint64_t number = first; number < first + count; ++number) {
      const std::vector<float> vector = random.vector(dim);
      ids.push_back(sample_id(number));
      vectors.insert(vectors.end(), vector.begin(), vector.end());
      metadata.push_back(sample_metadata(number, random));
    }
  }

  /// Some of the rows of others.
  SampleRows(const SampleRows& all, std::size_t first, std::size_t count) : dim(all.dim) {
    for (std::size_t row = first; row < first + count; ++row) {
      ids.push_back(all.ids[row]);
      vectors.insert(vectors.end(), all.vector(row).begin(), all.vector(row).end());
      metadata.push_back(all.metadata[row]);
    }
  }

  [[nodiscard]] iqdb::InsertedRows rows() const { return {.ids = ids, .vectors = vectors, .metadata = metadata}; }
  [[nodiscard]] std::span<const float> vector(std::size_t row) const {
    return std::span(vectors).subspan(row * dim, dim);
  }

  std::size_t dim;
  std::vector<iqdb::VectorId> ids;
  std::vector<float> vectors;
  std::vector<std::optional<iqdb::Metadata>> metadata;
};

template <class Index>
void insert_one_by_one(Index& index, const SampleRows& samples) {
  for (std::size_t row = 0; row < samples.ids.size(); ++row) {
    index.insert(samples.ids[row], samples.vector(row), samples.metadata[row]);
  }
}

/// Requires that a search that looks at all vectors finds each of these.
template <class Index>
void require_found(const Index& index, const SampleRows& samples) {
  for (std::size_t row = 0; row < samples.ids.size(); ++row) {
    REQUIRE(index.search(samples.vector(row), {.k = 1, .ef = index.size()}).at(0).id == samples.ids[row]);
  }
}

/// Requires that rows inserted in one call, in several threads, into an empty index and behind others, make the index
/// that insertions one by one make, as it is and loaded. `make()` makes an index of other vectors, or of none.
template <class Make>
void require_as_one_by_one(const Make& make) {
  auto expected = make();
  const std::size_t before = expected.size();
  const SampleRows first(0, 40, expected.dim());
  const SampleRows second(40, 300, expected.dim());
  insert_one_by_one(expected, first);
  insert_one_by_one(expected, second);
  for (const std::size_t count : {1U, 2U, 4U}) {
    CAPTURE(count);
    Threads threads(count);
    auto index = make();
    index.insert_many(first.rows(), threads);
    CHECK(index.size() == before + 40);
    index.insert_many(second.rows(), threads);
    CHECK(index.size() == before + 340);
    CHECK(contents_of(index) == contents_of(expected));
    require_found(index, first);
    require_found(index, second);
    const auto again = loaded<decltype(make())>(payload_of(index));
    CHECK(contents_of(again) == contents_of(expected));
    require_found(again, second);
  }
}

/// Requires that rows take the places of erased vectors, of which there are `erased` among `inserted`. `make_empty()` makes an
/// index.
template <class MakeEmpty>
void require_places_are_taken(const MakeEmpty& make_empty, std::size_t inserted, std::size_t erased) {
  require_as_one_by_one([&] {
    auto index = make_empty();
    const SampleRows samples(500, inserted, index.dim());
    insert_one_by_one(index, samples);
    for (std::size_t row = inserted - erased; row < inserted; ++row) {
      index.erase(samples.ids[row]);
    }
    return index;
  });
}

/// Requires that no rows are nothing.
template <class Index>
void require_none_is_nothing(Index& index) {
  const std::string before = contents_of(index);
  Threads threads(2);
  index.insert_many({}, threads);
  CHECK(contents_of(index) == before);
}

/// Requires of an empty index that rows of which one is refused change nothing, and that no rows are nothing.
template <class Index>
void require_refusals_change_nothing(Index index) {
  using iqdb::IndexErrorKind;
  require_none_is_nothing(index);
  insert_one_by_one(index, SampleRows(0, 10, index.dim()));
  require_none_is_nothing(index);
  const std::string before = contents_of(index);
  const auto require_refused = [&](IndexErrorKind kind, const std::function<void(SampleRows&)>& spoil) {
    SampleRows samples(100, 20, index.dim());
    spoil(samples);
    Threads threads(2);
    require_kind(kind, [&] { index.insert_many(samples.rows(), threads); });
    REQUIRE(contents_of(index) == before);
    REQUIRE(contents_of(loaded<Index>(payload_of(index))) == before);
  };
  require_refused(IndexErrorKind::duplicate, [](SampleRows& rows) { rows.ids[19] = rows.ids[3]; });
  require_refused(IndexErrorKind::duplicate, [](SampleRows& rows) { rows.ids[19] = sample_id(5); });
  require_refused(IndexErrorKind::dimension_mismatch, [](SampleRows& rows) { rows.vectors.pop_back(); });
  require_refused(IndexErrorKind::dimension_mismatch,
                  [](SampleRows& rows) { rows.vectors.resize(rows.vectors.size() - rows.dim); });
  require_refused(IndexErrorKind::invalid_vector,
                  [](SampleRows& rows) { rows.vectors.back() = std::numeric_limits<float>::quiet_NaN(); });
  require_refused(IndexErrorKind::invalid_config, [](SampleRows& rows) { rows.metadata.pop_back(); });
  require_refused(IndexErrorKind::invalid_config, [](SampleRows& rows) { rows.metadata[19] = {{"\xFF", 1}}; });
  require_refused(IndexErrorKind::resource_limit, [](SampleRows& rows) {
    rows.ids[19] = iqdb::VectorId::from_bytes(std::string(iqdb::most_id_bytes + 1, 'x'));
  });
}

/// Lends threads, and refuses one of them one allocation of the work with a number.
class RefusingThreads final : public iqdb::LentThreads {
 public:
  RefusingThreads(std::size_t count, std::size_t number, std::uint64_t allocation)
      : threads_(count), number_(number), allocation_(allocation) {}

  [[nodiscard]] std::size_t count() const noexcept override { return threads_.count(); }
  void each(std::size_t numbers, const std::function<void(std::size_t)>& work) override {
    threads_.each(numbers, [&](std::size_t number) {
      if (number == number_) {
        refusing_allocation(allocation_, [&] { work(number); });
      } else {
        work(number);
      }
    });
  }

 private:
  Threads threads_;
  std::size_t number_;
  std::uint64_t allocation_;
};

/// Requires that an insertion of rows into an index of `make()` that finds no memory has changed nothing, and that the
/// index goes on, whichever allocation it is. `attempt(index, rows, allocation)` refuses the allocation with that number.
template <class Make, class Attempt>
void require_nothing_without_memory(const Make& make, std::size_t count, const Attempt& attempt) {
  std::uint64_t allocation = 1;
  for (bool inserted = false; !inserted; ++allocation) {
    CAPTURE(allocation);
    auto index = make();
    const SampleRows samples(100, count, index.dim());
    const std::string before = contents_of(index);
    try {
      attempt(index, samples.rows(), allocation);
      inserted = true;
    } catch (const std::bad_alloc&) {
      REQUIRE(contents_of(index) == before);
      auto again = loaded<decltype(make())>(payload_of(index));
      REQUIRE(contents_of(again) == before);
      insert_one_by_one(index, samples);
      Threads one(1);
      again.insert_many(samples.rows(), one);
      REQUIRE(contents_of(again) == contents_of(index));
      require_found(again, samples);
    }
    const SampleRows more(200, 20, index.dim());
    insert_one_by_one(index, more);
    require_found(index, samples);
    require_found(index, more);
  }
  CHECK(allocation > 3);
}

/// The same of the allocations that the calling thread makes, which is alone.
template <class Make>
void require_nothing_without_memory(const Make& make, std::size_t count) {
  require_nothing_without_memory(make, count, [](auto& index, const auto& rows, std::uint64_t allocation) {
    Threads one(1);
    refusing_allocation(allocation, [&] { index.insert_many(rows, one); });
  });
}

}  // namespace iqdb_test
