// Writes past the page cache: what is not to be tried, and what is not to be tried again.
#include "iqdb/persist/storage/file_storage.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/testing/file_call.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "support/catch.hpp"
#include "support/durable.hpp"
#include "support/expect_error.hpp"
#include "support/sample_index.hpp"

namespace {

using iqdb::testing::Fault;
using iqdb::testing::FileCall;
using iqdb::testing::FileCallRecord;
using iqdb::testing::SimulatedFileSystem;
using iqdb::testing::system_error;
using Storage = iqdb::BasicFileStorage<SimulatedFileSystem>;
using Db = iqdb::PersistedIndex<iqdb::FlatIndex, Storage>;

}  // namespace

TEST_CASE("A direct write that failed is an error and not tried through the page cache", "[direct_io][log]") {
  SimulatedFileSystem machine;
  Db db = Db::open_with(iqdb_test::empty_index(), {.path = "/index.iqdb", .wal_enabled = true}, Storage(machine));
  iqdb_test::insert_row(db, 1);
  machine.plan([writes = 0](const FileCallRecord& call) mutable {
    return Fault{.error = system_error(call.call == FileCall::write && ++writes == 1 ? EIO : 0)};
  });
  iqdb_test::require_kind(iqdb::PersistErrorKind::io, [&] { iqdb_test::insert_row(db, 2); });
  machine.plan({});
  CHECK(iqdb_test::ids_of(db.index()) == iqdb_test::Ids{1});
}

TEST_CASE("A large last piece of a snapshot is not tried past the page cache", "[direct_io][snapshot]") {
  constexpr std::size_t dim = 1024;
  constexpr std::uint64_t vectors = 200;  // 819,200 bytes: a block of 524,288, and a large piece that is none
  iqdb::FlatIndex index(dim, iqdb::DistanceMetric::euclidean);
  iqdb_test::Random random(vectors);
  for (std::uint64_t id = 0; id < vectors; ++id) {
    index.insert(id, std::span<const float>(random.vector(dim)));
  }
  SimulatedFileSystem machine;
  Db db = Db::open_with(std::move(index), {.path = "/index.iqdb", .buffer_bytes = 65536, .helper_threads = 0},
                        Storage(machine));
  std::size_t direct_writes = 0;
  machine.plan([&, direct = false](const FileCallRecord& call) mutable {
    if (call.call == FileCall::set_direct) {
      direct = !direct;
    }
    if (call.call == FileCall::write && direct) {
      ++direct_writes;
      CHECK(call.bytes % iqdb::direct_block_bytes == 0);
    }
    return Fault{};
  });
  db.save();
  machine.plan({});
  CHECK(direct_writes == 1);
}
