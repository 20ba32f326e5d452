// What a server has of its index: it writes it, or it follows what another server writes, until it is told to write.
#pragma once

#include <iqdb/index/flat.hpp>
#include <iqdb/persist/follower.hpp>
#include <iqdb/persist/shared_index.hpp>

#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>

namespace server {

// A request that only the server which writes can answer.
class OnlyFollows : public std::runtime_error {
 public:
  OnlyFollows()
      : std::runtime_error(
            "this server follows another one, and answers searches only; send this to the one that writes, or make "
            "this one write: POST /promote") {}
};

// The index of a server. Any thread may call the members.
template <class Storage>
class Service {
 public:
  using Database = iqdb::SharedIndex<iqdb::FlatIndex, Storage>;
  using Follower = iqdb::Follower<iqdb::FlatIndex, Storage>;

  explicit Service(std::unique_ptr<Database> db) : db_(std::move(db)) {}
  explicit Service(std::unique_ptr<Follower> follower) : follower_(std::move(follower)) {}

  // Returns `action(index)`, where `index` is a Database or a Follower: what both have is what can be asked.
  template <class Action>
  auto read(Action&& action) const {
    const auto [db, follower] = held();
    return db ? action(std::as_const(*db)) : action(std::as_const(*follower));
  }

  // Returns `action(db)`. Throws OnlyFollows.
  template <class Action>
  auto write(Action&& action) const {
    const auto db = held().first;
    if (!db) {
      throw OnlyFollows();
    }
    return action(*db);
  }

  // Makes this server the one that writes. On an object store the other one is displaced, whatever it is doing: it can
  // acknowledge nothing any more. Searches go on meanwhile. Does nothing if this one writes already.
  void promote() {
    const std::lock_guard one_at_a_time(promoting_);
    const auto follower = held().second;
    if (follower) {
      const std::shared_ptr<Database> db(new Database(follower->promote()));
      const std::lock_guard guard(mutex_);
      db_ = db;
      follower_.reset();  // its memory goes when the last search of it has ended
    }
  }

 private:
  [[nodiscard]] std::pair<std::shared_ptr<Database>, std::shared_ptr<Follower>> held() const {
    const std::lock_guard guard(mutex_);
    return {db_, follower_};
  }

  std::mutex promoting_;
  mutable std::mutex mutex_;  // of the two below, of which one is there
  std::shared_ptr<Database> db_;
  std::shared_ptr<Follower> follower_;
};

}  // namespace server
