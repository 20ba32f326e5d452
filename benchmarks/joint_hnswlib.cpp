// Insertions of many vectors in one call into an HnswIndex, beside hnswlib's own addPoint in as many threads.
#include "iqdb/index/hnswlib.hpp"

#include <cstddef>
#include <memory>

#include "benchmarks.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/wal/lent_helpers.hpp"
#include "iqdb/types.hpp"
#include "joint_inserts.hpp"
#include "measure.hpp"
#include "workload.hpp"

namespace iqdb_benchmarks {

void add_joint_hnswlib(const Options& options) {
  const auto vectors = static_cast<std::size_t>(options.hnswlib_vectors);
  add_single("insert_many/hnswlib", [vectors](benchmark::State& state) {
    const iqdb::HnswConfig config{.capacity = vectors};
    ::hnswlib::L2Space space(dimension);
    ::hnswlib::HierarchicalNSW<float> bare(&space, vectors, config.links, config.ef_construction);
    iqdb::HnswIndex with_one(dimension, iqdb::DistanceMetric::euclidean, config);
    iqdb::HnswIndex with_two(dimension, iqdb::DistanceMetric::euclidean, config);
    iqdb::HelperThreads no_helper(0);
    iqdb::LentHelpers one(no_helper);
    iqdb::HelperThreads helper(1);
    iqdb::LentHelpers two(helper);
    insert_in_turns(
        state, vectors,
        {{.name = "addPoint_2",
          .insert =
              [&](const iqdb::InsertedRows& rows, std::size_t first) {
                two.each(rows.size(),
                         [&](std::size_t row) { bare.addPoint(rows.vectors.data() + row * dimension, first + row); });
              }},
         {.name = "1", .insert = [&](const iqdb::InsertedRows& rows, std::size_t) { with_one.insert_many(rows, one); }},
         {.name = "2",
          .insert = [&](const iqdb::InsertedRows& rows, std::size_t) { with_two.insert_many(rows, two); }}});
  });
}

}  // namespace iqdb_benchmarks
