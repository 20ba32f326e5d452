// The coded indexes of faiss that tests go through: each kind of code, flat and in lists, with both kinds of quantizer.
#pragma once

#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/index_factory.h>
#include <omp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "iqdb/index/faiss.hpp"
#include "iqdb/types.hpp"
#include "support/adapters.hpp"
#include "support/index_model.hpp"
#include "support/sample_index.hpp"

namespace iqdb_test {

/// An index of codes, with a name for messages.
struct CodedKind {
  std::string_view name;
  iqdb::FaissConfig config;
};

/// One of each code and each way to keep it. Few lists and bits, so that training is short; probes are all lists.
inline constexpr std::array coded_kinds = {
    CodedKind{"SQ8", {.code = iqdb::FaissCode::scalar8}},
    CodedKind{"SQ4 uniform", {.code = iqdb::FaissCode::scalar4_uniform}},
    CodedKind{"PQ", {.code = iqdb::FaissCode::product, .parts = 2, .bits = 5}},
    CodedKind{"IVF, half", {.lists = 4, .probes = 4, .code = iqdb::FaissCode::half, .by_residual = false}},
    CodedKind{"IVF, SQ6 of residuals", {.lists = 4, .probes = 4, .code = iqdb::FaissCode::scalar6}},
    CodedKind{"IVF, PQ",
              {.lists = 4, .probes = 4, .code = iqdb::FaissCode::product, .by_residual = false, .parts = 4, .bits = 4}},
    CodedKind{"IVF, PQ of residuals",
              {.lists = 4, .probes = 4, .code = iqdb::FaissCode::product, .parts = 2, .bits = 4}},
    CodedKind{"IVF of a graph, floats", {.lists = 6, .probes = 6, .quantizer_links = 4}},
    CodedKind{"IVF of a graph, SQ8 of residuals",
              {.lists = 6, .probes = 6, .quantizer_links = 4, .code = iqdb::FaissCode::scalar8}},
    CodedKind{"rotated floats", {.transform = iqdb::FaissTransform::rotation}},
    CodedKind{"OPQ, IVF, PQ of residuals",
              {.lists = 4,
               .probes = 4,
               .code = iqdb::FaissCode::product,
               .parts = 2,
               .bits = 4,
               .transform = iqdb::FaissTransform::product}},
};

/// Brings an index into a file of faiss', and back.
[[nodiscard]] inline ThroughOwnFile<iqdb::FaissIndex> through_faiss_file(iqdb::DistanceMetric metric) {
  return [metric](const iqdb::FaissIndex& index, const std::filesystem::path& file) {
    iqdb::faiss_export(index, file);
    return iqdb::faiss_import(file, metric);
  };
}

/// `count` random vectors, one behind the other.
[[nodiscard]] inline std::vector<float> coded_training(std::size_t count, std::size_t dim) {
  omp_set_num_threads(1);  // so little is trained sooner without others
  Random random(77);
  return random.vector(count * dim);
}

/// An empty index of a kind.
[[nodiscard]] inline iqdb::FaissIndex coded_index(const CodedKind& kind, std::size_t dim,
                                                  iqdb::DistanceMetric metric = iqdb::DistanceMetric::euclidean) {
  return iqdb::FaissIndex::trained(dim, metric, kind.config, coded_training(100, dim));
}

/// An index that faiss makes of a description and trains with so many vectors, without printing that they are few. `np` in
/// the description of a product code leaves out an optimisation that takes minutes.
[[nodiscard]] inline std::unique_ptr<faiss::Index> native_coded(const char* description, std::size_t dim,
                                                                faiss::MetricType metric, std::size_t training) {
  const std::vector<float> vectors = coded_training(training, dim);
  std::unique_ptr<faiss::Index> index(faiss::index_factory(static_cast<int>(dim), description, metric));
  faiss::Index* inner = index.get();
  if (auto* const map = dynamic_cast<faiss::IndexIDMap*>(inner)) {
    inner = map->index;
  }
  if (const auto* const transformed = dynamic_cast<const faiss::IndexPreTransform*>(inner)) {
    inner = transformed->index;
  }
  if (auto* const flat = dynamic_cast<faiss::IndexPQ*>(inner)) {
    flat->pq.cp.min_points_per_centroid = 1;
  }
  if (auto* const lists = dynamic_cast<faiss::IndexIVF*>(inner)) {
    lists->cp.min_points_per_centroid = 1;
  }
  if (auto* const lists = dynamic_cast<faiss::IndexIVFPQ*>(inner)) {
    lists->pq.cp.min_points_per_centroid = 1;
  }
  index->train(static_cast<faiss::Index::idx_t>(training), vectors.data());
  return index;
}

}  // namespace iqdb_test
