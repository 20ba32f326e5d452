// hnswlib: saveIndex and its loading; and this library with hnswlib's index.
#include "iqdb/index/hnswlib.hpp"
#include "iqdb_subject.hpp"

namespace iqdb_reliability {

namespace {

class Hnswlib : public Subject {
 public:
  [[nodiscard]] Description description() const override {
    // Its headers do not say which version they are.
    return {.library = "hnswlib", .version = "", .what = "saveIndex", .settings = ""};
  }
  [[nodiscard]] bool is_damaged(const std::string& name) const override { return name == file; }
  void gather(const Rows& rows) override {
    index_ = std::make_unique<Graph>(&space_, rows.size());
    for (const auto& [key, vector] : rows) {
      index_->addPoint(vector.data(), key);
    }
  }
  void make(const std::filesystem::path& directory) override {
    open(directory);
    replace();
  }
  void open(const std::filesystem::path& directory) override { path_ = directory / file; }
  void replace() override { index_->saveIndex(path_.string()); }
  [[nodiscard]] State load(const std::filesystem::path& directory, std::uint64_t stored) override {
    const Graph index(&space_, (directory / file).string());
    State state;
    // As a program does it: it asks first.
    for (const auto& [key, vector] : make_rows(queries, 1)) {
      for (auto found = index.searchKnn(vector.data(), neighbours); !found.empty(); found.pop()) {
        state.answers += std::to_string(found.top().second) + " ";
      }
    }
    const std::uint64_t count = std::min<std::uint64_t>(index.cur_element_count, too_many(stored));
    for (std::uint64_t node = 0; node < count; ++node) {
      const auto number = static_cast<hnswlib::tableint>(node);
      const auto* vector = reinterpret_cast<const float*>(index.getDataByInternalId(number));  // NOLINT
      add_row(state, index.getExternalLabel(number), {vector, vector + dimension});
    }
    return state;
  }

 private:
  using Graph = hnswlib::HierarchicalNSW<float>;
  static constexpr const char* file = "index.bin";
  static constexpr std::uint64_t queries = 32;

  hnswlib::L2Space space_{dimension};
  std::unique_ptr<Graph> index_;
  std::filesystem::path path_;
};

}  // namespace

void add_hnswlib(Subjects& subjects) {
  subjects.push_back(std::make_unique<IqdbSnapshot<iqdb::HnswIndex>>("snapshot, HnswIndex"));
  subjects.push_back(std::make_unique<Hnswlib>());
}

}  // namespace iqdb_reliability
