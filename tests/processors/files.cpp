// Files that one processor writes and another one reads.
//
//   processor_files write DIRECTORY   writes snapshots, and logs beside them
//   processor_files read DIRECTORY    exits with 0 if they hold, bit by bit, what this processor would have written
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index/core.hpp"
#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/sample_index.hpp"

namespace {

using iqdb::Compression;
using iqdb::FlatIndex;

constexpr std::size_t dim = 17;
constexpr std::uint64_t rows = 200;

// Components whose bits a copy as a number may change.
constexpr std::array<std::uint32_t, 6> odd_floats = {0x7FA00001, 0xFFA00002, 0x7FC00003,
                                                     0xFFFFFFFF, 0x00000001, 0x80000000};
constexpr std::uint64_t signalling_double = 0x7FF4000000000005;

// The row of this number, given to `take` without a copy of its numbers.
template <class Take>
void give_row(std::uint64_t number, Take&& take) {
  iqdb_test::Random random(number + 1);
  std::vector<float> vector = random.vector(dim);
  std::memcpy(&vector[static_cast<std::size_t>(number % dim)], &odd_floats.at(static_cast<std::size_t>(number % 6)),
              sizeof(float));
  std::optional<iqdb::Metadata> metadata = iqdb_test::sample_metadata(number, random);
  if (metadata) {
    iqdb::Value& value = metadata->try_emplace("odd", 0.0).first->second;
    std::memcpy(std::get_if<double>(&value), &signalling_double, sizeof(double));
  }
  take(iqdb_test::sample_id(number), std::span<const float>(vector), std::move(metadata));
}

// What a log holds after the snapshot: mutations of each kind. `batch` is called with those that are one record.
template <class Target, class InBatch>
void mutate(Target& target, InBatch&& in_batch) {
  const auto insert = [](auto& into, std::uint64_t number) {
    give_row(number,
             [&](auto id, auto vector, auto metadata) { into.insert(std::move(id), vector, std::move(metadata)); });
  };
  insert(target, rows);
  insert(target, rows + 1);
  target.erase(iqdb_test::sample_id(3));
  give_row(rows + 2, [&](const auto& /*id*/, auto vector, auto metadata) {
    target.upsert(iqdb_test::sample_id(4), vector, std::move(metadata));
  });
  in_batch([&](auto& batch) {
    insert(batch, rows + 3);
    batch.erase(iqdb_test::sample_id(5));
    insert(batch, rows + 4);
  });
}

// The index as it is in the snapshot.
template <class I>
I first_index() {
  I index(dim, iqdb::DistanceMetric::euclidean);
  for (std::uint64_t number = 0; number < rows; ++number) {
    give_row(number,
             [&](auto id, auto vector, auto metadata) { index.insert(std::move(id), vector, std::move(metadata)); });
  }
  return index;
}

template <class I>
void write(const std::filesystem::path& path, Compression compression) {
  auto db = iqdb::PersistedIndex<I>::open_with(first_index<I>(),
                                               {.path = path, .wal_enabled = true, .compression = compression});
  mutate(db, [&](auto&& fill) {
    iqdb::WriteBatch batch;
    fill(batch);
    db.apply(batch);
  });
  db.close();
}

template <class I>
std::vector<iqdb_test::SampleRow> rows_in(const I& index) {
  std::vector<iqdb_test::SampleRow> all;
  index.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& metadata) {
    all.push_back({id, {vector.begin(), vector.end()}, iqdb::copied(metadata)});
  });
  return all;
}

template <class I>
bool holds_the_same(const std::filesystem::path& path) {
  I expected = first_index<I>();
  mutate(expected, [&](auto&& fill) { fill(expected); });
  const auto db = iqdb::PersistedIndex<I>::load({.path = path, .wal_enabled = true, .read_only = true});
  const bool same = std::ranges::equal(rows_in(db.index()), rows_in(expected), iqdb_test::same_row);
  if (!same) {
    std::cout << path.string() << " holds other rows than this processor would have written\n";
  }
  return same;
}

struct File {
  std::string_view name;
  Compression compression;
};

// Whether `each` is true of all files that this program is built for.
template <class Each>
bool of_all(Each&& each) {
  bool all = each(File{"none.iqdb", Compression::none()});
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    all = each(File{"zstd.iqdb", Compression::zstd()}) && all;
  }
  if (IQDB_PERSIST_HAS_LZ4 != 0) {
    all = each(File{"lz4.iqdb", Compression::lz4()}) && all;
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> arguments(argv, argv + argc);
  if (arguments.size() != 3 || (arguments[1] != "write" && arguments[1] != "read")) {
    std::cerr << "usage: processor_files write|read DIRECTORY\n";
    return 2;
  }
  const std::filesystem::path directory = arguments[2];
  try {
    if (arguments[1] == "write") {
      std::filesystem::create_directories(directory);
      write<iqdb::CoreIndex>(directory / "core.iqdb", Compression::none());
      of_all([&](const File& file) {
        write<FlatIndex>(directory / file.name, file.compression);
        return true;
      });
      return 0;
    }
    const bool core = holds_the_same<iqdb::CoreIndex>(directory / "core.iqdb");
    return of_all([&](const File& file) { return holds_the_same<FlatIndex>(directory / file.name); }) && core ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
