// FaissIndex: damaged payloads, handed to the decoder as behind a right checksum, and damaged files of faiss' own.
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/impl/io.h>
#include <faiss/index_io.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/index/faiss.hpp"
#include "support/adapters.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/sample_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::FaissIndex;
using iqdb::FaissKind;
using iqdb_test::loads_and_works;
using iqdb_test::Random;

constexpr std::size_t dim = 3;
constexpr std::uint64_t rows = 12;
constexpr std::array metrics = {DistanceMetric::euclidean, DistanceMetric::dot_product, DistanceMetric::cosine};
constexpr std::array kinds = {FaissKind::flat, FaissKind::hnsw, FaissKind::ivf};

std::vector<float> floats(std::size_t vectors) {
  Random random(3);
  return random.vector(vectors * dim);
}

// Few links and lists, so that the payload is small; its graph has several levels.
FaissIndex sample(FaissKind kind, DistanceMetric metric) {
  omp_set_num_threads(1);  // so little is trained sooner without others
  FaissIndex index = kind == FaissKind::flat   ? FaissIndex::flat(dim, metric)
                     : kind == FaissKind::hnsw ? FaissIndex::hnsw(dim, metric, 2, 16, 4)
                                               : FaissIndex::ivf(dim, metric, 3, floats(20), 1);
  Random random(1);
  for (std::uint64_t number = 0; number < rows; ++number) {
    // With little metadata: what is loaded is searched often, and each hit has a copy.
    index.insert(iqdb_test::sample_id(number), random.vector(dim),
                 number < 4 ? iqdb_test::sample_metadata(number, random) : std::nullopt);
  }
  for (std::uint64_t number = 0; number < rows && kind != FaissKind::hnsw; number += 7) {
    index.erase(iqdb_test::sample_id(number));
  }
  return index;
}

template <class Number>
void put(std::vector<std::byte>& bytes, std::size_t at, Number number) {
  REQUIRE(at + sizeof number <= bytes.size());
  std::memcpy(bytes.data() + at, &number, sizeof number);
}

// Where the last of these letters are.
std::size_t place_of(const std::vector<std::byte>& bytes, std::string_view letters) {
  const auto found = std::find_end(bytes.begin(), bytes.end(), letters.begin(), letters.end(),
                                   [](std::byte byte, char letter) { return static_cast<char>(byte) == letter; });
  REQUIRE(found != bytes.end());
  return static_cast<std::size_t>(found - bytes.begin());
}

// Whether the payload of that sample is refused when a number in it is replaced, so far behind the beginning of those
// letters.
template <class Number>
bool is_refused_with(FaissKind kind, std::string_view letters, std::size_t behind, Number number) {
  std::vector<std::byte> payload = iqdb_test::payload_of(sample(kind, DistanceMetric::euclidean));
  put(payload, place_of(payload, letters) + behind, number);
  return !loads_and_works<FaissIndex>(payload, dim);
}

// Files as faiss writes them: each of the types that are taken over.
std::vector<std::vector<std::byte>> files_of_faiss() {
  std::vector<std::vector<std::byte>> files;
  const auto add = [&](const faiss::Index& index) {
    faiss::VectorIOWriter stream;
    faiss::write_index(&index, &stream);
    const auto bytes = std::as_bytes(std::span(stream.data));
    files.emplace_back(bytes.begin(), bytes.end());
  };
  const std::vector<float> vectors = floats(rows);
  const auto count = static_cast<faiss::Index::idx_t>(rows);
  std::vector<faiss::Index::idx_t> ids;
  for (faiss::Index::idx_t number = 0; number < count; ++number) {
    ids.push_back(1000 - number);
  }
  faiss::IndexFlatL2 flat(dim);
  flat.add(count, vectors.data());
  add(flat);
  faiss::IndexFlatL2 mapped_flat(dim);
  faiss::IndexIDMap map(&mapped_flat);
  map.add_with_ids(count, vectors.data(), ids.data());
  add(map);
  faiss::IndexHNSWFlat graph(dim, 2);
  faiss::IndexIDMap2 graph_map(&graph);
  graph_map.add_with_ids(count, vectors.data(), ids.data());
  add(graph_map);
  for (const std::size_t lists : {2U, 12U}) {  // with the sizes of all lists, and of those only that have any
    faiss::IndexFlatL2 quantizer(dim);
    faiss::IndexIVFFlat index(&quantizer, dim, lists);
    index.cp.min_points_per_centroid = 1;
    index.train(count, vectors.data());
    index.set_direct_map_type(faiss::DirectMap::Hashtable);
    index.add_with_ids(lists == 2 ? count : 3, vectors.data(), ids.data());
    add(index);
  }
  return files;
}

}  // namespace

TEST_CASE("FaissIndex: a payload cut at any byte is refused", "[faiss][hostile]") {
  for (const FaissKind kind : kinds) {
    for (const DistanceMetric metric : metrics) {
      iqdb_test::require_truncations_refused<FaissIndex>(iqdb_test::payload_of(sample(kind, metric)), dim);
    }
  }
}

TEST_CASE("FaissIndex: any bit flipped behind the checksum is refused or harmless", "[faiss][hostile]") {
  for (const FaissKind kind : kinds) {
    for (const DistanceMetric metric : {DistanceMetric::euclidean, DistanceMetric::cosine}) {
      if (kind == FaissKind::ivf && metric == DistanceMetric::cosine) {
        continue;  // differs from the flat one in nothing that the metric changes
      }
      const std::vector<std::byte> payload = iqdb_test::payload_of(sample(kind, metric));
      CAPTURE(static_cast<int>(kind), to_string(metric), payload.size());
      CHECK(iqdb_test::flip_every_bit<FaissIndex>(payload, dim) > payload.size());
    }
  }
}

TEST_CASE("FaissIndex: payloads with several bytes changed are refused or harmless", "[faiss][hostile]") {
  Random random(5);
  for (const FaissKind kind : kinds) {
    const std::vector<std::byte> payload = iqdb_test::payload_of(sample(kind, DistanceMetric::euclidean));
    const std::array<std::uint32_t, 6> numbers = {0, 1, 2, 11, 0x7FFFFFFF, 0xFFFFFFFF};
    for (int round = 0; round < 1000; ++round) {
      std::vector<std::byte> damaged = payload;
      for (std::uint64_t changes = 1 + random.below(3); changes > 0; --changes) {
        put(damaged, random.below(damaged.size() - 3), numbers[random.below(numbers.size())]);
      }
      CAPTURE(static_cast<int>(kind), round);
      static_cast<void>(loads_and_works<FaissIndex>(damaged, dim));
    }
  }
}

TEST_CASE("FaissIndex: a payload with bytes behind it leaves them to the caller", "[faiss][hostile]") {
  for (const FaissKind kind : kinds) {
    std::vector<std::byte> payload = iqdb_test::payload_of(sample(kind, DistanceMetric::euclidean));
    payload.push_back(std::byte{0});
    iqdb::Reader reader(payload);
    static_cast<void>(FaissIndex::load_from(reader));
    CHECK(reader.remaining() == 1);
  }
}

TEST_CASE("FaissIndex: a wrong number in the header of an index is refused", "[faiss][hostile]") {
  constexpr std::size_t dimension = 4;
  constexpr std::size_t vectors = 8;
  constexpr std::size_t trained = 32;
  constexpr std::size_t metric = 33;
  constexpr std::size_t components = 37;
  constexpr std::size_t first = 45;
  const auto refused = [](std::size_t behind, auto number) {
    return is_refused_with(FaissKind::flat, "IxF2", behind, number);
  };
  CHECK_FALSE(refused(dimension, std::int32_t{dim}));
  CHECK_FALSE(refused(trained, std::uint8_t{1}));
  CHECK_FALSE(refused(metric, std::int32_t{1}));
  CHECK(refused(0, std::uint32_t{0}));
  CHECK(refused(dimension, std::int32_t{0}));
  CHECK(refused(dimension, std::int32_t{-3}));
  CHECK(refused(dimension, std::int32_t{4}));
  CHECK(refused(dimension, std::numeric_limits<std::int32_t>::max()));
  CHECK(refused(vectors, std::int64_t{-1}));
  CHECK(refused(vectors, std::int64_t{11}));
  CHECK(refused(vectors, std::numeric_limits<std::int64_t>::max()));
  CHECK(refused(trained, std::uint8_t{0}));
  CHECK(refused(trained, std::uint8_t{2}));
  CHECK(refused(metric, std::int32_t{0}));
  CHECK(refused(metric, std::int32_t{4}));
  CHECK(refused(components, std::uint64_t{0}));
  CHECK(refused(components, ~std::uint64_t{0}));
  CHECK(refused(first, std::numeric_limits<float>::quiet_NaN()));
  CHECK(refused(first, std::numeric_limits<float>::infinity()));
}

TEST_CASE("FaissIndex: a wrong number in a graph is refused", "[faiss][hostile]") {
  constexpr std::size_t from_end_of_graph = 20;  // before the storage: entry, highest level, candidates twice, width
  const auto refused = [](std::size_t before, auto number) {
    std::vector<std::byte> payload = iqdb_test::payload_of(sample(FaissKind::hnsw, DistanceMetric::euclidean));
    put(payload, place_of(payload, "IxF2") - before, number);
    return !loads_and_works<FaissIndex>(payload, dim);
  };
  for (const std::int32_t entry : {-1, 12, std::numeric_limits<std::int32_t>::max()}) {
    CHECK(refused(from_end_of_graph, entry));
  }
  for (const std::int32_t level : {-1, 60, std::numeric_limits<std::int32_t>::max()}) {
    CHECK(refused(from_end_of_graph - 4, level));
  }
  for (const std::int32_t candidates : {0, -1, 65537, std::numeric_limits<std::int32_t>::max()}) {
    CHECK(refused(from_end_of_graph - 8, candidates));
    CHECK(refused(from_end_of_graph - 12, candidates));
  }
  CHECK(refused(from_end_of_graph - 16, std::int32_t{2}));
  // The last link of the last node.
  for (const std::int32_t link : {-2, 12, std::numeric_limits<std::int32_t>::max()}) {
    CHECK(refused(from_end_of_graph + 4, link));
  }
  CHECK_FALSE(refused(from_end_of_graph - 8, std::int32_t{65536}));
}

TEST_CASE("FaissIndex: a wrong number in lists is refused", "[faiss][hostile]") {
  const auto refused = [](std::string_view letters, std::size_t behind, auto number) {
    return is_refused_with(FaissKind::ivf, letters, behind, number);
  };
  for (const std::uint64_t lists : {std::uint64_t{0}, std::uint64_t{4}, ~std::uint64_t{0}}) {
    CHECK(refused("IwFl", 37, lists));
    CHECK(refused("ilar", 4, lists));
    CHECK(refused("full", 4, lists));
  }
  for (const std::uint64_t probes : {std::uint64_t{0}, ~std::uint64_t{0}}) {
    CHECK(refused("IwFl", 45, probes));
  }
  CHECK_FALSE(refused("IwFl", 45, std::uint64_t{1000}));
  CHECK(refused("ilar", 0, std::uint32_t{0}));
  CHECK(refused("ilar", 12, std::uint64_t{16}));
  CHECK(refused("full", 0, std::uint32_t{0}));
  CHECK(refused("full", 12, std::uint64_t{0}));
  CHECK(refused("full", 12, ~std::uint64_t{0}));
  // The last number of the last list: no slot, one that is free, one that stands there already.
  for (const std::int64_t slot : {std::int64_t{-1}, std::int64_t{12}, std::int64_t{0}, std::int64_t{1},
                                  std::numeric_limits<std::int64_t>::max()}) {
    std::vector<std::byte> payload = iqdb_test::payload_of(sample(FaissKind::ivf, DistanceMetric::euclidean));
    std::int64_t there = 0;
    std::memcpy(&there, payload.data() + payload.size() - sizeof there, sizeof there);
    REQUIRE(there != slot);
    put(payload, payload.size() - sizeof slot, slot);
    CHECK_FALSE(loads_and_works<FaissIndex>(payload, dim));
  }
}

TEST_CASE("faiss_import: a file cut at any byte or with any bit flipped is refused or harmless",
          "[faiss][hostile][import]") {
  const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "faiss.bin";
  const auto import = [](const std::filesystem::path& file) {
    return iqdb::faiss_import(file, DistanceMetric::euclidean);
  };
  for (const std::vector<std::byte>& whole : files_of_faiss()) {
    CAPTURE(whole.size());
    // Of the bits of a vector most make another one.
    CHECK(2 * iqdb_test::damage_file(whole, path, import) > whole.size());
  }
}
