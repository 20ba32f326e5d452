// Threads for insert_many, in tests: as many as are asked for, each taking the next number until none is left.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "iqdb/insert_many.hpp"

namespace iqdb_test {

/// Lends this many threads, of which all but the calling one begin with each call.
class Threads final : public iqdb::LentThreads {
 public:
  explicit Threads(std::size_t count) noexcept : count_(count) {}

  [[nodiscard]] std::size_t count() const noexcept override { return count_; }

  void each(std::size_t numbers, const std::function<void(std::size_t)>& work) override {
    std::atomic<std::size_t> next = 0;
    std::mutex mutex;
    std::exception_ptr failure;
    const auto take_numbers = [&] {
      try {
        for (std::size_t number = next++; number < numbers; number = next++) {
          work(number);
        }
      } catch (...) {
        next = numbers;
        const std::lock_guard lock(mutex);
        failure = std::current_exception();
      }
    };
    {
      std::vector<std::jthread> helpers;
      while (helpers.size() + 1 < count_) {
        helpers.emplace_back(take_numbers);
      }
      take_numbers();
    }
    if (failure) {
      std::rethrow_exception(failure);
    }
  }

 private:
  std::size_t count_;
};

}  // namespace iqdb_test
