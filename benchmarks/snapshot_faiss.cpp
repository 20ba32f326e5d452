// faiss: write_index and read_index of its exact index, and the fsync that write_index lacks.
#include <faiss/Index.h>
#include <faiss/IndexFlat.h>
#include <faiss/index_io.h>

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include "benchmarks.hpp"
#include "snapshots.hpp"
#include "workload.hpp"

namespace iqdb_benchmarks {

namespace {

struct Faiss {
  Options options;
  std::shared_ptr<std::unique_ptr<faiss::IndexFlatL2>> index = std::make_shared<std::unique_ptr<faiss::IndexFlatL2>>();
  std::shared_ptr<std::filesystem::path> saved = std::make_shared<std::filesystem::path>();

  void prepare() const {
    if (!*index) {
      auto made = std::make_unique<faiss::IndexFlatL2>(static_cast<faiss::Index::idx_t>(dimension));
      made->add(static_cast<faiss::Index::idx_t>(options.vectors),
                reinterpret_cast<const float*>(shared_payload(options).bytes().data()));  // NOLINT(*-reinterpret-cast)
      *index = std::move(made);
    }
  }
  [[nodiscard]] std::uint64_t memory() const { return 2 * options.vectors * vector_bytes; }

  // Saving.
  std::uint64_t save(const std::filesystem::path& path) const {
    faiss::write_index(index->get(), path.c_str());
    sync_file(path);
    // What cannot be written at the end is only said on stderr.
    if (std::filesystem::file_size(path) < options.vectors * vector_bytes) {
      throw std::runtime_error("faiss did not write all of the index");
    }
    return options.vectors * vector_bytes;
  }

  // A file that was saved earlier, or is now.
  [[nodiscard]] std::filesystem::path file() const {
    if (saved->empty()) {
      prepare();
      const std::filesystem::path path = shared_files(options) / "faiss";
      save(path);
      *saved = path;
    }
    return *saved;
  }
};

struct FaissSave : Faiss {
  std::uint64_t operator()(const std::filesystem::path& path) const { return save(path); }
};

struct FaissLoad : Faiss {
  std::unique_ptr<faiss::Index> operator()(const std::filesystem::path& path) const {
    return std::unique_ptr<faiss::Index>(faiss::read_index(path.c_str()));
  }
  [[nodiscard]] std::uint64_t bytes(const std::unique_ptr<faiss::Index>& loaded) const {
    if (static_cast<std::uint64_t>(loaded->ntotal) != options.vectors) {
      throw std::runtime_error("faiss has not loaded what was saved");
    }
    return options.vectors * vector_bytes;
  }
};

}  // namespace

void add_faiss(const Options& options) {
  benchmark::AddCustomContext("peer faiss", std::to_string(FAISS_VERSION_MAJOR) + "." +
                                                std::to_string(FAISS_VERSION_MINOR) + "." +
                                                std::to_string(FAISS_VERSION_PATCH));
  const Faiss shared{.options = options};
  add_save("none/faiss_and_fsync", options, FaissSave{shared});
  add_loads("faiss", FaissLoad{shared});
}

}  // namespace iqdb_benchmarks
