#include "iqdb/persist/storage/object_store.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// What the compiler checks is all there is to test of concepts.
namespace of_object_store {

using iqdb::ObjectBytes;
using iqdb::ObjectStore;
using iqdb::PutOutcome;
using Bytes = std::span<const std::byte>;

struct PutsIfAbsent {
  PutOutcome put_if_absent(std::string_view, Bytes) { return PutOutcome::unknown; }
};

struct SaysYesOrNo {
  bool put_if_absent(std::string_view, Bytes) { return true; }
};

struct Puts {
  void put(std::string_view, Bytes) {}
};

struct Reads {
  std::optional<ObjectBytes> get(std::string_view) { return std::nullopt; }
  std::optional<ObjectBytes> get(std::string_view, std::uint64_t, std::size_t) { return std::nullopt; }
  std::optional<std::uint64_t> head(std::string_view) { return std::nullopt; }
};

struct ReadsWholeObjects {
  std::optional<ObjectBytes> get(std::string_view) { return std::nullopt; }
  std::optional<std::uint64_t> head(std::string_view) { return std::nullopt; }
};

struct Lists {
  std::vector<std::string> list(std::string_view, std::string_view, std::size_t) { return {}; }
};

struct Deletes {
  void remove(std::string_view) {}
};

struct Uploads {
  [[nodiscard]] iqdb::PartLimits part_limits() const { return {}; }
  std::string begin_upload(std::string_view) { return {}; }
  std::optional<std::string> put_part(const iqdb::ObjectUpload&, std::uint32_t, Bytes) { return std::nullopt; }
  iqdb::UploadOutcome complete_upload(const iqdb::ObjectUpload&, std::span<const iqdb::UploadedPart>) {
    return iqdb::UploadOutcome::absent;
  }
  void abort_upload(const iqdb::ObjectUpload&) {}
  std::vector<iqdb::ObjectUpload> list_uploads(std::string_view, const iqdb::ObjectUpload&, std::size_t) { return {}; }
};

// Says only that the object was completed, or not.
struct CompletesOrNot : Uploads {
  bool complete_upload(const iqdb::ObjectUpload&, std::span<const iqdb::UploadedPart>) { return true; }
};

template <class... Parts>
struct With : Parts... {};

static_assert(ObjectStore<With<PutsIfAbsent, Puts, Reads, Lists, Deletes>>);
static_assert(!ObjectStore<With<Puts, Reads, Lists, Deletes>>);
static_assert(!ObjectStore<With<PutsIfAbsent, Reads, Lists, Deletes>>);
static_assert(!ObjectStore<With<PutsIfAbsent, Puts, Lists, Deletes>>);
static_assert(!ObjectStore<With<PutsIfAbsent, Puts, Reads, Deletes>>);
static_assert(!ObjectStore<With<PutsIfAbsent, Puts, Reads, Lists>>);
// A store that cannot say that it does not know, and one without ranges.
static_assert(!ObjectStore<With<SaysYesOrNo, Puts, Reads, Lists, Deletes>>);
static_assert(!ObjectStore<With<PutsIfAbsent, Puts, ReadsWholeObjects, Lists, Deletes>>);

static_assert(iqdb::PutsObjectsIfAbsent<PutsIfAbsent> && !iqdb::PutsObjectsIfAbsent<Puts>);
static_assert(iqdb::PutsObjects<Puts> && !iqdb::PutsObjects<PutsIfAbsent>);
static_assert(iqdb::ReadsObjects<Reads> && !iqdb::ReadsObjects<Lists>);
static_assert(iqdb::ListsObjects<Lists> && !iqdb::ListsObjects<Reads>);
static_assert(iqdb::UploadsObjects<Uploads> && !iqdb::UploadsObjects<CompletesOrNot>);
// A store needs none.
static_assert(!iqdb::UploadsObjects<With<PutsIfAbsent, Puts, Reads, Lists, Deletes>>);
static_assert(iqdb::DeletesObjects<Deletes> && !iqdb::DeletesObjects<Lists>);

}  // namespace of_object_store
