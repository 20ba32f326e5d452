// Workplaces: limits concurrent searches to the number that usearch has working memory for. Others wait.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace usearch_stream {

/// The pieces of memory that usearch works in during a search. One search at a time uses each piece. Any thread may
/// call the members.
class Workplaces {
 public:
  explicit Workplaces(std::size_t count) {
    free_.reserve(count);
    while (free_.size() < count) {
      free_.push_back(free_.size());
    }
  }

  /// Takes a free workplace; waits until one is free.
  [[nodiscard]] std::size_t take() {
    std::unique_lock lock(mutex_);
    given_back_.wait(lock, [this] { return !free_.empty(); });
    const std::size_t workplace = free_.back();
    free_.pop_back();
    return workplace;
  }

  void give_back(std::size_t workplace) {
    {
      const std::lock_guard lock(mutex_);
      free_.push_back(workplace);
    }
    given_back_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable given_back_;
  std::vector<std::size_t> free_;
};

/// Holds one workplace during its lifetime. The constructor waits until one is free.
class Workplace {
 public:
  explicit Workplace(Workplaces& all) : all_(&all), number_(all.take()) {}
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;
  ~Workplace() { all_->give_back(number_); }
  [[nodiscard]] std::size_t number() const noexcept { return number_; }

 private:
  Workplaces* all_;
  std::size_t number_;
};

}  // namespace usearch_stream

}  // namespace iqdb::inline IQDB_PERSIST_ABI
