// Damages small snapshots and logs in every way that is tried here, and salvages them: every flipped bit, every cut, and
// random bursts. What comes back is compared with everything that the index ever held.
//
//   damage_laboratory [STRIDE [BURSTS [SEED]]]     every STRIDE-th flip and cut, and BURSTS of each file
//
// A row is altered if its vector or its metadata are none that its identifier ever had. It is invented if its identifier
// never was. A mutation is undamaged if no byte of its record is, and a row of a snapshot if no byte of its vector is.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>
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
#include "iqdb/persist/salvage/salvaged_index.hpp"
#include "support/files.hpp"
#include "support/temporary_directory.hpp"

namespace {

using ByteVector = std::vector<std::byte>;
using Contents = std::map<std::string, std::string>;           // identifier to the rest of the row, in words
using History = std::map<std::string, std::set<std::string>>;  // everything that an identifier ever had

constexpr std::size_t dim = 8;
constexpr std::uint64_t rows_in_snapshot = 12;

std::vector<float> vector_of(std::uint64_t id, std::uint64_t version) {
  std::mt19937_64 random(1000 * version + id);
  std::vector<float> vector(dim);
  for (float& component : vector) {
    component = std::uniform_real_distribution<float>(0.1F, 1.0F)(random);
  }
  return vector;
}

std::optional<iqdb::Metadata> metadata_of(std::uint64_t id) {
  return id % 3 == 0 ? std::optional(iqdb::Metadata{{"name", "row " + std::to_string(id)}}) : std::nullopt;
}

template <class I>
Contents contents_of(const I& index) {
  Contents contents;
  index.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& metadata) {
    std::string row;
    for (const float component : vector) {
      row += std::to_string(component) + " ";
    }
    contents[to_string(id)] = row + (metadata ? "with " + std::to_string(metadata->size()) : "bare");
  });
  return contents;
}

struct Files {
  ByteVector snapshot;
  ByteVector log;
  History history;
  Contents last;
  Contents of_snapshot;
};

template <class I>
void remember(History& history, const I& index) {
  for (const auto& row : contents_of(index)) {
    history[row.first].insert(row.second);
  }
}

// An index of twelve rows with a log of some mutations behind it, closed in order.
template <class I>
Files made(I index, iqdb::Compression compression) {
  const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::filesystem::path path = directory / "index";
  Files files;
  for (std::uint64_t id = 0; id < rows_in_snapshot; ++id) {
    index.insert(id, vector_of(id, 0), metadata_of(id));
  }
  auto db = iqdb::PersistedIndex<I>::open_with(
      std::move(index),
      {.path = path, .wal_enabled = true, .checkpoint = iqdb::CheckpointPolicy::manual(), .compression = compression});
  files.snapshot = iqdb_test::read_bytes(path);
  files.of_snapshot = contents_of(db.index());
  const auto step = [&](auto&& mutate) {
    mutate();
    remember(files.history, db.index());
  };
  remember(files.history, db.index());
  for (std::uint64_t id = 20; id < 26; ++id) {
    step([&] { db.insert(id, vector_of(id, 0), metadata_of(id)); });
  }
  step([&] { db.erase(3); });
  step([&] { db.upsert(4, vector_of(4, 1), metadata_of(6)); });
  step([&] { db.upsert(21, vector_of(21, 1), metadata_of(21)); });
  iqdb::WriteBatch batch;
  for (std::uint64_t id = 30; id < 33; ++id) {
    batch.insert(id, vector_of(id, 0));
  }
  step([&] { db.apply(batch); });
  step([&] { db.insert(iqdb::VectorId::from_bytes("a name"), vector_of(40, 0)); });
  files.last = contents_of(db.index());
  db.close();
  files.log = iqdb_test::read_bytes(iqdb::log_path(path));
  return files;
}

struct Counts {
  std::uint64_t tried = 0;
  std::uint64_t undamaged = 0;  // mutations, or rows of the snapshot
  std::uint64_t back = 0;
  std::uint64_t altered = 0;
  std::uint64_t invented = 0;
  std::uint64_t all_back = 0;      // trials after which nothing at all was missing
  std::uint64_t wrong_report = 0;  // trials whose report calls whole what is not

  void add(const Contents& found, const History& history, const std::vector<iqdb::VectorId>& without_metadata) {
    for (const auto& row : found) {
      const auto is_it = [&](const iqdb::VectorId& id) { return to_string(id) == row.first; };
      if (std::ranges::any_of(without_metadata, is_it)) {
        continue;  // the report names it
      }
      const auto known = history.find(row.first);
      if (known == history.end()) {
        ++invented;
      } else if (!known->second.contains(row.second)) {
        ++altered;
      }
    }
  }
};

template <class I>
class Laboratory {
 public:
  Laboratory(std::string name, Files files, I (*make)(std::size_t, iqdb::DistanceMetric))
      : name_(std::move(name)), files_(std::move(files)), make_(make), log_(files_.log) {}

  void run(std::uint64_t stride, std::uint64_t bursts, std::uint64_t seed) {
    flips(stride);
    cuts(stride);
    burst(bursts, seed);
  }

  [[nodiscard]] bool passed() const noexcept { return passed_; }

 private:
  struct Salvaged {
    Contents contents;
    iqdb::SalvageReport report;
  };

  Salvaged salvage(const ByteVector* snapshot, const ByteVector* log, const iqdb::SalvageOptions& options) const {
    static const std::vector<std::string_view> types{"flat", "iqdb-core", "hnsw", "faiss", "usearch"};
    Salvaged result;
    std::optional<iqdb::salvage::SalvagedLog> salvaged_log;
    if (log != nullptr) {
      salvaged_log.emplace(*log);
    }
    std::optional<iqdb::salvage::SnapshotBytes> bytes;
    if (snapshot != nullptr) {
      const auto named = salvaged_log ? salvaged_log->fingerprints() : std::vector<iqdb::Fingerprint>();
      bytes.emplace(*snapshot, named, types);
    }
    const auto make = [&](const iqdb::SalvageBasis& basis) {
      return make_(static_cast<std::size_t>(basis.dim), basis.metric.value_or(iqdb::DistanceMetric::euclidean));
    };
    try {
      const auto index = iqdb::salvage_index<I>(bytes ? &*bytes : nullptr, salvaged_log ? &*salvaged_log : nullptr,
                                                make, options, result.report);
      if (index) {
        result.contents = contents_of(*index);
      }
    } catch (const iqdb::IndexError&) {
      // A damaged header states what no index can be: nothing comes back.
    }
    return result;
  }

  // How many vectors of a snapshot without compression, those of its rows that `touched` does not touch, are there.
  void count_rows(Counts& counts, const Salvaged& found, std::uint64_t begin, std::uint64_t end) const {
    for (std::uint64_t id = 0; id < rows_in_snapshot; ++id) {
      const std::vector<float> vector = vector_of(id, 0);
      const auto bytes = std::as_bytes(std::span(vector));
      const auto place = std::search(files_.snapshot.begin(), files_.snapshot.end(), bytes.begin(), bytes.end());
      const auto offset = static_cast<std::uint64_t>(place - files_.snapshot.begin());
      const bool is_damaged = offset < end && begin < offset + bytes.size();
      if (place != files_.snapshot.end() && !is_damaged) {
        ++counts.undamaged;
        const auto row = found.contents.find(std::to_string(id));
        counts.back += row != found.contents.end() && row->second == files_.of_snapshot.at(row->first) ? 1U : 0U;
      }
    }
  }

  // The mutations whose records lie outside the damage, and those of them that were made or would be made anew.
  void count_mutations(Counts& counts, const Salvaged& found, std::uint64_t begin, std::uint64_t end) const {
    std::uint64_t undamaged = 0;
    for (const auto& frame : log_.frames()) {
      undamaged += frame.end <= begin || end <= frame.offset ? frame.mutations : 0;
    }
    counts.undamaged += undamaged;
    counts.back += std::min<std::uint64_t>(undamaged, found.report.applied + found.report.unknown_erased);
  }

  void flips(std::uint64_t stride) {
    flips_of("snapshot", files_.snapshot, stride,
             [&](const ByteVector& one) { return salvage(&one, &files_.log, {}); });
    flips_of("log", files_.log, stride, [&](const ByteVector& one) { return salvage(&files_.snapshot, &one, {}); });
  }

  template <class Salvage>
  void flips_of(const std::string& what, const ByteVector& file, std::uint64_t stride, Salvage&& salvage_with) {
    Counts counts;
    for (std::uint64_t bit = 0; bit < 8 * file.size(); bit += stride) {
      ByteVector damaged = file;
      damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      const std::uint64_t before = counts.all_back;
      count(counts, salvage_with(damaged), files_.last);
      if (counts.all_back == before) {
        std::cout << "not corrected: bit " << bit % 8 << " of byte " << bit / 8 << " of the " << what << "\n";
      }
    }
    counts.undamaged = counts.tried;
    counts.back = counts.all_back;
    tell(what + ", one bit", counts, 1.0);
  }

  void cuts(std::uint64_t stride) {
    Counts of_snapshot;
    Counts unchecked;
    Counts of_log;
    for (std::uint64_t size = 0; size < files_.snapshot.size(); size += stride) {
      const ByteVector cut(files_.snapshot.begin(), files_.snapshot.begin() + static_cast<std::ptrdiff_t>(size));
      // Whatever became of the snapshot, the log is whole.
      const Salvaged checked = salvage(&cut, &files_.log, {});
      count(of_snapshot, checked, files_.last);
      count_mutations(of_snapshot, checked, 0, 0);
      if (is_plain()) {
        const Salvaged rows = salvage(&cut, nullptr, {.also_behind = false, .unchecked_rows = true});
        count(unchecked, rows, files_.of_snapshot);
        count_rows(unchecked, rows, size, files_.snapshot.size());
      }
    }
    for (std::uint64_t size = 0; size < files_.log.size(); size += stride) {
      const ByteVector cut(files_.log.begin(), files_.log.begin() + static_cast<std::ptrdiff_t>(size));
      const Salvaged found = salvage(&files_.snapshot, &cut, {});
      count(of_log, found, files_.last);
      count_mutations(of_log, found, size, files_.log.size());
    }
    tell("snapshot cut: mutations of its log", of_snapshot, 0.999);
    if (unchecked.tried > 0) {
      tell("snapshot cut: unchecked rows", unchecked, 0.0, true);
    }
    tell("log cut", of_log, 0.999);
  }

  void burst(std::uint64_t count_of_bursts, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    Counts of_snapshot;
    Counts unchecked;
    Counts of_log;
    for (std::uint64_t number = 0; number < count_of_bursts; ++number) {
      std::uint64_t begin = 0;
      std::uint64_t end = 0;
      const ByteVector snapshot = damaged(files_.snapshot, random, begin, end);
      const Salvaged checked = salvage(&snapshot, &files_.log, {});
      count(of_snapshot, checked, files_.last);
      count_mutations(of_snapshot, checked, 0, 0);
      if (is_plain()) {
        const Salvaged rows = salvage(&snapshot, nullptr, {.also_behind = false, .unchecked_rows = true});
        count(unchecked, rows, files_.of_snapshot);
        count_rows(unchecked, rows, begin, end);
      }
      const ByteVector log = damaged(files_.log, random, begin, end);
      const Salvaged found = salvage(&files_.snapshot, &log, {.also_behind = true, .unchecked_rows = false});
      count(of_log, found, files_.last);
      count_mutations(of_log, found, begin, end);
    }
    if (count_of_bursts > 0) {
      tell("snapshot burst: mutations of its log", of_snapshot, 0.999);
      if (unchecked.tried > 0) {
        tell("snapshot burst: unchecked rows", unchecked, 0.0, true);
      }
      tell("log burst", of_log, 0.999);
    }
  }

  // Random bytes in the place of up to 4 KiB of others, or of zeros.
  static ByteVector damaged(ByteVector bytes, std::mt19937_64& random, std::uint64_t& begin, std::uint64_t& end) {
    constexpr std::uint64_t longest = 4096;
    // Lengths of all sizes: half of them under 64 bytes.
    const std::uint64_t most = std::min<std::uint64_t>(std::uint64_t{1} << random() % 13, longest);
    const std::uint64_t length = std::min<std::uint64_t>(1 + random() % most, bytes.size());
    begin = random() % (bytes.size() - length + 1);
    end = begin + length;
    const bool zeros = random() % 4 == 0;
    for (std::uint64_t at = begin; at < end; ++at) {
      bytes[at] = zeros ? std::byte{0} : static_cast<std::byte>(random() & 0xFFU);
    }
    return bytes;
  }

  void count(Counts& counts, const Salvaged& found, const Contents& expected) const {
    ++counts.tried;
    counts.add(found.contents, files_.history, found.report.metadata_lost);
    const bool all = found.contents == expected;
    counts.all_back += all ? 1U : 0U;
    // A cut between two records, or zeros up to the end, cannot be seen. It is told of: the log was not closed in order.
    const bool is_told = !found.report.is_whole() || !found.report.log_closed;
    counts.wrong_report += is_told || all ? 0U : 1U;
  }

  [[nodiscard]] bool is_plain() const {
    return name_.find("zstd") == std::string::npos && name_.find("lz4") == std::string::npos;
  }

  void tell(std::string_view what, const Counts& counts, double least, bool may_alter = false) {
    std::cout << "| " << name_ << " | " << what << " | " << counts.tried << " | " << counts.undamaged << " | "
              << counts.back << " | " << counts.altered << " | " << counts.invented << " | " << counts.wrong_report
              << " |\n";
    const bool enough = static_cast<double>(counts.back) >= least * static_cast<double>(counts.undamaged);
    const bool clean = may_alter || (counts.altered == 0 && counts.invented == 0);
    if (!enough || !clean || counts.wrong_report != 0) {
      std::cout << "FAILED: the line above\n";
      passed_ = false;
    }
  }

  std::string name_;
  Files files_;
  I (*make_)(std::size_t, iqdb::DistanceMetric);
  iqdb::salvage::SalvagedLog log_;
  bool passed_ = true;
};

struct Settings {
  std::uint64_t stride = 11;
  std::uint64_t bursts = 300;
  std::uint64_t seed = 1;
};

template <class I>
bool examine(const std::string& name, I (*make)(std::size_t, iqdb::DistanceMetric), const Settings& settings,
             iqdb::Compression compression = iqdb::Compression::none()) {
  Laboratory<I> laboratory(name, made(make(dim, iqdb::DistanceMetric::euclidean), compression), make);
  laboratory.run(settings.stride, settings.bursts, settings.seed);
  return laboratory.passed();
}

iqdb::FlatIndex make_flat(std::size_t size, iqdb::DistanceMetric metric) { return {size, metric}; }
iqdb::CoreIndex make_core(std::size_t size, iqdb::DistanceMetric metric) { return {size, metric}; }
#ifdef TEST_HAS_HNSWLIB
iqdb::HnswIndex make_hnsw(std::size_t size, iqdb::DistanceMetric metric) {
  return {size, metric, {.links = 4, .ef_construction = 40}};
}
#endif
#ifdef TEST_HAS_FAISS
iqdb::FaissIndex make_faiss(std::size_t size, iqdb::DistanceMetric metric) {
  return iqdb::FaissIndex::flat(size, metric);
}
#endif
#ifdef TEST_HAS_USEARCH
iqdb::UsearchIndex make_usearch(std::size_t size, iqdb::DistanceMetric metric) {
  return {size, metric, {.connectivity = 4, .connectivity_base = 8}};
}
#endif

}  // namespace

int main(int argc, char** argv) {
  const std::span<char*> words(argv, static_cast<std::size_t>(argc));
  Settings settings;
  for (std::size_t at = 1; at < words.size() && at <= 3; ++at) {
    const std::uint64_t value = std::strtoull(words[at], nullptr, 10);
    (at == 1 ? settings.stride : at == 2 ? settings.bursts : settings.seed) = value;
  }
  settings.stride = std::max<std::uint64_t>(settings.stride, 1);
  std::cout << "every " << settings.stride << ". flip and cut, " << settings.bursts << " bursts, seed " << settings.seed
            << "\n| type | damage | tried | undamaged | back | altered | invented | wrong reports |\n"
            << "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n";
  bool passed = examine("flat", &make_flat, settings);
  passed = examine("iqdb-core", &make_core, settings) && passed;
#if IQDB_PERSIST_HAS_ZSTD
  passed = examine("flat, zstd", &make_flat, settings, iqdb::Compression::zstd()) && passed;
#endif
#if IQDB_PERSIST_HAS_LZ4
  passed = examine("flat, lz4", &make_flat, settings, iqdb::Compression::lz4()) && passed;
#endif
#ifdef TEST_HAS_HNSWLIB
  passed = examine("hnsw", &make_hnsw, settings) && passed;
#endif
#ifdef TEST_HAS_FAISS
  passed = examine("faiss", &make_faiss, settings) && passed;
#endif
#ifdef TEST_HAS_USEARCH
  passed = examine("usearch", &make_usearch, settings) && passed;
#endif
  return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
