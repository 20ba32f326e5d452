// Saves an index and loads it again, with every codec that there should be, and checks that the others are refused.
//
//   consumer HAS_ZSTD HAS_LZ4 HAS_ISAL      0 or 1 each: what the build is expected to have
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"

namespace {

using Saved = iqdb::PersistedIndex<iqdb::FlatIndex>;

bool works_with(iqdb::Compression compression) {
  const std::filesystem::path path = "consumer.iqdb";
  std::filesystem::remove(path);

  iqdb::FlatIndex index(2, iqdb::DistanceMetric::euclidean);
  index.insert(1, {0.0F, 1.0F});
  index.insert(2, {1.0F, 0.0F});
  try {
    Saved::open_with(std::move(index), {.path = path, .compression = compression}).save();
  } catch (const iqdb::PersistError& error) {
    if (error.kind() == iqdb::PersistErrorKind::unsupported) {
      return false;
    }
    throw;
  }
  return Saved::load({.path = path}).index().size() == 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    return EXIT_FAILURE;
  }
  const bool zstd = works_with(iqdb::Compression::zstd());
  const bool lz4 = works_with(iqdb::Compression::lz4());
  std::cout << "none " << works_with(iqdb::Compression::none()) << ", zstd " << zstd << ", lz4 " << lz4 << ", isal "
            << IQDB_PERSIST_HAS_ISAL << '\n';
  const bool as_expected = zstd == (argv[1] == std::string("1")) && lz4 == (argv[2] == std::string("1")) &&
                           (IQDB_PERSIST_HAS_ISAL != 0) == (argv[3] == std::string("1"));
  return as_expected && works_with(iqdb::Compression::none()) ? EXIT_SUCCESS : EXIT_FAILURE;
}
