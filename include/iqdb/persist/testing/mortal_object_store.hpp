// A process's way to a simulated object store, which ends with the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/testing/clients_in_turn.hpp"
#include "iqdb/persist/testing/simulated_object_store.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/object_format.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// One process's store, and all its copies: once it has died, none of them asks anything.
class MortalObjectStore {
  struct Shared {
    bool is_dead = false;
    std::string last_fence = {};
  };

  template <class Call>
  decltype(auto) alive(Call&& call) {
    if (shared_->is_dead) {
      throw ClientDied();
    }
    try {
      return std::forward<Call>(call)();
    } catch (const ClientDied&) {
      shared_->is_dead = true;
      throw;
    }
  }

 public:
  explicit MortalObjectStore(SimulatedObjectStore store)
      : store_(std::move(store)), shared_(std::make_shared<Shared>()) {}

  PutOutcome put_if_absent(std::string_view key, std::span<const std::byte> bytes) {
    if (bytes.size() == log_object_header_bytes) {
      shared_->last_fence = key;  // nothing else in a log is as small
    }
    return alive([&] { return store_.put_if_absent(key, bytes); });
  }

  /// The key of the fence that was tried last.
  [[nodiscard]] const std::string& last_fence() const noexcept { return shared_->last_fence; }

  void put(std::string_view key, std::span<const std::byte> bytes) {
    alive([&] { store_.put(key, bytes); });
  }
  [[nodiscard]] std::optional<ObjectBytes> get(std::string_view key) {
    return alive([&] { return store_.get(key); });
  }
  [[nodiscard]] std::optional<ObjectBytes> get(std::string_view key, std::uint64_t offset, std::size_t count) {
    return alive([&] { return store_.get(key, offset, count); });
  }
  [[nodiscard]] std::optional<std::uint64_t> head(std::string_view key) {
    return alive([&] { return store_.head(key); });
  }
  [[nodiscard]] std::vector<std::string> list(std::string_view prefix, std::string_view behind, std::size_t most) {
    return alive([&] { return store_.list(prefix, behind, most); });
  }
  void remove(std::string_view key) {
    alive([&] { store_.remove(key); });
  }
  [[nodiscard]] PartLimits part_limits() const noexcept { return store_.part_limits(); }
  [[nodiscard]] std::string begin_upload(std::string_view key) {
    return alive([&] { return store_.begin_upload(key); });
  }
  [[nodiscard]] std::optional<std::string> put_part(const ObjectUpload& upload, std::uint32_t number,
                                                    std::span<const std::byte> bytes) {
    return alive([&] { return store_.put_part(upload, number, bytes); });
  }
  [[nodiscard]] UploadOutcome complete_upload(const ObjectUpload& upload, std::span<const UploadedPart> parts) {
    return alive([&] { return store_.complete_upload(upload, parts); });
  }
  void abort_upload(const ObjectUpload& upload) {
    alive([&] { store_.abort_upload(upload); });
  }
  [[nodiscard]] std::vector<ObjectUpload> list_uploads(std::string_view prefix, const ObjectUpload& upload,
                                                       std::size_t most) {
    return alive([&] { return store_.list_uploads(prefix, upload, most); });
  }

 private:
  SimulatedObjectStore store_;
  std::shared_ptr<Shared> shared_;
};

static_assert(ObjectStore<MortalObjectStore> && UploadsObjects<MortalObjectStore>);

}  // namespace testing
}  // namespace iqdb
