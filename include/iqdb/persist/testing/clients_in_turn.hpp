// Clients of a simulation that run by turns: each is straight code in a thread of its own, and exactly one of them runs.
//
// Invariant: who runs changes only in step(), and follows from the seed alone. So a run is repeated exactly by its seed, and what
// the clients share needs no lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <semaphore>
#include <thread>
#include <utility>
#include <vector>

#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// What ends a client in the middle of a request, as kill -9 does. It is no std::exception, so that nothing on the way takes it for
/// an error of the store.
class ClientDied {};

/// Runs clients by turns. Some of them sleep for long, while others go on.
class ClientsInTurn {
 public:
  /// A client that falls asleep, on one of 12 steps, sleeps for up to `longest_sleep` steps of others.
  explicit ClientsInTurn(std::uint64_t seed, std::uint64_t longest_sleep = 400)
      : random_(seed), longest_sleep_(longest_sleep) {}
  ClientsInTurn(const ClientsInTurn&) = delete;
  ClientsInTurn& operator=(const ClientsInTurn&) = delete;
  ~ClientsInTurn() = default;

  /// Runs the clients until all have ended. A client ends by returning or by throwing ClientDied. If one throws something else,
  /// the others are ended, and that is thrown.
  void run(const std::vector<std::function<void()>>& clients) {
    clients_.clear();
    for (std::size_t at = 0; at < clients.size(); ++at) {
      clients_.push_back(std::make_unique<Client>());
    }
    for (std::size_t at = 0; at < clients.size(); ++at) {
      clients_[at]->thread = std::thread([this, at, &client = clients[at]] {
        clients_[at]->turn.acquire();
        try {
          client();
        } catch (const ClientDied&) {
        } catch (...) {
          failure_ = failure_ ? failure_ : std::current_exception();
        }
        clients_[at]->has_ended = true;
        give_turn();
      });
    }
    give_turn();
    all_ended_.acquire();
    for (const auto& client : clients_) {
      client->thread.join();
    }
    if (failure_) {
      std::rethrow_exception(std::exchange(failure_, nullptr));
    }
  }

  /// Called by the client that runs: from here on another one may run, or the same. Throws ClientDied once another client has
  /// thrown.
  void step() {
    ++steps_;
    Client& own = *clients_[running_];
    own.sleeps_until = random_.one_in(12) ? steps_ + random_.below(longest_sleep_) : 0;
    const std::size_t next = next_client();
    if (clients_[next].get() != &own) {
      running_ = next;
      clients_[next]->turn.release();
      own.turn.acquire();
    }
    if (failure_) {
      throw ClientDied();
    }
  }

 private:
  struct Client {
    std::binary_semaphore turn{0};
    std::uint64_t sleeps_until = 0;
    bool has_ended = false;
    std::thread thread;
  };

  // One that is awake, or the one that wakes first if all sleep. Precondition: one has not ended.
  std::size_t next_client() {
    std::size_t chosen = clients_.size();
    std::uint64_t awake = 0;
    for (std::size_t at = 0; at < clients_.size(); ++at) {
      const Client& client = *clients_[at];
      if (!client.has_ended && client.sleeps_until <= steps_ && random_.one_in(++awake)) {
        chosen = at;
      }
    }
    for (std::size_t at = 0; awake == 0 && at < clients_.size(); ++at) {
      const bool is_first = chosen == clients_.size() || clients_[at]->sleeps_until < clients_[chosen]->sleeps_until;
      chosen = !clients_[at]->has_ended && is_first ? at : chosen;
    }
    return chosen;
  }

  void give_turn() {
    const std::size_t next = next_client();
    if (next == clients_.size()) {
      all_ended_.release();
      return;
    }
    running_ = next;
    clients_[next]->turn.release();
  }

  Random random_;
  std::uint64_t longest_sleep_;
  std::uint64_t steps_ = 0;
  std::size_t running_ = 0;
  std::vector<std::unique_ptr<Client>> clients_;
  std::exception_ptr failure_;
  std::binary_semaphore all_ended_{0};
};

}  // namespace testing
}  // namespace iqdb
