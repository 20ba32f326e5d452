// What the parts need from faiss itself: its numbers and bounds, its metrics, its errors as IndexError, and a search
// that stays in one thread.
#pragma once

#include <faiss/Index.h>
#include <faiss/impl/FaissException.h>
#include <faiss/utils/Heap.h>
#include <omp.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The parts of faiss' indexes, their layout in faiss' stream, and what must hold in an index that was read.
namespace faiss_parts {

static_assert(
    std::endian::native == std::endian::little,
    "the adapter to faiss is for little-endian processors: faiss writes memory as it lies, and its files would be "
    "read wrongly elsewhere. Use an index that writes its own format here, such as iqdb::FlatIndex");

/// faiss' numbers of vectors.
using Id = std::int64_t;

/// What faiss returns where it has found no vector.
inline constexpr Id no_label = -1;

inline constexpr std::size_t most_dim = std::size_t{1} << 24U;
inline constexpr std::size_t most_vectors = std::numeric_limits<std::int32_t>::max();
inline constexpr std::size_t most_links = 1024;
inline constexpr std::size_t most_candidates = 65536;
inline constexpr std::size_t most_levels = 64;

/// Calls into faiss and turns its exceptions into IndexError.
template <class Call>
decltype(auto) guarded(Call&& call) {
  try {
    return std::forward<Call>(call)();
  } catch (const ::faiss::FaissException& error) {
    throw IndexError(IndexErrorKind::resource_limit, std::string("faiss refuses: ") + error.what());
  }
}

/// Throws IndexError invalid_config for a setting out of range.
inline void check_range(std::size_t value, std::size_t least, std::size_t most, std::string_view name) {
  index_support::check_range(value, least, most, name, "a faiss index");
}

/// faiss' metric for one of ours. faiss does not have the cosine, which becomes the product of directions. Throws
/// IndexError invalid_metric for a metric that faiss does not have.
[[nodiscard]] inline ::faiss::MetricType metric_for(DistanceMetric metric) {
  index_support::check_metric(metric, "faiss");
  return metric == DistanceMetric::euclidean ? ::faiss::METRIC_L2 : ::faiss::METRIC_INNER_PRODUCT;
}

/// The number of a metric of faiss' in words: "L2". One without a name here is named by its number. It is a number, and
/// no MetricType, because a file may state one that the type cannot hold.
[[nodiscard]] inline std::string name_of(int metric) {
  switch (metric) {
    case ::faiss::METRIC_INNER_PRODUCT:
      return "inner product";
    case ::faiss::METRIC_L2:
      return "L2";
    case ::faiss::METRIC_L1:
      return "L1";
    case ::faiss::METRIC_Linf:
      return "Linf";
    case ::faiss::METRIC_Lp:
      return "Lp";
    case ::faiss::METRIC_Canberra:
      return "Canberra";
    case ::faiss::METRIC_BrayCurtis:
      return "BrayCurtis";
    case ::faiss::METRIC_JensenShannon:
      return "JensenShannon";
    default:
      return "number " + std::to_string(metric);
  }
}

/// A vector among the codes of a flat index or a list. Codes are whole vectors of floats in memory of `operator new`,
/// so they are aligned.
[[nodiscard]] inline std::span<const float> vector_at(const std::vector<std::uint8_t>& codes, std::size_t number,
                                                      std::size_t dim) {
  return {reinterpret_cast<const float*>(codes.data()) + number * dim, dim};
}

/// While an object exists, faiss' parallel regions that this thread enters have one thread. One query is not enough
/// work for several threads, and in a graph each would allocate memory in proportion to the index.
class OneThread {
 public:
  OneThread() { omp_set_num_threads(1); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  int before_ = omp_get_max_threads();
};

/// Makes an empty heap of these, which have one size, for what a scan finds by this metric.
inline void make_empty_heap(::faiss::MetricType metric, std::vector<float>& distances, std::vector<Id>& labels) {
  if (metric == ::faiss::METRIC_INNER_PRODUCT) {
    ::faiss::minheap_heapify(labels.size(), distances.data(), labels.data());
  } else {
    ::faiss::maxheap_heapify(labels.size(), distances.data(), labels.data());
  }
}

/// What a search of faiss' found for one query, nearest first: labels, and faiss' distances of them.
struct Nearest {
  std::vector<Id> labels;
  std::vector<float> distances;
};

/// What the search of a flat index finds for each of `queries`, which lie one behind the other: nearest first, without
/// no_label. A distance that is not a number, as the product of huge vectors may be, is none to faiss, so that fewer may be
/// found.
[[nodiscard]] inline std::vector<Nearest> nearest_in_flat(const ::faiss::Index& flat, std::span<const float> queries,
                                                          std::size_t most) {
  const std::size_t count = queries.size() / static_cast<std::size_t>(flat.d);
  std::vector<float> distances(count * most);
  std::vector<Id> labels(count * most, no_label);
  const OneThread one_thread;
  guarded([&] {
    flat.search(static_cast<Id>(count), queries.data(), static_cast<Id>(most), distances.data(), labels.data());
  });
  std::vector<Nearest> found(count);
  for (std::size_t query = 0; query < count; ++query) {
    for (std::size_t at = query * most; at < (query + 1) * most; ++at) {
      if (labels[at] != no_label) {
        found[query].labels.push_back(labels[at]);
        found[query].distances.push_back(distances[at]);
      }
    }
  }
  return found;
}

/// The labels of what nearest_in_flat finds.
[[nodiscard]] inline std::vector<std::vector<Id>> labels_of(const ::faiss::Index& flat, std::span<const float> queries,
                                                            std::size_t most) {
  std::vector<std::vector<Id>> labels;
  for (Nearest& nearest : nearest_in_flat(flat, queries, most)) {
    labels.push_back(std::move(nearest.labels));
  }
  return labels;
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
