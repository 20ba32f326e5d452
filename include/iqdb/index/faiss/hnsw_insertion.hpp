// What insertions into faiss' HNSW graph and searches in it need beside the graph: locks of the nodes, and distances that
// also work for the inner product.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexFlat.h>
#include <faiss/impl/DistanceComputer.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <vector>

#include "iqdb/index/faiss/native.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// The locks of nodes that faiss requires.
class NodeLocks {
 public:
  NodeLocks() = default;
  NodeLocks(const NodeLocks&) = delete;
  NodeLocks& operator=(const NodeLocks&) = delete;
  ~NodeLocks() { clear(); }

  /// At least `count` locks, none of them held.
  [[nodiscard]] std::vector<omp_lock_t>& at_least(std::size_t count) {
    if (locks_.size() < count) {
      clear();
      locks_.resize(std::max(2 * count, least));
      std::ranges::for_each(locks_, [](omp_lock_t& lock) { omp_init_lock(&lock); });
    }
    return locks_;
  }

  void clear() noexcept {
    std::ranges::for_each(locks_, [](omp_lock_t& lock) { omp_destroy_lock(&lock); });
    locks_.clear();
  }

 private:
  static constexpr std::size_t least = 64;
  std::vector<omp_lock_t> locks_;
};

/// How far vectors are from another one. For the inner product the sign is changed, because a smaller product is farther.
/// A distance that is not a number, as the product of huge vectors may be, is the greatest there is: to compare with it
/// would leave no order.
class Farness final : public ::faiss::DistanceComputer {
 public:
  explicit Farness(const ::faiss::IndexFlat& vectors)
      : similarity_(vectors.metric_type == ::faiss::METRIC_INNER_PRODUCT), inner_(vectors.get_distance_computer()) {}

  void set_query(const float* query) override { inner_->set_query(query); }
  float operator()(Id node) override { return in_order((*inner_)(node)); }
  float symmetric_dis(Id one, Id other) override { return in_order(inner_->symmetric_dis(one, other)); }

  /// Whether each distance was a number. Where one was not, faiss does not know what is near.
  [[nodiscard]] bool all_numbers() const noexcept { return all_numbers_; }

 private:
  [[nodiscard]] float in_order(float distance) noexcept {
    if (std::isnan(distance)) {
      all_numbers_ = false;
      return std::numeric_limits<float>::infinity();
    }
    return similarity_ ? -distance : distance;
  }

  bool similarity_;
  bool all_numbers_ = true;
  std::unique_ptr<::faiss::DistanceComputer> inner_;
};

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
