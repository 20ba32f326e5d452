// SharedIndex: readers of an index that may be read while it is changed.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string_view>
#include <utility>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/memory_storage.hpp"
#include "support/shared_calls.hpp"

namespace {

using iqdb_test::Callers;
using iqdb_test::MemoryStorage;
using iqdb_test::wait_until;
using iqdb_test::waiting_readers;
using iqdb_test::waiting_writers;

// An index that guards its content by itself. `between` is called in an erase, when the vector is gone.
class Guarded {
 public:
  static constexpr std::string_view index_type = "guarded";
  static constexpr bool concurrent_reads = true;

  explicit Guarded(iqdb::FlatIndex content) : content_(std::move(content)) {}
  Guarded(Guarded&& other) noexcept : content_(std::move(other.content_)) {}
  Guarded& operator=(Guarded&& other) noexcept {
    content_ = std::move(other.content_);
    return *this;
  }
  ~Guarded() = default;

  void insert(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata) {
    const std::unique_lock guard(*mutex_);
    content_.insert(std::move(id), vector, std::move(metadata));
  }
  void erase(const iqdb::VectorId& id) {
    {
      const std::unique_lock guard(*mutex_);
      content_.erase(id);
    }
    if (between) {
      between();
    }
  }
  [[nodiscard]] std::size_t size() const {
    const std::shared_lock guard(*mutex_);
    return content_.size();
  }
  [[nodiscard]] std::size_t dim() const { return content_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const { return content_.metric(); }
  void save_to(iqdb::Writer& writer) const { content_.save_to(writer); }
  [[nodiscard]] static Guarded load_from(iqdb::Reader& reader) { return Guarded(iqdb::FlatIndex::load_from(reader)); }

  static inline std::function<void()> between;

 private:
  iqdb::FlatIndex content_;
  std::unique_ptr<std::shared_mutex> mutex_ = std::make_unique<std::shared_mutex>();
};

class GuardedWithUpsert : public Guarded {
 public:
  using Guarded::Guarded;
  void upsert(const iqdb::VectorId& id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata) {
    erase(id);
    insert(id, vector, std::move(metadata));
  }
  [[nodiscard]] static GuardedWithUpsert load_from(iqdb::Reader& reader) {
    return GuardedWithUpsert(iqdb::FlatIndex::load_from(reader));
  }
};

static_assert(iqdb::ConcurrentReads<Guarded> && !iqdb::Upsertable<Guarded>);
static_assert(iqdb::ConcurrentReads<GuardedWithUpsert> && iqdb::Upsertable<GuardedWithUpsert>);
static_assert(!iqdb::ConcurrentReads<iqdb::FlatIndex>);

template <class I>
using GuardedDb = iqdb::SharedIndex<I, MemoryStorage>;

template <class I>
GuardedDb<I> guarded() {
  return GuardedDb<I>::open_with(I(iqdb_test::index_of({1})), {.path = "index", .wal_enabled = true});
}

}  // namespace

TEST_CASE("A mutation is applied while a reader looks at an index that allows it", "[shared_index][concurrent_reads]") {
  auto db = guarded<Guarded>();
  Callers callers;
  iqdb_test::Gate gate;
  gate.close();
  std::size_t seen = 0;
  callers.begin([&] {
    db.read([&](const Guarded& index) {
      gate.pass();
      seen = index.size();
    });
  });
  gate.wait_until_held();
  std::atomic<bool> inserted = false;
  callers.begin([&] {
    iqdb_test::insert_row(db, 2);
    inserted = true;
  });
  wait_until([&] { return inserted || waiting_writers(db) > 0; });
  CHECK(inserted);
  gate.open();
  static_cast<void>(callers.exceptions());
  CHECK(seen == 2);
}

TEST_CASE("A tuning waits for the readers of an index that is read beside mutations",
          "[shared_index][concurrent_reads]") {
  auto db = guarded<Guarded>();
  Callers callers;
  iqdb_test::Gate gate;
  gate.close();
  callers.begin([&] { db.read([&](const Guarded& /*index*/) { gate.pass(); }); });
  gate.wait_until_held();
  std::atomic<bool> tuned = false;
  callers.begin([&] { db.tune([&](Guarded& /*index*/) { tuned = true; }); });
  wait_until([&] { return tuned || waiting_writers(db) > 0; });
  CHECK_FALSE(tuned);
  gate.open();
  static_cast<void>(callers.exceptions());
  CHECK(tuned);
}

namespace {

// How many vectors a reader finds that comes in the middle of `mutate(db)`, when a vector is gone.
template <class I, class Mutate>
std::size_t read_in_the_middle(Mutate mutate) {
  auto db = guarded<I>();
  std::size_t seen = 0;
  std::atomic<bool> done = false;
  Callers callers;
  I::between = [&] {
    callers.begin([&] {
      seen = db.read([&](const I& index) { return index.size(); });
      done = true;
    });
    wait_until([&] { return done || waiting_readers(db) > 0; });
  };
  mutate(db);
  static_cast<void>(callers.exceptions());
  I::between = nullptr;
  return seen;
}

}  // namespace

TEST_CASE("A reader never comes between the two halves of an upsert", "[shared_index][concurrent_reads]") {
  const auto upsert = [](auto& db) { db.upsert(1, iqdb_test::vector_of(7)); };
  const auto batch = [](auto& db) {
    iqdb::WriteBatch mutations;
    mutations.insert(2, iqdb_test::vector_of(2));
    mutations.upsert(1, iqdb_test::vector_of(7));
    db.apply(mutations);
  };
  CHECK(read_in_the_middle<Guarded>(upsert) == 1);
  CHECK(read_in_the_middle<Guarded>(batch) == 2);
}

TEST_CASE("A reader meets what an index with an upsert of its own lets it meet", "[shared_index][concurrent_reads]") {
  CHECK(read_in_the_middle<GuardedWithUpsert>([](auto& db) { db.upsert(1, iqdb_test::vector_of(7)); }) == 0);
  CHECK(read_in_the_middle<Guarded>([](auto& db) { db.erase(1); }) == 0);
}
