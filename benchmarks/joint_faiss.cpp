// Insertions of many vectors in one call into a FaissIndex, beside faiss' own add of as many.
#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFFlat.h>

#include <cstddef>
#include <vector>

#include "benchmarks.hpp"
#include "iqdb/index/faiss.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/wal/lent_helpers.hpp"
#include "iqdb/types.hpp"
#include "joint_inserts.hpp"
#include "measure.hpp"
#include "workload.hpp"

namespace iqdb_benchmarks {

namespace {

void insert_beside(benchmark::State& state, std::size_t vectors, faiss::Index& bare) {
  iqdb::FaissIndex index(bare, iqdb::DistanceMetric::euclidean);
  iqdb::HelperThreads helper(1);
  iqdb::LentHelpers two(helper);
  insert_in_turns(
      state, vectors,
      {{.name = "add",
        .insert = [&](const iqdb::InsertedRows& rows,
                      std::size_t) { bare.add(static_cast<faiss::Index::idx_t>(rows.size()), rows.vectors.data()); }},
       {.name = "2", .insert = [&](const iqdb::InsertedRows& rows, std::size_t) { index.insert_many(rows, two); }}});
}

}  // namespace

void add_joint_faiss(const Options& options) {
  // Of those of a snapshot, since two indexes are filled.
  const auto vectors = static_cast<std::size_t>(options.vectors) / 4;
  add_single("insert_many/faiss_flat", [vectors](benchmark::State& state) {
    faiss::IndexFlatL2 bare(static_cast<faiss::Index::idx_t>(dimension));
    insert_beside(state, vectors, bare);
  });
  const auto vectors_in_lists = static_cast<std::size_t>(options.hnswlib_vectors);
  add_single("insert_many/faiss_ivf", [vectors_in_lists](benchmark::State& state) {
    constexpr std::size_t lists = 256;
    constexpr std::size_t training_vectors = 8 * lists;
    std::vector<float> training(training_vectors * dimension);
    fill_with_vectors(training);
    faiss::IndexFlatL2 quantizer(static_cast<faiss::Index::idx_t>(dimension));
    faiss::IndexIVFFlat bare(&quantizer, dimension, lists);
    bare.cp.min_points_per_centroid = 1;  // with fewer than that faiss prints
    bare.train(static_cast<faiss::Index::idx_t>(training_vectors), training.data());
    insert_beside(state, vectors_in_lists, bare);
  });
}

}  // namespace iqdb_benchmarks
