// An index on an object store, as the command line names it: dir:DIRECTORY/NAME or s3://BUCKET/PREFIX/NAME.
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

#include "iqdb/persist/storage/object_address.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "iqdb/persist/wal/object_run.hpp"
#include "iqdb/persist/wal/object_storage.hpp"

namespace iqdb_tool {

/// What the options of the command line say of a store over S3. What is empty is taken from the environment.
struct StoreOptions {
  std::string endpoint = {};
  std::string region = {};
  std::string style = {};  ///< "path" or "host"
};

/// The options of this run, which the command line sets before its command begins.
[[nodiscard]] StoreOptions& store_options() noexcept;

/// What a command may do with a store.
enum class Access {
  reads,   ///< a call that would store or delete something is refused: a command that only looks stores nothing
  writes,  ///< anything
};

/// A store of any kind that this program was built with: an ObjectStore that takes uploads. A copy works on the same objects.
class AnyObjectStore {
 public:
  /// The calls of a store, each as the concept ObjectStore says.
  class Calls {
   public:
    Calls() = default;
    Calls(const Calls&) = delete;
    Calls& operator=(const Calls&) = delete;
    virtual ~Calls() = default;
    [[nodiscard]] virtual std::unique_ptr<Calls> copied() const = 0;
    [[nodiscard]] virtual iqdb::PutOutcome put_if_absent(std::string_view key, std::span<const std::byte> bytes) = 0;
    virtual void put(std::string_view key, std::span<const std::byte> bytes) = 0;
    [[nodiscard]] virtual std::optional<iqdb::ObjectBytes> get(std::string_view key) = 0;
    [[nodiscard]] virtual std::optional<iqdb::ObjectBytes> get(std::string_view key, std::uint64_t offset,
                                                               std::size_t count) = 0;
    [[nodiscard]] virtual std::optional<std::uint64_t> head(std::string_view key) = 0;
    [[nodiscard]] virtual std::vector<std::string> list(std::string_view prefix, std::string_view behind,
                                                        std::size_t most) = 0;
    virtual void remove(std::string_view key) = 0;
    [[nodiscard]] virtual iqdb::PartLimits part_limits() = 0;
    [[nodiscard]] virtual std::string begin_upload(std::string_view key) = 0;
    [[nodiscard]] virtual std::optional<std::string> put_part(const iqdb::ObjectUpload& upload, std::uint32_t number,
                                                              std::span<const std::byte> bytes) = 0;
    [[nodiscard]] virtual iqdb::UploadOutcome complete_upload(const iqdb::ObjectUpload& upload,
                                                              std::span<const iqdb::UploadedPart> parts) = 0;
    virtual void abort_upload(const iqdb::ObjectUpload& upload) = 0;
    [[nodiscard]] virtual std::vector<iqdb::ObjectUpload> list_uploads(std::string_view prefix,
                                                                       const iqdb::ObjectUpload& behind,
                                                                       std::size_t most) = 0;
  };

  AnyObjectStore(std::unique_ptr<Calls> calls, Access access) : calls_(std::move(calls)), access_(access) {}
  AnyObjectStore(const AnyObjectStore& other) : calls_(other.calls_->copied()), access_(other.access_) {}
  AnyObjectStore(AnyObjectStore&&) noexcept = default;
  AnyObjectStore& operator=(const AnyObjectStore&) = delete;
  AnyObjectStore& operator=(AnyObjectStore&&) noexcept = default;
  ~AnyObjectStore() = default;

  [[nodiscard]] Access access() const noexcept { return access_; }

  [[nodiscard]] iqdb::PutOutcome put_if_absent(std::string_view key, std::span<const std::byte> bytes) {
    require_writes();
    return calls_->put_if_absent(key, bytes);
  }
  void put(std::string_view key, std::span<const std::byte> bytes) {
    require_writes();
    calls_->put(key, bytes);
  }
  [[nodiscard]] std::optional<iqdb::ObjectBytes> get(std::string_view key) { return calls_->get(key); }
  [[nodiscard]] std::optional<iqdb::ObjectBytes> get(std::string_view key, std::uint64_t offset, std::size_t count) {
    return calls_->get(key, offset, count);
  }
  [[nodiscard]] std::optional<std::uint64_t> head(std::string_view key) { return calls_->head(key); }
  [[nodiscard]] std::vector<std::string> list(std::string_view prefix, std::string_view behind, std::size_t most) {
    return calls_->list(prefix, behind, most);
  }
  void remove(std::string_view key) {
    require_writes();
    calls_->remove(key);
  }
  [[nodiscard]] iqdb::PartLimits part_limits() { return calls_->part_limits(); }
  [[nodiscard]] std::string begin_upload(std::string_view key) {
    require_writes();
    return calls_->begin_upload(key);
  }
  [[nodiscard]] std::optional<std::string> put_part(const iqdb::ObjectUpload& upload, std::uint32_t number,
                                                    std::span<const std::byte> bytes) {
    require_writes();
    return calls_->put_part(upload, number, bytes);
  }
  [[nodiscard]] iqdb::UploadOutcome complete_upload(const iqdb::ObjectUpload& upload,
                                                    std::span<const iqdb::UploadedPart> parts) {
    require_writes();
    return calls_->complete_upload(upload, parts);
  }
  void abort_upload(const iqdb::ObjectUpload& upload) {
    require_writes();
    calls_->abort_upload(upload);
  }
  [[nodiscard]] std::vector<iqdb::ObjectUpload> list_uploads(std::string_view prefix, const iqdb::ObjectUpload& behind,
                                                             std::size_t most) {
    return calls_->list_uploads(prefix, behind, most);
  }

 private:
  // Throws PersistError read_only for a command that only reads.
  void require_writes() const;

  std::unique_ptr<Calls> calls_;
  Access access_;
};

static_assert(iqdb::ObjectStore<AnyObjectStore> && iqdb::UploadsObjects<AnyObjectStore>);

/// A storage on any store.
using ObjectStorage = iqdb::ObjectStorage<AnyObjectStore>;

/// How a command that looks asks a store: a store over S3 repeats a request by itself, and who waits at a terminal wants to be
/// told.
[[nodiscard]] inline iqdb::ObjectLogOptions how_it_is_asked() { return {.most_attempts = 2}; }

/// An index on an object store.
struct ObjectPlace {
  std::string text;             ///< as it was given, without ".wal"
  iqdb::ObjectAddress address;  ///< the same, taken apart
  AnyObjectStore store;

  /// A put that has no answer is repeated as often as any program does that: to give up leaves it open what is there.
  [[nodiscard]] ObjectStorage storage() const {
    return ObjectStorage(store, store.access() == Access::reads ? how_it_is_asked() : iqdb::ObjectLogOptions());
  }
};

/// The place that `text` names, by the address of an index or that with ".wal" behind it. Asks a store over S3 nothing yet.
/// Throws PersistError invalid_config for an address that is none, or for which the endpoint is missing; unsupported for s3://
/// where this program was built without S3; io if there is no such directory.
[[nodiscard]] ObjectPlace object_place(std::string_view text, Access access);

/// Throws PersistError unsupported if `path` is the address of an index on an object store. `what` says what is for files, and
/// `instead` what to do, both as parts of a sentence.
void require_files(const std::string& path, const std::string& what, const std::string& instead);

/// The log of the index, in memory as a whole. Throws as read_object_run() does; io if there is none; invalid_config if the
/// index has another name in the store than the address says.
[[nodiscard]] iqdb::ObjectRun run_at(ObjectPlace& place);

/// A store over S3, by its calls. Throws as object_place() does.
[[nodiscard]] std::unique_ptr<AnyObjectStore::Calls> s3_calls(const iqdb::ObjectAddress& address,
                                                              const StoreOptions& options);

/// The calls of a store of the type S.
template <iqdb::ObjectStore S>
  requires iqdb::UploadsObjects<S>
class CallsOf final : public AnyObjectStore::Calls {
 public:
  explicit CallsOf(S store) : store_(std::move(store)) {}

  [[nodiscard]] std::unique_ptr<Calls> copied() const override { return std::make_unique<CallsOf>(store_); }
  [[nodiscard]] iqdb::PutOutcome put_if_absent(std::string_view key, std::span<const std::byte> bytes) override {
    return store_.put_if_absent(key, bytes);
  }
  void put(std::string_view key, std::span<const std::byte> bytes) override { store_.put(key, bytes); }
  [[nodiscard]] std::optional<iqdb::ObjectBytes> get(std::string_view key) override { return store_.get(key); }
  [[nodiscard]] std::optional<iqdb::ObjectBytes> get(std::string_view key, std::uint64_t offset,
                                                     std::size_t count) override {
    return store_.get(key, offset, count);
  }
  [[nodiscard]] std::optional<std::uint64_t> head(std::string_view key) override { return store_.head(key); }
  [[nodiscard]] std::vector<std::string> list(std::string_view prefix, std::string_view behind,
                                              std::size_t most) override {
    return store_.list(prefix, behind, most);
  }
  void remove(std::string_view key) override { store_.remove(key); }
  [[nodiscard]] iqdb::PartLimits part_limits() override { return store_.part_limits(); }
  [[nodiscard]] std::string begin_upload(std::string_view key) override { return store_.begin_upload(key); }
  [[nodiscard]] std::optional<std::string> put_part(const iqdb::ObjectUpload& upload, std::uint32_t number,
                                                    std::span<const std::byte> bytes) override {
    return store_.put_part(upload, number, bytes);
  }
  [[nodiscard]] iqdb::UploadOutcome complete_upload(const iqdb::ObjectUpload& upload,
                                                    std::span<const iqdb::UploadedPart> parts) override {
    return store_.complete_upload(upload, parts);
  }
  void abort_upload(const iqdb::ObjectUpload& upload) override { store_.abort_upload(upload); }
  [[nodiscard]] std::vector<iqdb::ObjectUpload> list_uploads(std::string_view prefix, const iqdb::ObjectUpload& behind,
                                                             std::size_t most) override {
    return store_.list_uploads(prefix, behind, most);
  }

 private:
  S store_;
};

}  // namespace iqdb_tool
