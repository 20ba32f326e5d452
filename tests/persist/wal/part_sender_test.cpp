#include "iqdb/persist/wal/part_sender.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/wal/object_requests.hpp"
#include "support/catch.hpp"
#include "support/child_process.hpp"
#include "support/expect_error.hpp"
#include "support/object_logs.hpp"

namespace of_part_sender {

using iqdb::ObjectBytes;
using iqdb::PersistErrorKind;
using iqdb_test::hasty_options;
using iqdb_test::require_kind;
using iqdb_test::ScriptedStore;
using iqdb_test::WayToStore;

// A store that several threads use, each by a copy; parts wait at a gate as long as it is shut.
class GuardedStore : public WayToStore {
 public:
  struct Shared {
    explicit Shared(ScriptedStore& store) : way(store) {}

    WayToStore way;
    std::mutex mutex;
    std::condition_variable moved;
    bool is_shut = false;
    unsigned under_way = 0;
    unsigned most_under_way = 0;
    std::function<void(std::uint32_t number)> before_part = [](std::uint32_t) {};
  };

  GuardedStore(ScriptedStore& store, std::shared_ptr<Shared> shared) : WayToStore(store), shared_(std::move(shared)) {}

  std::optional<std::string> put_part(const iqdb::ObjectUpload& upload, std::uint32_t number,
                                      std::span<const std::byte> bytes) {
    std::unique_lock guard(shared_->mutex);
    ++shared_->under_way;
    shared_->most_under_way = std::max(shared_->most_under_way, shared_->under_way);
    shared_->moved.notify_all();
    shared_->moved.wait(guard, [this] { return !shared_->is_shut; });
    --shared_->under_way;
    shared_->before_part(number);
    return shared_->way.put_part(upload, number, bytes);
  }

 private:
  std::shared_ptr<Shared> shared_;
};

struct Setting {
  ScriptedStore store = {};
  std::shared_ptr<GuardedStore::Shared> shared = std::make_shared<GuardedStore::Shared>(store);

  [[nodiscard]] iqdb::PartSender<GuardedStore> sender(unsigned threads, std::uint64_t most_bytes) {
    iqdb::ObjectLogOptions options = hasty_options();
    options.parts_in_flight = threads;
    return iqdb::PartSender<GuardedStore>(GuardedStore(store, shared), "k", options, most_bytes);
  }

  void shut(bool is_shut) {
    const std::lock_guard guard(shared->mutex);
    shared->is_shut = is_shut;
    shared->moved.notify_all();
  }
};

[[nodiscard]] ObjectBytes bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

TEST_CASE("PartSender: parts are sent at the same time, and stand in the order of their numbers", "[part_sender]") {
  Setting setting;
  setting.shut(true);
  auto sender = setting.sender(3, 100);
  for (std::uint32_t number = 2; number <= 6; ++number) {
    sender.send(number, bytes_of(std::to_string(number)));
  }
  {
    std::unique_lock guard(setting.shared->mutex);
    setting.shared->moved.wait(guard, [&] { return setting.shared->under_way == 3; });
  }
  setting.shut(false);
  sender.complete(bytes_of("1"), 6);
  CHECK(setting.store.objects.at("k") == bytes_of("123456"));
  CHECK(setting.shared->most_under_way == 3);
}

TEST_CASE("PartSender: holds no more bytes than it may", "[part_sender]") {
  Setting setting;
  setting.shut(true);
  auto sender = setting.sender(2, 10);
  sender.wait_for_room(100);  // one part may always be held
  sender.send(2, bytes_of("12345"));
  sender.wait_for_room(5);
  sender.send(3, bytes_of("12345"));
  std::atomic<bool> has_room = false;
  std::thread waiting([&] {
    sender.wait_for_room(1);
    has_room = true;
  });
  {
    std::unique_lock guard(setting.shared->mutex);
    setting.shared->moved.wait(guard, [&] { return setting.shared->under_way == 2; });
  }
  CHECK_FALSE(has_room);
  setting.shut(false);
  waiting.join();
  sender.complete(bytes_of("x"), 11);
  CHECK(setting.store.objects.at("k").size() == 11);
}

TEST_CASE("PartSender: what a thread could not send fails the caller, and the upload is aborted", "[part_sender]") {
  Setting setting;
  setting.shared->before_part = [](std::uint32_t number) {
    if (number == 3) {
      iqdb::throw_persist_error(PersistErrorKind::unsupported, "no such part");
    }
  };
  {
    auto sender = setting.sender(2, 100);
    for (std::uint32_t number = 2; number <= 4; ++number) {
      try {
        sender.send(number, bytes_of("x"));
      } catch (const iqdb::PersistError& error) {
        CHECK(error.kind() == PersistErrorKind::unsupported);
      }
    }
    require_kind(PersistErrorKind::unsupported, [&] { sender.complete(bytes_of("x"), 4); });
  }
  CHECK(setting.store.objects.empty());
  CHECK(setting.store.uploads.empty());
}

TEST_CASE("PartSender: one that is given up waits for no further attempt", "[part_sender]") {
  Setting setting;
  std::atomic<unsigned> attempts = 0;
  setting.shared->before_part = [&](std::uint32_t) {
    ++attempts;
    iqdb::throw_persist_error(PersistErrorKind::io, "the store does not answer");
  };
  setting.shut(true);
  std::thread opens;
  {
    iqdb::ObjectLogOptions options = hasty_options(1000000);
    options.parts_in_flight = 1;
    iqdb::PartSender<GuardedStore> sender(GuardedStore(setting.store, setting.shared), "k", options, 100);
    sender.send(2, bytes_of("x"));
    sender.send(3, bytes_of("x"));
    {
      std::unique_lock guard(setting.shared->mutex);
      setting.shared->moved.wait(guard, [&] { return setting.shared->under_way == 1; });
    }
    opens = std::thread([&] {  // while the sender is given up
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      setting.shut(false);
    });
  }
  opens.join();
  CHECK(attempts < 1000000);
  CHECK(setting.store.uploads.empty());
}

TEST_CASE("PartSender: in the child of a fork its end does nothing", "[part_sender]") {
  Setting setting;
  iqdb::ObjectLogOptions options = hasty_options();
  options.parts_in_flight = 2;
  auto sender =
      std::make_unique<iqdb::PartSender<GuardedStore>>(GuardedStore(setting.store, setting.shared), "k", options, 100);
  sender->send(2, bytes_of("2"));
  iqdb_test::ChildProcess child([&] {
    sender.reset();
    return setting.store.uploads.size() == 1 ? 0 : 1;
  });
  CHECK(child.wait() == 0);
  sender->complete(bytes_of("1"), 2);
  CHECK(setting.store.objects.at("k") == bytes_of("12"));
}

}  // namespace of_part_sender
