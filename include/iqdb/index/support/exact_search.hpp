// Exact search: compares queries with every row.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/batch_threads.hpp"
#include "iqdb/index/support/distance.hpp"
#include "iqdb/index/support/nearest.hpp"
#include "iqdb/index/support/queries.hpp"
#include "iqdb/index/support/rows.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// The nearest of the candidates that it is offered: at most so many, and none beyond a radius.
class NearestCandidates {
 public:
  NearestCandidates(std::size_t most, const std::optional<float>& radius) : most_(most), radius_(radius) {}

  /// Takes a candidate if it is near enough and `admits()` is true, which is asked last. Throws std::bad_alloc, and what
  /// `admits` throws.
  template <class Admits>
  void offer(const Found& candidate, Admits&& admits) {
    const bool full = heap_.size() == most_;
    if (!is_within(radius_, candidate.distance) || (full && !nearer(candidate, heap_.front())) || !admits()) {
      return;
    }
    if (full) {
      std::pop_heap(heap_.begin(), heap_.end(), nearer);
      heap_.back() = candidate;
    } else {
      heap_.push_back(candidate);
    }
    std::push_heap(heap_.begin(), heap_.end(), nearer);
  }

  /// What was taken, nearest first.
  [[nodiscard]] std::vector<Found> in_order() && {
    std::sort_heap(heap_.begin(), heap_.end(), nearer);
    return std::move(heap_);
  }

 private:
  std::size_t most_;
  std::optional<float> radius_;
  std::vector<Found> heap_;  // the farthest first
};

/// The hits of each of `queries`, which lie one behind the other: of the rows that `admits(id, metadata)` and the filter admit,
/// the `params.k` nearest by distance(), nearest first, and in the order of the rows at equal distance. Preconditions: `most`
/// is at least 1 and at most rows.size(), and the queries are whole.
template <class Admits>
[[nodiscard]] std::vector<std::vector<Hit>> nearest_rows(const Rows& rows, DistanceMetric metric,
                                                         std::span<const float> queries, std::size_t most,
                                                         const SearchParams& params, const Admits& admits) {
  const std::size_t dim = rows.dim();
  std::vector<NearestCandidates> nearest(queries.size() / dim, NearestCandidates(most, params.radius));
  const auto offer = [&](std::size_t number, std::size_t row) {
    const float apart = distance(metric, queries.subspan(number * dim, dim), rows.vector(row));
    nearest[number].offer({.slot = row, .distance = apart}, [&] {
      return rows.with_id(row, [&](const VectorId& id) {
        return params.filter.admits(id, rows.metadata(row)) && is_admitted(admits, id, rows.metadata(row));
      });
    });
  };
  if (const auto* const ids = params.filter.allowed(); ids != nullptr && ids->size() < rows.size()) {
    for (const VectorId& id : *ids) {
      const std::optional<std::size_t> row = rows.find(id);
      for (std::size_t number = 0; row && number < nearest.size(); ++number) {
        offer(number, *row);
      }
    }
  } else {
    // So many rows stay in a processor's nearest cache while each query is compared with them.
    constexpr std::size_t cached_bytes = 16384;
    const std::size_t together = std::max<std::size_t>(cached_bytes / (dim * sizeof(float)), 1);
    for (std::size_t begin = 0; begin < rows.rows(); begin += together) {
      const std::size_t end = std::min(begin + together, rows.rows());
      for (std::size_t number = 0; number < nearest.size(); ++number) {
        for (std::size_t row = begin; row < end; ++row) {
          if (!rows.is_erased(row)) {
            offer(number, row);
          }
        }
      }
    }
  }
  std::vector<std::vector<Hit>> hits;
  hits.reserve(nearest.size());
  for (NearestCandidates& candidates : nearest) {
    hits.push_back(hits_of(std::move(candidates).in_order(), rows, params));
  }
  return hits;
}

/// The hits of one query, as nearest_rows finds them. Throws IndexError dimension_mismatch if the query does not have
/// rows.dim() components, invalid_config for a radius that is not a number; and what the filter throws.
template <class Admits>
[[nodiscard]] std::vector<Hit> search_rows(const Rows& rows, DistanceMetric metric, std::span<const float> query,
                                           const SearchParams& params, const Admits& admits) {
  check_dimension(query.size(), rows.dim(), "query");
  check_radius(params);
  const std::size_t most = std::min(params.k, rows.size());
  return most == 0 ? std::vector<Hit>() : std::move(nearest_rows(rows, metric, query, most, params, admits).front());
}

/// The hits of each query, as nearest_rows finds them, found by as many threads as in_threads says. Throws as search_rows and
/// in_threads do.
[[nodiscard]] inline std::vector<std::vector<Hit>> search_rows_many(const Rows& rows, DistanceMetric metric,
                                                                    std::span<const float> queries,
                                                                    const SearchParams& params, std::size_t threads) {
  const std::size_t count = queries_in(queries, rows.dim());
  check_radius(params);
  std::vector<std::vector<Hit>> hits(count);
  const std::size_t most = std::min(params.k, rows.size());
  if (most == 0) {
    return hits;
  }
  // Rows that are read for one query are compared with all of a piece.
  constexpr std::size_t together = 8;
  in_threads((count + together - 1) / together, threads, [&](std::size_t piece) {
    const std::size_t first = piece * together;
    const std::size_t here = std::min(together, count - first);
    auto found =
        nearest_rows(rows, metric, queries.subspan(first * rows.dim(), here * rows.dim()), most, params, AdmitsEvery());
    std::ranges::move(found, hits.begin() + static_cast<std::ptrdiff_t>(first));
  });
  return hits;
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
