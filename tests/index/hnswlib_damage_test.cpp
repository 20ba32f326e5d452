// HnswIndex: damaged payloads, handed to the decoder as behind a right checksum, and damaged files of hnswlib's.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <span>
#include <vector>

#include "iqdb/index/hnswlib.hpp"
#include "support/adapters.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/sample_index.hpp"
#include "support/sanitized.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::HnswConfig;
using iqdb::HnswIndex;
using iqdb_test::Random;

constexpr std::size_t dim = 3;
// A graph of hnswlib's has megabytes of locks, of which a sanitizer makes much.
constexpr std::uint64_t rows = iqdb_test::sanitized ? 12 : 16;
// Few links, so that the payload is small and its graph has several levels.
constexpr HnswConfig config{.links = 2, .ef_construction = 16, .ef = 4};

HnswIndex sample(DistanceMetric metric) {
  HnswIndex index(dim, metric, config);
  iqdb_test::insert_and_erase_samples(index, rows);
  return index;
}

constexpr DistanceMetric metrics[] = {  // NOLINT(*-c-arrays)
    DistanceMetric::euclidean, DistanceMetric::dot_product, DistanceMetric::cosine};
const auto metrics_to_flip = std::span(metrics).last(iqdb_test::sanitized ? 1 : std::size(metrics));

// The payload of one vector, which with this seed is in the lowest level only, with a number changed that stands so far
// before its end: of the node, which is the end, 4 bytes are for how many links it has, then come 4 links, 3
// components, and the label.
template <class Number>
std::vector<std::byte> one_vector_with(std::size_t bytes_before_end, Number number) {
  HnswIndex index(dim, DistanceMetric::euclidean, {.links = 2, .seed = 27});
  index.insert(1, {1.0F, 2.0F, 3.0F});
  std::vector<std::byte> payload = iqdb_test::payload_of(index);
  std::memcpy(payload.data() + payload.size() - bytes_before_end, &number, sizeof number);
  return payload;
}

}  // namespace

TEST_CASE("HnswIndex: a payload cut at any byte is refused", "[hnswlib][hostile]") {
  for (const DistanceMetric metric : metrics) {
    iqdb_test::require_truncations_refused<HnswIndex>(iqdb_test::payload_of(sample(metric)), dim);
  }
}

TEST_CASE("HnswIndex: any bit flipped behind the checksum is refused or harmless", "[hnswlib][hostile]") {
  for (const DistanceMetric metric : metrics_to_flip) {
    const std::vector<std::byte> payload = iqdb_test::payload_of(sample(metric));
    CAPTURE(to_string(metric), payload.size());
    CHECK(iqdb_test::flip_every_bit<HnswIndex>(payload, dim) > payload.size());
  }
}

TEST_CASE("HnswIndex: a payload with bytes behind it leaves them to the caller", "[hnswlib][hostile]") {
  std::vector<std::byte> payload = iqdb_test::payload_of(sample(DistanceMetric::euclidean));
  payload.push_back(std::byte{0});
  iqdb::Reader reader(payload);
  static_cast<void>(HnswIndex::load_from(reader));
  CHECK(reader.remaining() == 1);
}

TEST_CASE("HnswIndex: a wrong number in a node is refused", "[hnswlib][hostile]") {
  constexpr std::size_t label = 8;
  constexpr std::size_t vector = label + dim * sizeof(float);
  constexpr std::size_t links = vector + 4 * sizeof(std::uint32_t);
  constexpr std::size_t count = links + 4;
  constexpr std::size_t level = count + 1;
  constexpr std::size_t entry = level + 4;
  CHECK(iqdb_test::loads_and_works<HnswIndex>(one_vector_with(label, std::uint64_t{0}), dim));
  CHECK_FALSE(iqdb_test::loads_and_works<HnswIndex>(one_vector_with(label, std::uint64_t{1}), dim));
  CHECK_FALSE(iqdb_test::loads_and_works<HnswIndex>(one_vector_with(vector, std::uint32_t{0x7FC00000}), dim));  // a NaN
  CHECK_FALSE(
      iqdb_test::loads_and_works<HnswIndex>(one_vector_with(vector, std::uint32_t{0x7F800000}), dim));  // infinity
  CHECK_FALSE(
      iqdb_test::loads_and_works<HnswIndex>(one_vector_with(count, std::uint32_t{1}), dim));  // a link to itself
  CHECK_FALSE(iqdb_test::loads_and_works<HnswIndex>(one_vector_with(count, std::uint32_t{5}), dim));  // too many links
  CHECK_FALSE(iqdb_test::loads_and_works<HnswIndex>(one_vector_with(count, std::uint32_t{0x10000}), dim));  // erased
  CHECK_FALSE(iqdb_test::loads_and_works<HnswIndex>(one_vector_with(count, std::uint32_t{0x20000}), dim));
  CHECK_FALSE(iqdb_test::loads_and_works<HnswIndex>(one_vector_with(level, std::uint8_t{1}), dim));
  CHECK_FALSE(iqdb_test::loads_and_works<HnswIndex>(one_vector_with(level, std::uint8_t{255}), dim));
  CHECK_FALSE(iqdb_test::loads_and_works<HnswIndex>(one_vector_with(entry, std::uint32_t{1}), dim));
  CHECK_FALSE(iqdb_test::loads_and_works<HnswIndex>(one_vector_with(entry, ~std::uint32_t{0}), dim));
}

TEST_CASE("hnswlib_import: a file cut at any byte or with any bit flipped is refused or harmless",
          "[hnswlib][hostile][import]") {
  const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "hnswlib.bin";
  if (iqdb_test::sanitized) {
    // hnswlib reads a link beyond the upper levels of a node, for which the adapter makes room and hnswlib does not.
    HnswIndex index(dim, DistanceMetric::euclidean, config);
    Random random(1);
    for (std::uint64_t number = 0; number < rows; ++number) {
      index.insert(100 + number, random.vector(dim));
    }
    index.erase(103);
    iqdb::hnswlib_export(index, path);
  } else {
    hnswlib::L2Space space(dim);
    hnswlib::HierarchicalNSW<float> native(&space, rows, config.links, config.ef_construction);
    Random random(1);
    for (std::uint64_t number = 0; number < rows; ++number) {
      native.addPoint(random.vector(dim).data(), 100 + number);
    }
    native.markDelete(103);
    native.saveIndex(path.string());
  }
  const std::vector<std::byte> whole = iqdb_test::read_bytes(path);
  const auto import = [](const std::filesystem::path& file) {
    return iqdb::hnswlib_import(file, dim, DistanceMetric::euclidean);
  };
  CHECK(iqdb_test::damage_file(whole, path, import) > whole.size());
}
