// What the tests of adapters have in common: indexes of other libraries, filled, compared, and loaded from damaged
// payloads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "iqdb/types.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/lent_threads.hpp"
#include "support/sample_index.hpp"
#include "support/sanitized.hpp"
#include "support/streams.hpp"
#include "support/temporary_directory.hpp"

namespace iqdb_test {

template <class Index>
[[nodiscard]] std::vector<std::byte> payload_of(const Index& index) {
  return written_by([&](iqdb::Writer& writer) { index.save_to(writer); });
}

template <class Index>
[[nodiscard]] Index loaded(const std::vector<std::byte>& payload) {
  iqdb::Reader reader(payload);
  return Index::load_from(reader);
}

/// What is in an index, in words: for one whose payload is not the same after the same mutations.
template <class Index>
[[nodiscard]] std::string contents_of(const Index& index) {
  std::vector<std::string> rows;
  index.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& metadata) {
    std::string& row = rows.emplace_back(to_string(id));
    for (const float component : vector) {
      row += " " + std::to_string(component);
    }
    row += metadata ? " " + std::to_string(metadata->size()) + "\n" : "\n";
  });
  std::ranges::sort(rows);
  std::string text;
  for (const std::string& row : rows) {
    text += row;
  }
  return text;
}

[[nodiscard]] inline std::vector<std::vector<float>> random_vectors(std::size_t count, std::size_t dim,
                                                                    std::uint64_t seed) {
  Random random(seed);
  std::vector<std::vector<float>> vectors;
  vectors.reserve(count);
  while (vectors.size() < count) {
    vectors.push_back(random.vector(dim));
  }
  return vectors;
}

/// Inserts vectors under their numbers.
template <class Index>
void insert_all(Index& index, const std::vector<std::vector<float>>& vectors) {
  for (std::size_t number = 0; number < vectors.size(); ++number) {
    index.insert(number, std::span<const float>(vectors[number]));
  }
}

/// Inserts samples with metadata, and erases every seventh.
template <class Index>
void insert_and_erase_samples(Index& index, std::uint64_t rows) {
  Random random(1);
  for (std::uint64_t number = 0; number < rows; ++number) {
    index.insert(sample_id(number), random.vector(index.dim()), sample_metadata(number, random));
  }
  for (std::uint64_t number = 0; number < rows; number += 7) {
    index.erase(sample_id(number));
  }
}

[[nodiscard]] inline std::vector<iqdb::VectorId> ids_of(const std::vector<iqdb::Hit>& hits) {
  std::vector<iqdb::VectorId> ids;
  for (const iqdb::Hit& hit : hits) {
    ids.push_back(hit.id);
  }
  return ids;
}

/// Of the hits of an exact search, by default ten, how many per hundred an index finds, over 200 queries.
template <class Index, class Exact>
[[nodiscard]] double recall(const Index& index, const Exact& exact, const iqdb::SearchParams& params = {}) {
  double found = 0;
  double all = 0;
  for (const std::vector<float>& query : random_vectors(200, index.dim(), 2)) {
    const std::vector<iqdb::VectorId> ids = ids_of(index.search(query, params));
    for (const iqdb::Hit& hit : exact.search(query, {.k = params.k})) {
      found += static_cast<double>(std::ranges::count(ids, hit.id));
      ++all;
    }
  }
  return 100 * found / all;
}

/// Asks an index of the vectors 0 to 9 of two components for what it must refuse.
template <class Index>
void require_refusals(Index& index) {
  using iqdb::IndexErrorKind;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  require_kind(IndexErrorKind::dimension_mismatch, [&] { index.insert(100, {1.0F}); });
  require_kind(IndexErrorKind::dimension_mismatch, [&] { index.insert(100, {1.0F, 2.0F, 3.0F}); });
  require_kind(IndexErrorKind::invalid_vector, [&] { index.insert(100, {1.0F, nan}); });
  require_kind(IndexErrorKind::invalid_vector, [&] { index.insert(100, {-infinity, 1.0F}); });
  require_kind(IndexErrorKind::duplicate, [&] { index.insert(5, {1.0F, 2.0F}); });
  require_kind(IndexErrorKind::invalid_config, [&] { index.insert(100, {1.0F, 2.0F}, {{"\xFF", 1}}); });
  require_kind(IndexErrorKind::not_found, [&] { index.erase(100); });
  require_kind(IndexErrorKind::dimension_mismatch, [&] { return index.search({1.0F}); });
  require_kind(IndexErrorKind::invalid_vector, [&] { return index.search({1.0F, nan}); });
}

/// Requires that an index measures the distances that an exact one of the same vectors does.
template <class Index, class Exact>
void require_distances_of(const Index& index, const Exact& exact) {
  for (const std::vector<float>& query : random_vectors(20, index.dim(), 3)) {
    const std::vector<iqdb::Hit> hits = index.search(query, {.k = index.size()});
    const std::vector<iqdb::Hit> expected = exact.search(query, {.k = exact.size()});
    REQUIRE(hits.size() == expected.size());
    for (std::size_t at = 0; at < hits.size(); ++at) {
      CHECK(hits[at].distance == Approx(expected[at].distance).margin(1e-6));
    }
  }
}

/// Requires of an empty index of one component that hits come in order and with what was stored.
template <class Index>
void require_hits_as_stored(Index& index) {
  const auto close_by = iqdb::VectorId::from_bytes("near");
  index.insert(1, {5.0F}, {{"page", 5}});
  index.insert(close_by, {1.0F});
  index.insert(3, {-2.0F});
  const std::vector<iqdb::Hit> hits = index.search({0.0F});
  CHECK(ids_of(hits) == std::vector<iqdb::VectorId>{close_by, 3, 1});
  CHECK(hits.at(2).distance == 5.0F);
  CHECK(hits.at(2).metadata == iqdb::Metadata{{"page", 5}});
  CHECK(!hits.at(0).metadata);
}

/// Requires that `ef` finds the nearest more often than a search without it, and changes no later search.
template <class Index, class Exact>
void require_wider_by(const Index& index, const Exact& exact, std::size_t ef) {
  const auto hits_of_all = [&](std::optional<std::size_t> width) {
    std::size_t right = 0;
    for (const auto& query : random_vectors(50, index.dim(), 4)) {
      right += static_cast<std::size_t>(index.search(query, {.k = 1, .ef = width}).at(0).id ==
                                        exact.search(query, {.k = 1}).at(0).id);
    }
    return right;
  };
  const std::size_t narrow = hits_of_all(std::nullopt);
  CHECK(hits_of_all(ef) > narrow);
  CHECK(hits_of_all(std::nullopt) == narrow);
}

/// Requires that what is nearest is found in an index of dot products where the library's distance of every fourth vector
/// is not a number: the difference of two products that overflow a float. An earlier version took such vectors. `index` is
/// empty and of dimension 2.
template <class Index>
void require_nearest_beside_no_numbers(Index index) {
  iqdb::FlatIndex exact(2, iqdb::DistanceMetric::dot_product);
  Random random(1);
  const auto one_to_two = [&random] { return 1.0F + static_cast<float>(random.below(1000)) / 1000.0F; };
  for (std::uint64_t id = 0; id < 400; ++id) {
    const float component = one_to_two();
    const std::vector<float> vector = id % 4 == 0 ? std::vector<float>{1e25F * component, -1e25F * component}
                                                  : std::vector<float>{component, one_to_two()};
    index.insert_logged(id, vector, {});
    exact.insert(id, vector);
  }
  for (int searches = 0; searches < 20; ++searches) {
    const float component = 1e14F * one_to_two();
    const std::vector<float> query = {component, component};
    const std::vector<iqdb::Hit> hits = index.search(query);
    const std::vector<iqdb::Hit> expected = exact.search(query);
    CHECK(ids_of(hits) == ids_of(expected));
    CHECK(std::ranges::is_sorted(hits, {}, &iqdb::Hit::distance));
  }
}

/// Requires that an index that was moved from holds nothing, refuses what it is given, and goes on where it is assigned
/// another one.
template <class Index>
void require_refusals_when_moved_from(Index index) {
  using iqdb::IndexErrorKind;
  const std::vector<float> vector(index.dim(), 1.0F);
  const std::string before = contents_of(index);
  Index other = std::move(index);
  // NOLINTBEGIN(bugprone-use-after-move): that is what is examined
  CHECK(index.dim() == 0);
  CHECK(index.size() == 0);
  CHECK(!index.contains(1000));
  CHECK(mentions(require_kind(IndexErrorKind::invalid_config, [&] { index.insert(1000, vector); }), "moved"));
  require_kind(IndexErrorKind::invalid_config, [&] { index.insert(1000, std::span<const float>()); });
  require_kind(IndexErrorKind::invalid_config, [&] { index.upsert(1000, vector); });
  require_kind(IndexErrorKind::invalid_config, [&] { return index.search(vector); });
  require_kind(IndexErrorKind::invalid_config, [&] { return payload_of(index); });
  if constexpr (iqdb::InsertsMany<Index>) {
    Threads one(1);
    const std::vector<iqdb::VectorId> ids = {1000};
    const std::vector<std::optional<iqdb::Metadata>> metadata(1);
    require_kind(IndexErrorKind::invalid_config, [&] { index.insert_many({ids, vector, metadata}, one); });
  }
  index = std::move(other);
  // NOLINTEND(bugprone-use-after-move)
  CHECK(contents_of(index) == before);
  index.insert(1000, vector);
  CHECK(index.contains(1000));
}

/// Requires that so many searches find beside each other what they find alone.
template <class Index>
void require_same_beside_each_other(const Index& index, std::size_t searches) {
  const auto search_all = [&] {
    std::vector<std::vector<iqdb::VectorId>> found;
    for (const auto& query : random_vectors(searches, index.dim(), 5)) {
      found.push_back(ids_of(index.search(query)));
    }
    return found;
  };
  const auto alone = search_all();
  auto one = std::async(std::launch::async, search_all);
  auto other = std::async(std::launch::async, search_all);
  CHECK(one.get() == alone);
  CHECK(other.get() == alone);
}

/// Requires that a forked process writes the checkpoint of the index that `make` makes, and that a load finds what was
/// inserted before and behind it.
template <class Make>
void require_checkpoint_by_fork(Make make) {
  using Index = decltype(make());
  const TemporaryDirectory directory;
  const iqdb::PersistConfig config{
      .path = directory / "x.iqdb", .wal_enabled = true, .freezing = iqdb::Freezing::by_fork};
  {
    auto db = iqdb::SharedIndex<Index>::open_with(make(), config);
    for (std::uint64_t id = 0; id < 100; ++id) {
      db.insert(id, {static_cast<float>(id), 1.0F});
    }
    CHECK(db.checkpoint().frozen == iqdb::Freezing::by_fork);
    db.insert(100, {100.0F, 1.0F});
  }
  const auto db = iqdb::PersistedIndex<Index>::load(config);
  CHECK(db.recovery().replayed == 1);
  CHECK(db.index().size() == 101);
  CHECK(db.index().search(std::vector<float>{42.0F, 1.0F}, {.k = 1}).front().id == iqdb::VectorId(42));
}

/// Uses an index in every way; it may refuse what it is asked for, but find only what it holds.
template <class Index>
void use(Index& index, std::size_t dim) {
  const auto attempt = [](const std::function<void()>& action) {
    try {
      action();
    } catch (const iqdb::IndexError&) {
      return;  // a damaged index may be of another kind than its user takes it for
    }
  };
  Random random(2);
  const auto search = [&] {
    for (const iqdb::Hit& hit :
         index.search(random.vector(dim), {.k = 1 + static_cast<std::size_t>(random.below(20)), .ef = 1})) {
      if (!index.contains(hit.id)) {
        FAIL("a search finds " << to_string(hit.id) << ", which the index does not hold");
      }
    }
  };
  for (int searches = 0; searches < (sanitized ? 20 : 100); ++searches) {
    attempt(search);
  }
  attempt([&] { index.erase(sample_id(1)); });
  attempt([&] { index.insert(1000, random.vector(dim)); });
  attempt([&] { index.insert(1001, random.vector(dim)); });
  attempt(search);
}

/// Whether a payload, as behind a right checksum, loads; what loads is used. An index of dimension `dim` was saved.
/// Fails where anything but a clean refusal is thrown.
template <class Index>
[[nodiscard]] bool loads_and_works(std::span<const std::byte> payload, std::size_t dim) {
  std::optional<Index> index;
  try {
    iqdb::Reader reader(payload);
    index.emplace(Index::load_from(reader));
  } catch (const iqdb::PersistError& error) {
    if (error.kind() != iqdb::PersistErrorKind::invalid_payload &&
        error.kind() != iqdb::PersistErrorKind::invalid_metric) {
      FAIL("refused as " << error.what());
    }
    return false;
  }
  use(*index, dim);
  return true;
}

/// Fails if a payload loads that was cut off anywhere.
template <class Index>
void require_truncations_refused(std::span<const std::byte> payload, std::size_t dim) {
  for (std::size_t length = 0; length < payload.size(); ++length) {
    if (loads_and_works<Index>(payload.first(length), dim)) {
      FAIL("a payload of " << payload.size() << " bytes loads when cut at " << length);
    }
  }
}

/// Flips every bit of a payload; each is refused or harmless. Returns how many were refused, of all.
template <class Index>
std::size_t flip_every_bit(std::vector<std::byte> payload, std::size_t dim) {
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < 8 * payload.size(); bit += bit_step) {
    CAPTURE(bit / 8, bit % 8);
    payload[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    refused += static_cast<std::size_t>(!loads_and_works<Index>(payload, dim));
    payload[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
  }
  return refused * bit_step;
}

/// Requires that `import(path)` takes a whole file, but none that is cut off or goes on; flips every bit of it, each of
/// which is refused or harmless. Returns how many were refused, of all.
template <class Import>
[[nodiscard]] std::size_t damage_file(const std::vector<std::byte>& whole, const std::filesystem::path& path,
                                      const Import& import) {
  const auto imports = [&](std::span<const std::byte> bytes) {
    write_bytes(path, bytes);
    try {
      auto index = import(path);
      use(index, index.dim());
      return true;
    } catch (const iqdb::PersistError& error) {
      CHECK(error.path() == path);
      if (error.kind() != iqdb::PersistErrorKind::invalid_payload &&
          error.kind() != iqdb::PersistErrorKind::truncated_payload) {
        FAIL("refused as " << error.what());
      }
      return false;
    }
  };
  REQUIRE(imports(whole));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    CAPTURE(length);
    REQUIRE_FALSE(imports(std::span(whole).first(length)));
  }
  std::vector<std::byte> damaged = whole;
  damaged.push_back(std::byte{0});
  REQUIRE_FALSE(imports(damaged));
  damaged.pop_back();
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < 8 * whole.size(); bit += bit_step) {
    CAPTURE(bit / 8, bit % 8);
    damaged[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    refused += static_cast<std::size_t>(!imports(damaged));
    damaged[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
  }
  return refused * bit_step;
}

}  // namespace iqdb_test
