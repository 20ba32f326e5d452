// What the tests of compact() have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "iqdb/index/support/graph_wear.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/catch.hpp"
#include "support/sample_index.hpp"
#include "support/temporary_directory.hpp"

namespace iqdb_test {

/// Gives an index vectors of samples, half of which are erased, and of the others some replaced.
template <class Index>
void wear_out(Index& index, std::size_t dim = 6) {
  Random random(3);
  for (std::uint64_t number = 0; number < 200; ++number) {
    index.insert(sample_id(number), random.vector(dim), sample_metadata(number, random));
  }
  for (std::uint64_t number = 0; number < 200; number += 2) {
    index.erase(sample_id(number));
  }
  for (std::uint64_t number = 1; number < 100; number += 2) {
    index.upsert(sample_id(number), random.vector(dim), sample_metadata(number, random));
  }
}

/// The index that insertions of the vectors of another one make, in its order, of an empty one.
template <class Index>
[[nodiscard]] Index inserted_anew(const Index& from, Index empty) {
  from.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& metadata) {
    empty.insert(id, vector, metadata);
  });
  return empty;
}

/// Requires that compact() keeps the content of an index of `make()`, which makes an empty one, and leaves no wear.
template <class Make>
void require_compact_keeps_content(const Make& make) {
  auto index = make();
  wear_out(index);
  const std::string before = contents_of(index);
  const std::size_t bytes = payload_of(index).size();
  CHECK(index.wear().erased == 100);
  index.compact();
  CHECK(index.wear().erased == 0);
  CHECK(index.wear().replaced == 0);
  CHECK(contents_of(index) == before);
  CHECK(payload_of(index).size() < bytes);
  CHECK(contents_of(loaded<decltype(make())>(payload_of(index))) == before);
  index.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& metadata) {
    const auto hits = index.search(vector, {.k = 1, .ef = 1000});
    CHECK(hits.at(0).id == id);
    CHECK(hits.at(0).metadata == metadata);
  });
}

/// Requires that wear() counts erased nodes and those that were taken again.
template <class Index>
void require_wear_counted(Index index) {
  insert_all(index, random_vectors(10, index.dim(), 1));
  CHECK(index.wear().erased == 0);
  index.erase(3);
  index.erase(4);
  CHECK(index.wear().erased == 2);
  CHECK(index.wear().replaced == 0);
  index.insert(11, random_vectors(1, index.dim(), 2).front());
  CHECK(index.wear().erased == 1);
  CHECK(index.wear().replaced == 1);
  index.upsert(5, random_vectors(1, index.dim(), 3).front());
  CHECK(index.wear().erased == 1);
  CHECK(index.wear().replaced == 2);
}

/// Requires that an index of nothing but erased vectors, and one without any, is compacted to one that goes on.
template <class Make>
void require_nothing_is_compacted(const Make& make) {
  for (const std::size_t vectors : {0U, 5U}) {
    auto index = make();
    insert_all(index, random_vectors(vectors, index.dim(), 1));
    for (std::uint64_t id = 0; id < vectors; ++id) {
      index.erase(id);
    }
    index.compact();
    CHECK(payload_of(index) == payload_of(make()));
    insert_all(index, random_vectors(5, index.dim(), 1));
    CHECK(index.search(std::vector<float>(index.dim(), 1.0F)).size() == 5);
  }
}

/// Requires that an index with a log may be compacted, and that the log then goes on.
template <class Index>
void require_log_goes_on_behind_compact(Index empty) {
  const TemporaryDirectory directory(memory_directory());
  const iqdb::PersistConfig config{.path = directory / "index.iqdb", .wal_enabled = true};
  std::string before;
  {
    auto db = iqdb::PersistedIndex<Index>::open_with(std::move(empty), config);
    wear_out(db);
    db.tune([](Index& index) { index.compact(); });
    Random random(9);
    db.insert(sample_id(1000), random.vector(db.index().dim()));
    db.erase(sample_id(1));
    before = contents_of(db.index());
  }
  CHECK(contents_of(iqdb::PersistedIndex<Index>::load(config).index()) == before);
}

}  // namespace iqdb_test
