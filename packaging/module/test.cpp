// A program that includes nothing of the library and imports it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

import iqdb;

namespace {

// An index of the program's own.
class Numbers {
 public:
  static constexpr std::string_view index_type = "numbers";
  Numbers() = default;

  [[nodiscard]] std::size_t size() const noexcept { return numbers_.size(); }
  [[nodiscard]] std::size_t dim() const noexcept { return 1; }
  [[nodiscard]] iqdb::DistanceMetric metric() const noexcept { return iqdb::DistanceMetric::euclidean; }
  void add(float number) { numbers_.push_back(number); }

  void save_to(iqdb::Writer& writer) const {
    writer.write_le(std::uint64_t{numbers_.size()});
    writer.write_array(numbers_);
  }
  [[nodiscard]] static Numbers load_from(iqdb::Reader& reader) {
    Numbers loaded;
    const auto count = reader.read_le<std::uint64_t>();
    loaded.numbers_ = reader.read_vector<float>(count);
    return loaded;
  }

 private:
  std::vector<float> numbers_;
};
static_assert(iqdb::Persistable<Numbers>);

bool own_index_comes_back() {
  Numbers numbers;
  numbers.add(0.5F);
  iqdb::PersistedIndex<Numbers>::open_with(std::move(numbers), {.path = "numbers.iqdb"}).save();
  return iqdb::PersistedIndex<Numbers>::load({.path = "numbers.iqdb"}).index().size() == 1;
}

bool damage_is_told() {
  std::filesystem::resize_file("numbers.iqdb", std::filesystem::file_size("numbers.iqdb") - 1);
  try {
    (void)iqdb::PersistedIndex<Numbers>::load({.path = "numbers.iqdb"});
  } catch (const iqdb::PersistError& error) {
    return error.kind() == iqdb::PersistErrorKind::checksum_mismatch;
  }
  return false;
}

bool threads_share_an_index() {
  auto db = iqdb::SharedIndex<iqdb::FlatIndex>::load_or_create({.path = "shared.iqdb", .wal_enabled = true},
                                                               iqdb::FlatIndex(2, iqdb::DistanceMetric::cosine));
  iqdb::WriteBatch batch;
  batch.insert(1, {0.0F, 1.0F});
  batch.insert(iqdb::VectorId::from_bytes("two"), {1.0F, 0.0F}, {{"name", "two"}});
  db.apply(batch);
  const std::vector<iqdb::Hit> hits = db.search({1.0F, 0.1F}, {.k = 1});
  std::cout << hits.at(0).id << '\n';
  return std::get<std::string>(hits.at(0).metadata->at("name")) == "two";
}

}  // namespace

int main() {
  for (const char* left : {"numbers.iqdb", "shared.iqdb", "shared.iqdb.wal"}) {
    std::filesystem::remove(left);
  }
  return own_index_comes_back() && damage_is_told() && threads_share_an_index() ? EXIT_SUCCESS : EXIT_FAILURE;
}
