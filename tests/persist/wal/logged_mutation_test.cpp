// Mutations of a durable index: checked, logged, applied, and taken back if the index rejects them.
#include "iqdb/persist/wal/logged_mutation.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist.hpp"
#include "support/catch.hpp"
#include "support/crash_states.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/faulty_file_system.hpp"
#include "support/raw_log.hpp"

namespace {

using iqdb::FlatIndex;
using iqdb::IndexError;
using iqdb::IndexErrorKind;
using iqdb::PersistErrorKind;
using iqdb_test::ByteVector;
using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::Ids;
using iqdb_test::ids_of;
using iqdb_test::index_of;
using iqdb_test::insert_row;
using iqdb_test::ops_of;
using iqdb_test::require_kind;
using iqdb_test::vector_of;

// FlatIndex without its own checks and upsert. A test may make insert throw.
class PlainIndex {
 public:
  static constexpr std::string_view index_type = "plain";
  explicit PlainIndex(FlatIndex index) : index_(std::move(index)) {}

  void insert(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata) {
    if (on_insert) {
      on_insert();
    }
    index_.insert(std::move(id), vector, std::move(metadata));
  }
  void erase(const iqdb::VectorId& id) { index_.erase(id); }
  [[nodiscard]] std::size_t size() const { return index_.size(); }
  [[nodiscard]] std::size_t dim() const { return index_.dim(); }
  [[nodiscard]] iqdb::DistanceMetric metric() const { return index_.metric(); }
  void save_to(iqdb::Writer& writer) const { index_.save_to(writer); }
  static PlainIndex load_from(iqdb::Reader& reader) { return PlainIndex(FlatIndex::load_from(reader)); }
  [[nodiscard]] const FlatIndex& flat() const { return index_; }

  inline static std::function<void()> on_insert;

 private:
  FlatIndex index_;
};

// The same with checks.
class CheckedIndex : public PlainIndex {
 public:
  static constexpr std::string_view index_type = "checked";
  using PlainIndex::PlainIndex;
  static CheckedIndex load_from(iqdb::Reader& reader) { return CheckedIndex(FlatIndex::load_from(reader)); }
  void check_vector(std::span<const float> vector, const std::optional<iqdb::Metadata>& /*metadata*/) const {
    if (vector.size() != dim()) {
      throw IndexError(IndexErrorKind::dimension_mismatch, "checked");
    }
  }
  void check_insert(const iqdb::VectorId& id, std::span<const float> vector,
                    const std::optional<iqdb::Metadata>& metadata) const {
    check_vector(vector, metadata);
    if (flat().contains(id)) {
      throw IndexError(IndexErrorKind::duplicate, "checked");
    }
  }
  void check_erase(const iqdb::VectorId& id) const {
    if (!flat().contains(id)) {
      throw IndexError(IndexErrorKind::not_found, "checked");
    }
  }
};

// The files of a FlatIndex, without an update of metadata.
class FlatWithoutUpdates : public PlainIndex {
 public:
  static constexpr std::string_view index_type = FlatIndex::index_type;
  using PlainIndex::PlainIndex;
  static FlatWithoutUpdates load_from(iqdb::Reader& reader) { return FlatWithoutUpdates(FlatIndex::load_from(reader)); }
};

struct OnInsert {
  explicit OnInsert(std::function<void()> action) { PlainIndex::on_insert = std::move(action); }
  OnInsert(const OnInsert&) = delete;
  OnInsert& operator=(const OnInsert&) = delete;
  ~OnInsert() { PlainIndex::on_insert = nullptr; }
};

template <class Db>
void upsert_row(Db& db, std::uint64_t id) {
  const std::vector<float> vector = vector_of(id);
  db.upsert(id, std::span<const float>(vector));
}

const std::vector<float> one_component_too_many = {1.0F, 2.0F, 3.0F};

}  // namespace

TEST_CASE("What the index's checks refuse costs neither a byte nor a system call nor a number", "[logged_mutation]") {
  const DurableDirectory directory;
  iqdb_test::FaultyFileSystem system;
  auto db = iqdb::PersistedIndex<CheckedIndex, iqdb_test::FaultyStorage>::open_with(
      CheckedIndex(index_of({1, 2})), directory.config(), iqdb_test::FaultyStorage(system));
  system.plan({});
  const ByteVector before = directory.log_bytes();
  require_kind(IndexErrorKind::duplicate, [&] { insert_row(db, 1); });
  require_kind(IndexErrorKind::dimension_mismatch,
               [&] { db.insert(9, std::span<const float>(one_component_too_many)); });
  require_kind(IndexErrorKind::not_found, [&] { db.erase(9); });
  require_kind(IndexErrorKind::dimension_mismatch,
               [&] { db.upsert(1, std::span<const float>(one_component_too_many)); });
  CHECK(system.calls().empty());
  CHECK(directory.log_bytes() == before);
  CHECK(db.lsn() == 0);
  CHECK(ids_of(db.index().flat()) == Ids{1, 2});
}

TEST_CASE("Metadata that cannot be stored is refused before it is logged also where the index has no checks",
          "[logged_mutation]") {
  const DurableDirectory directory;
  auto db = iqdb::PersistedIndex<PlainIndex>::open_with(PlainIndex(index_of({1})), directory.config());
  const ByteVector before = directory.log_bytes();
  require_kind(IndexErrorKind::invalid_config, [&] { db.insert(2, {1.0F, 2.0F}, {{"k", "\xFF"}}); });
  require_kind(IndexErrorKind::invalid_config, [&] { db.upsert(2, {1.0F, 2.0F}, {{"k", "\xFF"}}); });
  CHECK(directory.log_bytes() == before);
  CHECK(db.lsn() == 0);
}

TEST_CASE("A batch of which the index's checks refuse one is not made at all", "[logged_mutation][batch]") {
  const DurableDirectory directory;
  for (const bool logged : {true, false}) {
    directory.put({});
    auto db = iqdb::PersistedIndex<CheckedIndex>::open_with(
        CheckedIndex(index_of({1, 2})), logged ? directory.config() : directory.config_without_log());
    iqdb::WriteBatch batch;
    batch.erase(1);
    batch.insert(1, std::span<const float>(one_component_too_many));
    try {
      db.apply(batch);
      FAIL("it was applied");
    } catch (const iqdb::BatchError& error) {
      CHECK(error.kind() == IndexErrorKind::dimension_mismatch);
      CHECK(error.position() == 1);
      CHECK(std::string(error.what()).find("mutation 2 of the 2 of the batch, of vector 1: checked") == 0);
    }
    CHECK(ids_of(db.index().flat()) == Ids{1, 2});
    CHECK(db.lsn() == 0);
  }
}

TEST_CASE("A batch may take away what a check would refuse", "[logged_mutation][batch]") {
  const DurableDirectory directory;
  auto db = iqdb::PersistedIndex<CheckedIndex>::open_with(CheckedIndex(index_of({1, 2})), directory.config());
  iqdb::WriteBatch batch;
  batch.erase(2);
  batch.erase(1);
  insert_row(batch, 1);
  insert_row(batch, 3);
  batch.erase(3);
  db.apply(batch);
  CHECK(ids_of(db.index().flat()) == Ids{1});
  CHECK(db.lsn() == 5);
}

TEST_CASE("A batch without checks keeps what stands before the rejected mutation and names that",
          "[logged_mutation][batch]") {
  const DurableDirectory directory;
  auto db = iqdb::PersistedIndex<PlainIndex>::open_with(PlainIndex(index_of({1, 2})), directory.config());
  iqdb::WriteBatch batch;
  insert_row(batch, 3);
  insert_row(batch, 1);
  insert_row(batch, 4);
  try {
    db.apply(batch);
    FAIL("it was applied");
  } catch (const iqdb::BatchError& error) {
    CHECK(error.position() == 1);
  }
  CHECK(ids_of(db.index().flat()) == Ids{1, 2, 3});
  const ByteVector log = directory.log_bytes();
  REQUIRE(ops_of(log) == "ba");
  CHECK(iqdb_test::frames_of(log)[1].body == ByteVector(iqdb_test::abort_body(2, 3)));
}

TEST_CASE("A rejection that need not repeat has its abort synced under every policy", "[logged_mutation]") {
  for (const bool index_error : {true, false}) {
    const DurableDirectory directory;
    iqdb_test::FaultyFileSystem system;
    auto db = iqdb::PersistedIndex<PlainIndex, iqdb_test::FaultyStorage>::open_with(
        PlainIndex(index_of({1})), directory.config(iqdb::FsyncPolicy::never()), iqdb_test::FaultyStorage(system));
    system.plan({});
    const OnInsert scope([&] {
      if (index_error) {
        throw IndexError(IndexErrorKind::resource_limit, "full");
      }
      throw std::bad_alloc();
    });
    CHECK_THROWS(insert_row(db, 2));
    const auto calls = iqdb_test::texts_of(system.calls());
    REQUIRE_FALSE(calls.empty());
    CAPTURE(calls);
    CHECK((calls.back().starts_with("sync data of index.iqdb.wal")) == !index_error);
    CHECK(ops_of(directory.log_bytes()) == "ia");
  }
}

TEST_CASE("An upsert inserts or replaces and is one record", "[logged_mutation][upsert]") {
  const DurableDirectory directory;
  {
    auto db = iqdb::PersistedIndex<PlainIndex>::open_with(PlainIndex(index_of({1, 2})), directory.config());
    upsert_row(db, 1);
    upsert_row(db, 3);
    CHECK(ids_of(db.index().flat()) == Ids{2, 1, 3});
    CHECK(ops_of(directory.log_bytes()) == "uu");
    CHECK(db.lsn() == 2);
  }
  CHECK(ids_of(iqdb::PersistedIndex<PlainIndex>::load(directory.config()).index().flat()) == Ids{2, 1, 3});
}

TEST_CASE("An upsert in a batch replays as it was applied", "[logged_mutation][upsert]") {
  const DurableDirectory directory;
  {
    DurableIndex db = directory.open_with(index_of({1, 2}));
    iqdb::WriteBatch batch;
    const std::vector<float> vector = vector_of(2);
    batch.upsert(2, std::span<const float>(vector));
    batch.erase(1);
    insert_row(batch, 3);
    db.apply(batch);
  }
  const DurableIndex db = directory.load();
  CHECK(db.index().size() == 2);
  CHECK_FALSE(db.index().contains(1));
}

TEST_CASE("An update of metadata is one record without the vector, and replays", "[logged_mutation][metadata]") {
  const DurableDirectory directory;
  const iqdb::Metadata pages = {{"page", 5}};
  {
    DurableIndex db = directory.open_with(index_of({1, 2}));
    db.update_metadata(1, pages);
    CHECK(db.index().metadata(1) == pages);
    CHECK(ops_of(directory.log_bytes()) == "m");
    CHECK(db.lsn() == 1);
    db.update_metadata(1, std::nullopt);
    db.update_metadata(2, pages);
  }
  const DurableIndex db = directory.load();
  CHECK(db.recovery().replayed == 3);
  CHECK(!db.index().metadata(1));
  CHECK(db.index().metadata(2) == pages);
  CHECK(db.index().get(1).vector == vector_of(1));
}

TEST_CASE("An update of metadata in a batch meets what the batch inserted before", "[logged_mutation][metadata]") {
  const DurableDirectory directory;
  const iqdb::Metadata pages = {{"page", 5}};
  {
    DurableIndex db = directory.open_with(index_of({1}));
    iqdb::WriteBatch batch;
    insert_row(batch, 3);
    batch.update_metadata(3, pages);
    batch.update_metadata(1, pages);
    db.apply(batch);
    CHECK(ops_of(directory.log_bytes()) == "b");
  }
  const DurableIndex db = directory.load();
  CHECK(db.index().metadata(3) == pages);
  CHECK(db.index().metadata(1) == pages);
}

TEST_CASE("An update of metadata that is refused costs no record", "[logged_mutation][metadata]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with(index_of({1}));
  const ByteVector before = directory.log_bytes();
  require_kind(IndexErrorKind::not_found, [&] { db.update_metadata(2, {}); });
  require_kind(IndexErrorKind::invalid_config, [&] { db.update_metadata(1, iqdb::Metadata{{"k", "\xFF"}}); });
  iqdb::WriteBatch batch;
  batch.update_metadata(2, {});
  require_kind(IndexErrorKind::not_found, [&] { db.apply(batch); });
  require_kind(IndexErrorKind::invalid_config, [&] { batch.update_metadata(1, iqdb::Metadata{{"k", "\xFF"}}); });
  CHECK(directory.log_bytes() == before);
  CHECK(db.lsn() == 0);
}

TEST_CASE("An update of metadata with the log off is stored by a save", "[logged_mutation][metadata]") {
  const DurableDirectory directory;
  DurableIndex db = DurableIndex::open_with(index_of({1}), directory.config_without_log());
  db.update_metadata(1, iqdb::Metadata{{"page", 5}});
  require_kind(IndexErrorKind::not_found, [&] { db.update_metadata(2, {}); });
  db.save();
  CHECK(DurableIndex::load(directory.config_without_log()).index().metadata(1) == iqdb::Metadata{{"page", 5}});
}

TEST_CASE("A batch with an update of metadata is refused whole where the index has none, before it is logged",
          "[logged_mutation][metadata]") {
  STATIC_REQUIRE(!iqdb::UpdatesMetadata<PlainIndex>);
  STATIC_REQUIRE(!iqdb::UpdatesMetadata<CheckedIndex>);
  const DurableDirectory directory;
  iqdb::WriteBatch batch;
  insert_row(batch, 3);
  batch.update_metadata(3, {});
  const auto refuses = [&](auto db) {
    const ByteVector before = directory.log_bytes();
    require_kind(PersistErrorKind::unsupported, [&] { db.apply(batch); });
    CHECK(directory.log_bytes() == before);
    CHECK(!db.poisoned());
  };
  refuses(iqdb::PersistedIndex<PlainIndex>::open_with(PlainIndex(index_of({1})), directory.config()));
  refuses(iqdb::PersistedIndex<PlainIndex>::load(directory.config()));
}

TEST_CASE("A log with an update of metadata is unsupported where the index has none", "[logged_mutation][metadata]") {
  const DurableDirectory directory;
  {
    DurableIndex db = directory.open_with(index_of({1}));
    db.update_metadata(1, iqdb::Metadata{{"page", 5}});
  }
  const auto before = directory.files();
  require_kind(PersistErrorKind::unsupported,
               [&] { return iqdb::PersistedIndex<FlatWithoutUpdates>::load(directory.config()); });
  CHECK(directory.files() == before);
}

TEST_CASE("An upsert whose insert fails after its erase poisons and a load has the old vector",
          "[logged_mutation][upsert]") {
  const DurableDirectory directory;
  auto db = iqdb::PersistedIndex<PlainIndex>::open_with(PlainIndex(index_of({1, 2})), directory.config());
  const OnInsert scope([] { throw IndexError(IndexErrorKind::resource_limit, "full"); });
  require_kind(IndexErrorKind::resource_limit, [&] { upsert_row(db, 1); });
  CHECK(db.poisoned());
  require_kind(PersistErrorKind::poisoned, [&] { db.erase(2); });
}

TEST_CASE("After a poisoned upsert a load has the old vector", "[logged_mutation][upsert]") {
  const DurableDirectory directory;
  {
    auto db = iqdb::PersistedIndex<PlainIndex>::open_with(PlainIndex(index_of({1, 2})), directory.config());
    const OnInsert scope([] { throw IndexError(IndexErrorKind::resource_limit, "full"); });
    CHECK_THROWS(upsert_row(db, 1));
  }
  CHECK(ids_of(iqdb::PersistedIndex<PlainIndex>::load(directory.config()).index().flat()) == Ids{1, 2});
}

TEST_CASE("An upsert that a load tolerates leaves the old vector though its erase was done",
          "[logged_mutation][upsert]") {
  const DurableDirectory directory;
  iqdb_test::FileSet killed;
  {
    auto db = iqdb::PersistedIndex<PlainIndex>::open_with(PlainIndex(index_of({1, 2})), directory.config());
    upsert_row(db, 1);
    killed = directory.files();  // a log that ends with the upsert, as if a crash had come before its abort
  }
  directory.put(killed);
  const OnInsert scope([] { throw IndexError(IndexErrorKind::invalid_vector, "refused"); });
  const auto db = iqdb::PersistedIndex<PlainIndex>::load(directory.config());
  CHECK(ids_of(db.index().flat()) == Ids{1, 2});
  CHECK(db.recovery().tolerated == 1);
}

TEST_CASE("An upsert that fails before its erase changes nothing and does not poison", "[logged_mutation][upsert]") {
  const DurableDirectory directory;
  auto db = iqdb::PersistedIndex<CheckedIndex>::open_with(CheckedIndex(index_of({1, 2})), directory.config());
  require_kind(IndexErrorKind::dimension_mismatch,
               [&] { db.upsert(1, std::span<const float>(one_component_too_many)); });
  CHECK_FALSE(db.poisoned());
  CHECK(ids_of(db.index().flat()) == Ids{1, 2});
}

TEST_CASE("After index_mut no mutation is logged before a save", "[logged_mutation][unlogged]") {
  for (const bool checkpoint : {true, false}) {
    const DurableDirectory directory;
    DurableIndex db = directory.open_with(index_of({1}));
    const std::vector<float> vector = vector_of(2);
    db.index_mut().insert(2, std::span<const float>(vector));
    const ByteVector before = directory.log_bytes();
    iqdb::WriteBatch batch;
    batch.erase(1);
    require_kind(PersistErrorKind::unlogged_changes, [&] { insert_row(db, 3); });
    require_kind(PersistErrorKind::unlogged_changes, [&] { upsert_row(db, 3); });
    require_kind(PersistErrorKind::unlogged_changes, [&] { db.erase(2); });
    require_kind(PersistErrorKind::unlogged_changes, [&] { db.apply(batch); });
    CHECK(directory.log_bytes() == before);
    CHECK(ids_of(db.index()) == Ids{1, 2});
    checkpoint ? db.checkpoint() : db.save();
    db.erase(2);
    insert_row(db, 3);
    db.close();
    CHECK(iqdb_test::load_in(directory).ids() == Ids{1, 3});
  }
}

TEST_CASE("With the log off index_mut changes what the next save stores", "[logged_mutation][unlogged]") {
  const DurableDirectory directory;
  DurableIndex db = DurableIndex::open_with(index_of({1}), directory.config_without_log());
  db.index_mut().erase(1);
  insert_row(db, 2);
  db.save();
  CHECK(ids_of(DurableIndex::load(directory.config_without_log()).index()) == Ids{2});
}

TEST_CASE("tune passes the index and its result and lets mutations go on", "[logged_mutation][unlogged]") {
  const DurableDirectory directory;
  DurableIndex db = directory.open_with(index_of({1}));
  CHECK(db.tune([](FlatIndex& index) { return index.size(); }) == 1);
  CHECK_NOTHROW(insert_row(db, 2));
}
