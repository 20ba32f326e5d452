// Writes what the fuzzers of the adapters begin with: a small payload of each kind of index.
//
//   cmake --preset fuzz && cmake --build --preset fuzz --target make_adapter_payloads
//   build/fuzz/tests/fuzz/make_adapter_payloads tests/fuzz/regressions
//
// The payloads are kept, so it runs only where a layout is new. It needs all three libraries.
#include <omp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index/faiss.hpp"
#include "iqdb/index/hnswlib.hpp"
#include "iqdb/index/usearch.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/types.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::FaissCode;
using iqdb::FaissConfig;
using iqdb::FaissIndex;
using iqdb::FaissTransform;
using iqdb::UsearchScalar;
using iqdb::testing::Random;

constexpr std::size_t dim = 4;

std::vector<float> random_floats(Random& random, std::size_t count) {
  std::vector<float> floats(count);
  std::ranges::generate(floats, [&] { return static_cast<float>(random.below(2001)) / 1000.0F - 1.0F; });
  return floats;
}

// Inserts a few vectors, one with metadata and one whose identifier is bytes, and erases one where the index can.
template <class Index>
void fill(Index& index) {
  Random random(1);
  for (std::uint64_t id = 1; id <= 7; ++id) {
    std::optional<iqdb::Metadata> metadata;
    if (id == 2) {
      metadata = iqdb::Metadata{{"page", 5}};
    }
    index.insert(id == 3 ? iqdb::VectorId::from_bytes("three") : iqdb::VectorId(id), random_floats(random, dim),
                 metadata);
  }
  try {
    index.erase(4);
  } catch (const iqdb::IndexError&) {
    return;  // faiss' graph cannot erase
  }
}

class Payloads {
 public:
  // Of one target, in its folder.
  explicit Payloads(std::filesystem::path folder) : folder_(std::move(folder)) {
    std::filesystem::create_directories(folder_);
  }

  template <class Index>
  void add(const std::string& name, Index index) {
    write(name + "_empty", index);
    fill(index);
    write(name, index);
  }

 private:
  template <class Index>
  void write(const std::string& name, const Index& index) {
    const auto payload = iqdb::bytes_of([&](iqdb::Writer& writer) { index.save_to(writer); });
    std::ofstream file(folder_ / name, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(payload.data()), static_cast<std::streamsize>(payload.size()));
    file.exceptions(std::ios::badbit | std::ios::failbit);
    file.flush();
  }

  std::filesystem::path folder_;
};

void add_hnswlib(Payloads payloads) {
  payloads.add("euclidean",
               iqdb::HnswIndex(dim, DistanceMetric::euclidean, {.links = 2, .ef_construction = 8, .ef = 4}));
  payloads.add("cosine", iqdb::HnswIndex(dim, DistanceMetric::cosine, {.links = 2, .ef_construction = 8, .ef = 4}));
}

void add_usearch(Payloads payloads) {
  constexpr std::array<std::pair<const char*, UsearchScalar>, 5> scalars = {{{"f64", UsearchScalar::f64},
                                                                             {"f32", UsearchScalar::f32},
                                                                             {"f16", UsearchScalar::f16},
                                                                             {"bf16", UsearchScalar::bf16},
                                                                             {"i8", UsearchScalar::i8}}};
  for (const auto& [name, scalar] : scalars) {
    const DistanceMetric metric = scalar == UsearchScalar::i8 ? DistanceMetric::cosine : DistanceMetric::euclidean;
    payloads.add(
        name,
        iqdb::UsearchIndex(
            dim, metric,
            {.connectivity = 2, .connectivity_base = 4, .expansion_add = 8, .expansion_search = 4, .scalar = scalar}));
  }
}

void add_faiss(Payloads payloads) {
  omp_set_num_threads(1);  // so little is trained sooner without others
  Random random(2);
  const std::vector<float> training = random_floats(random, 40 * dim);
  payloads.add("flat", FaissIndex::flat(dim, DistanceMetric::dot_product));
  payloads.add("hnsw", FaissIndex::hnsw(dim, DistanceMetric::euclidean, 2, 8, 4));
  payloads.add("lists", FaissIndex::ivf(dim, DistanceMetric::cosine, 3, training, 1));
  const auto add = [&](const char* name, const FaissConfig& config) {
    payloads.add(name, FaissIndex::trained(dim, DistanceMetric::euclidean, config, training));
  };
  add("scalar8", {.code = FaissCode::scalar8});
  add("scalar4_uniform", {.code = FaissCode::scalar4_uniform});
  add("product", {.code = FaissCode::product, .parts = 2, .bits = 2});
  add("lists_half", {.lists = 3, .probes = 3, .code = FaissCode::half, .by_residual = false});
  add("lists_scalar6_of_residuals", {.lists = 3, .probes = 3, .code = FaissCode::scalar6});
  add("lists_product_of_residuals", {.lists = 3, .probes = 3, .code = FaissCode::product, .parts = 2, .bits = 2});
  add("lists_of_a_graph", {.lists = 4, .probes = 4, .quantizer_links = 2});
  add("rotated", {.transform = FaissTransform::rotation});
  add("product_transform", {.code = FaissCode::product, .parts = 2, .bits = 2, .transform = FaissTransform::product});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "make_adapter_payloads DIRECTORY\n";
    return 2;
  }
  const std::filesystem::path regressions = argv[1];
  add_hnswlib(Payloads(regressions / "hnswlib"));
  add_usearch(Payloads(regressions / "usearch"));
  add_faiss(Payloads(regressions / "faiss"));
}
