// hnswlib: saveIndex and its loading, and the fsync that saveIndex lacks.
//
// Its index is smaller than the others', since building one takes minutes: compare bytes per second. It is built
// carelessly, which changes which neighbours are in it but not how its file is laid out.
#include <hnswlib/hnswlib.h>

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "benchmarks.hpp"
#include "snapshots.hpp"
#include "workload.hpp"

namespace iqdb_benchmarks {

namespace {

using Graph = hnswlib::HierarchicalNSW<float>;

// The library only refers to its space, which must therefore outlive each index.
hnswlib::L2Space& space() {
  static hnswlib::L2Space euclidean(dimension);
  return euclidean;
}

struct Hnswlib {
  Options options;
  std::shared_ptr<std::unique_ptr<Graph>> index = std::make_shared<std::unique_ptr<Graph>>();
  std::shared_ptr<std::filesystem::path> saved = std::make_shared<std::filesystem::path>();

  void prepare() const {
    if (!*index) {
      constexpr std::size_t neighbours = 16;
      auto made =
          std::make_unique<Graph>(&space(), static_cast<std::size_t>(options.hnswlib_vectors), neighbours, neighbours);
      std::vector<float> components(static_cast<std::size_t>(options.hnswlib_vectors) * dimension);
      fill_with_vectors(components);
      for (std::size_t each = 0; each < options.hnswlib_vectors; ++each) {
        made->addPoint(components.data() + each * dimension, each);
      }
      *index = std::move(made);
    }
  }
  [[nodiscard]] std::uint64_t memory() const { return 4 * options.hnswlib_vectors * vector_bytes; }

  std::uint64_t save(const std::filesystem::path& path) const {
    (*index)->saveIndex(path.string());
    sync_file(path);
    // A failed write is not noticed by it.
    std::uint64_t expected = (*index)->cur_element_count * ((*index)->size_data_per_element_ + sizeof(unsigned));
    for (std::size_t each = 0; each < (*index)->cur_element_count; ++each) {
      expected += static_cast<std::size_t>((*index)->element_levels_[each]) * (*index)->size_links_per_element_;
    }
    const std::uint64_t bytes = std::filesystem::file_size(path);
    if (bytes < expected) {
      throw std::runtime_error("hnswlib did not write all of the index");
    }
    return bytes;
  }

  // A file that was saved earlier, or is now.
  [[nodiscard]] std::filesystem::path file() const {
    if (saved->empty()) {
      prepare();
      const std::filesystem::path path = shared_files(options) / "hnswlib";
      save(path);
      *saved = path;
    }
    return *saved;
  }
};

struct HnswlibSave : Hnswlib {
  std::uint64_t operator()(const std::filesystem::path& path) const { return save(path); }
};

struct HnswlibLoad : Hnswlib {
  std::unique_ptr<Graph> operator()(const std::filesystem::path& path) const {
    return std::make_unique<Graph>(&space(), path.string());
  }
  [[nodiscard]] std::uint64_t bytes(const std::unique_ptr<Graph>& loaded) const {
    if (loaded->cur_element_count != options.hnswlib_vectors) {
      throw std::runtime_error("hnswlib has not loaded what was saved");
    }
    return std::filesystem::file_size(file());
  }
};

}  // namespace

void add_hnswlib(const Options& options) {
  benchmark::AddCustomContext("peer hnswlib", "");  // its headers do not say which version they are
  const Hnswlib shared{.options = options};
  add_save("none/hnswlib_and_fsync", options, HnswlibSave{shared});
  add_loads("hnswlib", HnswlibLoad{shared});
}

}  // namespace iqdb_benchmarks
