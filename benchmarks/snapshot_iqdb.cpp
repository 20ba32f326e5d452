// Saves and loads of this library: of a FlatIndex, and of an index that is a plain vector of floats.
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "benchmarks.hpp"
#include "snapshots.hpp"
#include "workload.hpp"

namespace iqdb_benchmarks {

namespace {

using iqdb::Compression;
using iqdb::PersistedIndex;

// Lets the type that is saved say how it is made.
template <class I>
I make_index(std::uint64_t vectors);
template <>
iqdb::FlatIndex make_index<iqdb::FlatIndex>(std::uint64_t vectors) {
  return make_flat_index(vectors);
}
template <>
ArrayIndex make_index<ArrayIndex>(std::uint64_t vectors) {
  return ArrayIndex::of(vectors);
}

// The index that is saved: made when first needed, and lent to one PersistedIndex after the other.
template <class I>
class Lender {
 public:
  explicit Lender(std::uint64_t vectors) : vectors_(vectors) {}

  void prepare() {
    if (!index_) {
      index_.emplace(make_index<I>(vectors_));
    }
  }

  iqdb::SnapshotInfo save(iqdb::PersistConfig config) {
    prepare();
    I taken = std::move(*index_);
    index_.reset();  // where the save fails, the index is made again
    config.replace_existing = true;
    auto database = PersistedIndex<I>::open_with(std::move(taken), std::move(config));
    const iqdb::SnapshotInfo info = database.save();
    index_.emplace(std::move(database.index_mut()));
    return info;
  }

  // A file that was saved earlier, or is now.
  const std::filesystem::path& file(const Options& options, const std::string& name, Compression compression) {
    auto place = files_.find(name);
    if (place == files_.end()) {
      const std::filesystem::path path = shared_files(options) / (std::string(I::index_type) + "_" + name + ".iqdb");
      save({.path = path, .compression = compression});
      place = files_.emplace(name, path).first;
    }
    return place->second;
  }

  [[nodiscard]] std::uint64_t vectors() const noexcept { return vectors_; }

 private:
  std::uint64_t vectors_;
  std::optional<I> index_;
  std::map<std::string, std::filesystem::path> files_;
};

template <class I>
struct Save {
  std::shared_ptr<Lender<I>> lender;
  Compression compression;

  void prepare() const { lender->prepare(); }
  [[nodiscard]] std::uint64_t memory() const { return 2 * lender->vectors() * vector_bytes; }
  std::uint64_t operator()(const std::filesystem::path& path) const {
    return lender->save({.path = path, .compression = compression}).payload_bytes;
  }
};

template <class I>
struct Load {
  Options options;
  std::shared_ptr<Lender<I>> lender;
  std::string name;
  Compression compression;

  [[nodiscard]] const std::filesystem::path& file() const { return lender->file(options, name, compression); }
  [[nodiscard]] std::uint64_t memory() const { return 3 * lender->vectors() * vector_bytes; }
  PersistedIndex<I> operator()(const std::filesystem::path& path) const {
    return PersistedIndex<I>::load({.path = path});
  }
  [[nodiscard]] std::uint64_t bytes(const PersistedIndex<I>& loaded) const {
    if (loaded.index().size() != lender->vectors()) {
      throw std::runtime_error("the index that was loaded has another size");
    }
    return lender->vectors() * vector_bytes;
  }
};

template <class I>
void add_index(const Options& options) {
  std::vector<std::pair<std::string, Compression>> codecs{{"none", Compression::none()}};
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    codecs.emplace_back("zstd-3", Compression::zstd(3));
  }
  if (IQDB_PERSIST_HAS_LZ4 != 0) {
    codecs.emplace_back("lz4", Compression::lz4());
  }
  const auto lender = std::make_shared<Lender<I>>(options.vectors);
  const std::string subject = "iqdb-persist_" + std::string(I::index_type);
  for (const auto& [name, compression] : codecs) {
    add_save(name + "/" + subject, options, Save<I>{.lender = lender, .compression = compression});
    const Load<I> load{.options = options, .lender = lender, .name = name, .compression = compression};
    if (compression.codec() == Compression::Codec::none) {
      add_loads(subject, load);
    } else {
      add_load(subject + "_" + name, Temperature::warm, load);
    }
  }
}

}  // namespace

void add_iqdb_snapshots(const Options& options) {
  add_index<iqdb::FlatIndex>(options);
  add_index<ArrayIndex>(options);
}

}  // namespace iqdb_benchmarks
