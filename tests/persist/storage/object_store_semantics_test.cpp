#include "support/object_store_semantics.hpp"

#include "iqdb/persist/storage/directory_object_store.hpp"
#include "iqdb/persist/testing/simulated_object_store.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace of_object_store_semantics {

TEST_CASE("ObjectStore: DirectoryObjectStore does what the concept promises", "[object_store_semantics]") {
  const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());
  iqdb::DirectoryObjectStore store(directory.path());
  iqdb_test::check_object_store(store);
  iqdb_test::check_object_uploads(store);
}

TEST_CASE("ObjectStore: SimulatedObjectStore without faults does what the concept promises",
          "[object_store_semantics]") {
  iqdb::testing::SimulatedObjects objects(
      1, {.reply_lost = 0, .request_lost = 0, .delayed = 0, .repeated = 0, .client_dies = 0});
  iqdb::testing::SimulatedObjectStore store(objects);
  iqdb_test::check_object_store(store);
  iqdb_test::check_object_uploads(store);
}

TEST_CASE("ObjectStore: of many that put one key into a DirectoryObjectStore at once one stores",
          "[object_store_semantics]") {
  const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());
  iqdb_test::check_races([&] { return iqdb::DirectoryObjectStore(directory.path()); }, 4, 25);
}

}  // namespace of_object_store_semantics
