// faiss: write_index and read_index of its exact index and of its graph.
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/index_io.h>
#include <omp.h>

#include <algorithm>

#include "subject.hpp"

namespace iqdb_reliability {

namespace {

template <class Made>
class Faiss : public Subject {
 public:
  explicit Faiss(std::string type) : type_(std::move(type)) {}

  [[nodiscard]] Description description() const override {
    return {.library = "faiss",
            .version = std::to_string(FAISS_VERSION_MAJOR) + "." + std::to_string(FAISS_VERSION_MINOR) + "." +
                       std::to_string(FAISS_VERSION_PATCH),
            .what = "write_index, " + type_,
            .settings = ""};
  }
  [[nodiscard]] bool is_damaged(const std::string& name) const override { return name == file; }
  void gather(const Rows& rows) override {
    omp_set_num_threads(1);  // threads of its own would not be there after a fork
    constexpr int links = 16;
    if constexpr (std::is_same_v<Made, faiss::IndexHNSWFlat>) {
      index_ = std::make_unique<Made>(static_cast<int>(dimension), links);
    } else {
      index_ = std::make_unique<Made>(static_cast<faiss::Index::idx_t>(dimension));
    }
    for (const auto& [key, vector] : rows) {
      index_->add(1, vector.data());
    }
  }
  void make(const std::filesystem::path& directory) override {
    open(directory);
    replace();
  }
  void open(const std::filesystem::path& directory) override { path_ = directory / file; }
  void replace() override { faiss::write_index(index_.get(), path_.c_str()); }
  [[nodiscard]] State load(const std::filesystem::path& directory, std::uint64_t stored) override {
    omp_set_num_threads(1);
    const std::unique_ptr<faiss::Index> index(faiss::read_index((directory / file).c_str()));
    State state;
    if (index->d != static_cast<decltype(index->d)>(dimension)) {
      state.rows[no_key];  // a query would not fit
      return state;
    }
    constexpr std::uint64_t queries = 32;
    for (const auto& [key, vector] : make_rows(queries, 1)) {
      std::vector<float> distances(neighbours);
      std::vector<faiss::Index::idx_t> found(neighbours);
      index->search(1, vector.data(), neighbours, distances.data(), found.data());
      for (const faiss::Index::idx_t each : found) {
        state.answers += std::to_string(each) + " ";
      }
    }
    const auto count = std::min(static_cast<std::uint64_t>(index->ntotal), too_many(stored));
    for (std::uint64_t key = 0; key < count; ++key) {
      std::vector<float> vector(dimension);
      index->reconstruct(static_cast<faiss::Index::idx_t>(key), vector.data());
      add_row(state, key, std::move(vector));
    }
    return state;
  }

 private:
  static constexpr const char* file = "index.faiss";
  static constexpr std::size_t neighbours = 5;

  std::string type_;
  std::unique_ptr<Made> index_;
  std::filesystem::path path_;
};

}  // namespace

void add_faiss(Subjects& subjects) {
  subjects.push_back(std::make_unique<Faiss<faiss::IndexFlatL2>>("IndexFlatL2"));
  subjects.push_back(std::make_unique<Faiss<faiss::IndexHNSWFlat>>("IndexHNSWFlat"));
}

}  // namespace iqdb_reliability
