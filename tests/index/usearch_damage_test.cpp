// UsearchIndex: damaged payloads, handed to the decoder as behind a right checksum.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "iqdb/index/usearch.hpp"
#include "support/adapters.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/sanitized.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::PersistErrorKind;
using iqdb::Reader;
using iqdb::UsearchIndex;
using iqdb::UsearchScalar;
using iqdb_test::payload_of;
using iqdb_test::require_kind;

constexpr std::size_t dim = 3;
constexpr std::uint64_t rows = iqdb_test::sanitized ? 12 : 16;

// Few links, so that the payload is small and its graph has several levels.
constexpr std::size_t connectivity = 2;
constexpr std::size_t connectivity_base = 4;

[[nodiscard]] UsearchIndex sample(DistanceMetric metric, UsearchScalar scalar) {
  UsearchIndex index(dim, metric,
                     {.connectivity = connectivity,
                      .connectivity_base = connectivity_base,
                      .expansion_add = 16,
                      .expansion_search = 4,
                      .scalar = scalar});
  iqdb_test::insert_and_erase_samples(index, rows);
  return index;
}

struct Subject {
  DistanceMetric metric;
  UsearchScalar scalar;
};
constexpr std::array subjects = {
    Subject{DistanceMetric::euclidean, UsearchScalar::f32}, Subject{DistanceMetric::dot_product, UsearchScalar::f16},
    Subject{DistanceMetric::cosine, UsearchScalar::i8}, Subject{DistanceMetric::dot_product, UsearchScalar::bf16},
    Subject{DistanceMetric::euclidean, UsearchScalar::f64}};

// A payload with one vector, and where the parts of its usearch stream stand, counted from the end.
constexpr std::size_t links = 8;  // in each level; with so many the first node is in the lowest level only
constexpr std::size_t node_bytes = 8 + 2 + 4 + 4 * links;
constexpr std::size_t links_at = node_bytes - 10;
constexpr std::size_t level_at = node_bytes + 2;
constexpr std::size_t graph_header_at = level_at + 40;
constexpr std::size_t head_at = graph_header_at + 64;
constexpr std::size_t vector_at = head_at + dim * sizeof(float);
constexpr std::size_t matrix_size_at = vector_at + 8;

template <class Number>
[[nodiscard]] std::vector<std::byte> with(std::size_t bytes_before_end, Number number) {
  UsearchIndex index(dim, DistanceMetric::euclidean, {.connectivity = links, .connectivity_base = links});
  index.insert(1, {1.0F, 2.0F, 3.0F});
  std::vector<std::byte> payload = payload_of(index);
  std::memcpy(payload.data() + payload.size() - bytes_before_end, &number, sizeof number);
  return payload;
}

}  // namespace

TEST_CASE("UsearchIndex: a payload cut at any byte is refused", "[usearch][hostile]") {
  for (const Subject& subject : subjects) {
    iqdb_test::require_truncations_refused<UsearchIndex>(payload_of(sample(subject.metric, subject.scalar)), dim);
  }
}

TEST_CASE("UsearchIndex: any bit flipped behind the checksum is refused or harmless", "[usearch][hostile]") {
  for (const Subject& subject : subjects) {
    const std::vector<std::byte> payload = payload_of(sample(subject.metric, subject.scalar));
    CAPTURE(to_string(subject.metric), static_cast<unsigned>(subject.scalar), payload.size());
    CHECK(payload.size() < 6000);
    CHECK(iqdb_test::flip_every_bit<UsearchIndex>(payload, dim) > payload.size());
  }
}

TEST_CASE("UsearchIndex: every part of usearch's stream is checked before usearch gets it", "[usearch][hostile]") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  struct Damage {
    std::string part;
    std::vector<std::byte> payload;
    std::string message;
  };
  const std::vector<Damage> damages = {
      {"no rows", with(matrix_size_at, std::uint32_t{0}), "no nodes"},
      {"many rows", with(matrix_size_at, std::uint32_t{0xFFFFFFFE}), "ends early"},
      {"more rows than there are numbers", with(matrix_size_at, std::uint32_t{0xFFFFFFFF}), "has numbers for"},
      {"bytes of a row", with(matrix_size_at - 4, std::uint32_t{16}), "16 bytes each; expected 12"},
      {"vector", with(vector_at, infinity),
       "the vector 1 (node 0 of usearch's graph) has a component that is not finite"},
      {"magic", with(head_at, 'U'), "usearch's head does not stand behind the vectors"},
      {"version", with(head_at - 7, std::uint16_t{3}), "usearch 3."},
      {"metric", with(head_at - 13, 'c'), "metric cos (code 99)"},
      {"scalar", with(head_at - 14, std::uint8_t{12}), "scalar f16 (code 12)"},
      {"type of keys", with(head_at - 15, std::uint8_t{15}),
       "keys have the type u32 (code 15) and its links the type u32 (code 15); expected u64 and u32"},
      {"type of links", with(head_at - 16, std::uint8_t{14}),
       "keys have the type u64 (code 14) and its links the type u64 (code 14)"},
      {"dimensions", with(head_at - 33, std::uint64_t{4}), "4 dimensions"},
      {"multi", with(head_at - 41, std::uint8_t{2}), "several vectors of one key"},
      {"nodes", with(graph_header_at, std::uint64_t{2}), "2 nodes for 1 vectors"},
      {"connectivity", with(graph_header_at - 8, std::uint64_t{7}), "up to 7 links"},
      {"connectivity of the base", with(graph_header_at - 16, std::uint64_t{9}), "9 in the lowest level"},
      {"highest level", with(graph_header_at - 24, std::uint64_t{1}), "but the node reaches up to level 0"},
      {"highest level beyond all", with(graph_header_at - 24, std::uint64_t{0x10000}), "in level 65536"},
      {"entry", with(graph_header_at - 32, std::uint64_t{1}), "entered at node 1"},
      {"level", with(level_at, std::int16_t{1}), "up to level 1 of 0"},
      {"negative level", with(level_at, std::int16_t{-1}), "up to level 65535 of 0"},
      {"level of the node", with(node_bytes - 8, std::int16_t{1}), "up to level 1 and to level 0"},
      {"key of no slot", with(node_bytes, std::uint64_t{1}),
       "a node of usearch's graph has a vector without an identifier"},
      {"erased key", with(node_bytes, ~std::uint64_t{0}), "nodes for 0 of 1 vectors"},
      {"number of links", with(links_at, std::uint32_t{9}),
       "the vector 1 (node 0 of usearch's graph) is stated to have 9 links in level 0; there may be 8"},
      {"link", with(links_at, std::array<std::uint32_t, 2>{1, 1}), "a link to node 1"},
  };
  for (const Damage& damage : damages) {
    INFO(damage.part);
    const auto error = require_kind(PersistErrorKind::invalid_payload, [&] {
      Reader reader(damage.payload);
      return UsearchIndex::load_from(reader);
    });
    INFO(error.what());
    CHECK(iqdb_test::mentions(error, damage.message));
  }
}

TEST_CASE("UsearchIndex: what stands behind a node's links is not taken over", "[usearch][hostile]") {
  const std::vector<std::byte> damaged = with(links_at, std::array<std::uint32_t, 2>{0, 77});
  Reader reader(damaged);
  UsearchIndex index = UsearchIndex::load_from(reader);
  CHECK(payload_of(index) == with(links_at, std::uint32_t{0}));
  index.insert(2, {1.0F, 2.0F, 4.0F});
  CHECK(index.search({1.0F, 2.0F, 4.0F}).size() == 2);
}

TEST_CASE("UsearchIndex: two nodes of one slot are refused", "[usearch][hostile]") {
  UsearchIndex index(dim, DistanceMetric::euclidean, {.connectivity = links, .connectivity_base = links});
  index.insert(1, {1.0F, 2.0F, 3.0F});
  index.insert(2, {1.0F, 2.0F, 4.0F});
  std::vector<std::byte> payload = payload_of(index);
  std::byte* const second = payload.data() + payload.size() - node_bytes;
  std::memcpy(second, second - node_bytes, sizeof(std::uint64_t));
  const auto error = require_kind(PersistErrorKind::invalid_payload, [&] {
    Reader reader(payload);
    return UsearchIndex::load_from(reader);
  });
  CHECK(iqdb_test::mentions(error, "two nodes of usearch's graph have the vector 1"));
}

TEST_CASE("UsearchIndex: a payload of another layout is refused by its version", "[usearch][hostile]") {
  std::vector<std::byte> payload = payload_of(sample(DistanceMetric::euclidean, UsearchScalar::f32));
  payload.at(0) = std::byte{2};
  const auto error = require_kind(PersistErrorKind::invalid_payload, [&] {
    Reader reader(payload);
    return UsearchIndex::load_from(reader);
  });
  CHECK(iqdb_test::mentions(error, "layout version 2"));
}
