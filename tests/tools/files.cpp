// Makes the files that the tests of the program iqdb look at, and writes an index while it looks.
//
//   files samples DIRECTORY          an index of each type that this build has, and the files of their libraries
//   files write PATH                 an index of the type flat; then does what standard input says, a word a line, and
//                                    answers each line when it is done: insert ID, erase ID, twice ID, batch FIRST COUNT,
//                                    named TEXT, values (a vector 1 with metadata of each kind), save, checkpoint, close.
//                                    PATH may be an address, dir:DIRECTORY/NAME or s3://…: it is then taken over
//   files large PATH MEBIBYTES       an index of the type flat whose snapshot is about so large
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/core.hpp"
#include "iqdb/index/flat.hpp"
#ifdef TEST_HAS_HNSWLIB
#include "iqdb/index/hnswlib.hpp"
#endif
#ifdef TEST_HAS_FAISS
#include "iqdb/index/faiss.hpp"
#endif
#ifdef TEST_HAS_USEARCH
#include "iqdb/index/usearch.hpp"
#endif
#include "iqdb/persist.hpp"
#include "iqdb/persist/object_storage.hpp"
#include "iqdb/persist/storage/directory_object_store.hpp"
#include "iqdb/persist/storage/object_address.hpp"
#ifdef TEST_HAS_S3
#include "iqdb/persist/storage/s3/environment.hpp"
#include "iqdb/persist/storage/s3_object_store.hpp"
#endif

namespace {

namespace fs = std::filesystem;

constexpr std::size_t sample_dim = 4;

std::vector<float> vector_of(std::uint64_t id, std::size_t dim) {
  std::mt19937_64 random(id);
  std::vector<float> vector(dim);
  for (float& component : vector) {
    component = std::uniform_real_distribution<float>(0.1F, 1.0F)(random);
  }
  return vector;
}

// Saves an index of twenty vectors, with a log of one more that a killed process would leave.
template <class I>
void sample(const fs::path& path, I index, iqdb::Compression compression = iqdb::Compression::none()) {
  using Database = iqdb::PersistedIndex<I>;
  const std::size_t dim = index.dim();
  for (std::uint64_t id = 0; id < 20; ++id) {
    index.insert(id, vector_of(id, dim));
  }
  Database db = Database::open_with(std::move(index), {.path = path, .wal_enabled = true, .compression = compression});
  db.insert(100, vector_of(100, dim));
  db.close();
}

int make_samples(const fs::path& directory) {
  using iqdb::DistanceMetric;
  sample(directory / "flat.iqdb", iqdb::FlatIndex(sample_dim, DistanceMetric::euclidean));
#if IQDB_PERSIST_HAS_ZSTD
  sample(directory / "flat_zstd.iqdb", iqdb::FlatIndex(sample_dim, DistanceMetric::cosine), iqdb::Compression::zstd());
#endif
#if IQDB_PERSIST_HAS_LZ4
  sample(directory / "flat_lz4.iqdb", iqdb::FlatIndex(sample_dim, DistanceMetric::cosine), iqdb::Compression::lz4());
#endif
#ifdef TEST_HAS_HNSWLIB
  iqdb::HnswIndex hnsw(sample_dim, DistanceMetric::euclidean);
  hnsw.insert(1, vector_of(1, sample_dim));
  hnsw.insert(2, vector_of(2, sample_dim));
  iqdb::hnswlib_export(hnsw, directory / "hnswlib.bin");
  sample(directory / "hnsw.iqdb", iqdb::HnswIndex(sample_dim, DistanceMetric::euclidean));
#endif
#ifdef TEST_HAS_FAISS
  auto faiss = iqdb::FaissIndex::flat(sample_dim, DistanceMetric::euclidean);
  faiss.insert(1, vector_of(1, sample_dim));
  iqdb::faiss_export(faiss, directory / "faiss.bin");
  sample(directory / "faiss.iqdb", iqdb::FaissIndex::hnsw(sample_dim, DistanceMetric::euclidean));
#endif
#ifdef TEST_HAS_USEARCH
  iqdb::UsearchIndex usearch(sample_dim, DistanceMetric::cosine);
  usearch.insert(1, vector_of(1, sample_dim));
  iqdb::usearch_export(usearch, directory / "usearch.bin");
  sample(directory / "usearch.iqdb", iqdb::UsearchIndex(sample_dim, DistanceMetric::cosine));
#endif
  return 0;
}

using Database = iqdb::PersistedIndex<iqdb::FlatIndex>;

template <class Writer>
void obey(Writer& db, std::istringstream& line) {
  std::string word;
  std::uint64_t id = 0;
  line >> word;
  if (word == "insert" && line >> id) {
    db.insert(id, vector_of(id, sample_dim));
  } else if (word == "erase" && line >> id) {
    db.erase(id);
  } else if (word == "named") {
    std::string text;
    line >> text;
    db.insert(iqdb::VectorId::from_bytes(text), vector_of(7, sample_dim), iqdb::Metadata{{"name", text}});
  } else if (word == "values") {
    db.insert(1, vector_of(1, sample_dim),
              iqdb::Metadata{{"text", iqdb::make_value("7")},
                             {"count", iqdb::make_value(7)},
                             {"share", iqdb::make_value(0.5)},
                             {"good", iqdb::make_value(true)},
                             {"none", iqdb::Null{}}});
  } else if (word == "twice" && line >> id) {
    // The second one is rejected when the first one is applied: an abort stands behind the record.
    iqdb::WriteBatch batch;
    batch.insert(id, vector_of(id, sample_dim));
    batch.insert(id, vector_of(id, sample_dim));
    try {
      db.apply(batch);
    } catch (const std::exception&) {
    }
  } else if (std::uint64_t count = 0; word == "batch" && line >> id >> count) {
    iqdb::WriteBatch batch;
    for (std::uint64_t at = 0; at < count; ++at) {
      batch.insert(id + at, vector_of(id + at, sample_dim));
    }
    db.apply(batch);
  } else if (word == "save") {
    db.save();
  } else if (word == "checkpoint") {
    db.checkpoint();
  } else if (word == "close") {
    db.close();
  } else {
    throw std::runtime_error("what is \"" + line.str() + "\"?");
  }
}

template <class Writer>
int write(Writer db) {
  std::cout << "ready" << std::endl;
  for (std::string text; std::getline(std::cin, text);) {
    std::istringstream line(text);
    obey(db, line);
    std::cout << "done " << text << std::endl;
  }
  return 0;
}

iqdb::PersistConfig settings(const fs::path& path) {
  return {.path = path, .wal_enabled = true, .checkpoint = iqdb::CheckpointPolicy::manual()};
}

template <class Store>
int write_on(const Store& store, const std::string& name, std::size_t older_states) {
  using Storage = iqdb::ObjectStorage<Store>;
  iqdb::PersistConfig config = settings(name);
  config.take_over = true;
  config.history = iqdb::HistoryPolicy::keep_last(older_states);
  return write(iqdb::PersistedIndex<iqdb::FlatIndex, Storage>::load_or_create(
      config, iqdb::FlatIndex(sample_dim, iqdb::DistanceMetric::euclidean), Storage(store)));
}

int write(const std::string& path, std::size_t older_states) {
  if (iqdb::is_object_address(path)) {
    const iqdb::ObjectAddress address = iqdb::parse_object_address(path);
#ifdef TEST_HAS_S3
    if (address.kind == iqdb::ObjectAddress::Kind::s3) {
      return write_on(iqdb::S3ObjectStore(iqdb::s3_config_of_environment(address.place, address.prefix)), address.name,
                      older_states);
    }
#endif
    return write_on(iqdb::DirectoryObjectStore(address.place), address.name, older_states);
  }
  iqdb::PersistConfig config = settings(path);
  config.history = iqdb::HistoryPolicy::keep_last(older_states);
  return write(Database::load_or_create(config, iqdb::FlatIndex(sample_dim, iqdb::DistanceMetric::euclidean)));
}

int make_large(const fs::path& path, std::size_t mebibytes) {
  constexpr std::size_t dim = 1024;
  iqdb::FlatIndex index(dim, iqdb::DistanceMetric::euclidean);
  const std::vector<float> vector = vector_of(1, dim);
  for (std::uint64_t id = 0; id < mebibytes * 256; ++id) {
    index.insert(id, vector);
  }
  Database::open_with(std::move(index), {.path = path}).save();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    if (words.size() == 2 && words[0] == "samples") {
      return make_samples(words[1]);
    }
    if (words.size() == 3 && words[0] == "write") {
      return write(words[1], std::stoul(words[2]));
    }
    if (words.size() == 3 && words[0] == "large") {
      return make_large(words[1], std::stoul(words[2]));
    }
  } catch (const std::exception& error) {
    std::cerr << "files: " << error.what() << "\n";
    return 1;
  }
  std::cerr << "usage: files samples DIRECTORY | files write PATH OLDER_STATES | files large PATH MEBIBYTES\n";
  return 2;
}
