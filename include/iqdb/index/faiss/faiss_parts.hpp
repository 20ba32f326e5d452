// faiss' flat, HNSW and IVF indexes, each with what FaissIndex asks of it, and built of fields that were checked one by
// one.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/impl/DistanceComputer.h>
#include <faiss/impl/FaissException.h>
#include <faiss/index_io.h>
#include <faiss/invlists/InvertedLists.h>
#include <omp.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/faiss/faiss_stream.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Which of faiss' indexes a FaissIndex holds.
enum class FaissKind : std::uint8_t {
  flat,  ///< every vector, compared one by one: exact
  hnsw,  ///< a graph; nothing can be erased from it
  ivf,   ///< lists of vectors around trained centroids
};

namespace faiss_parts {

// ---- the kinds of indexes -------------------------------------------------------------------------------------------

/// One of faiss' indexes, in which a vector is known by its slot.
class Part {
 public:
  Part() = default;
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;
  virtual ~Part() = default;

  [[nodiscard]] virtual FaissKind kind() const noexcept = 0;

  /// faiss' object.
  [[nodiscard]] virtual const ::faiss::Index& index() const noexcept = 0;

  /// The vector in a slot that is taken.
  [[nodiscard]] virtual std::span<const float> vector(std::size_t slot) const = 0;

  /// Adds a vector in a slot. If it throws, nothing has changed.
  virtual void add(std::size_t slot, std::span<const float> vector) = 0;

  /// Removes the vector in a slot, here and in the table of the slots; or throws IndexError and changes nothing.
  virtual void remove(SlotTable& slots, std::size_t slot) = 0;

  /// The slots of at most `most` vectors that are found to be near; `width` is how far is looked, if it was said.
  [[nodiscard]] virtual std::vector<Id> search(std::span<const float> query, std::size_t most,
                                               std::optional<std::size_t> width) const = 0;

  /// Gives the vectors, in faiss' order, the slots that `slot_of(number)` says for faiss' numbers.
  virtual void take_slots(const Reader& reader, std::size_t slots, const std::function<std::size_t(Id)>& slot_of) = 0;

  /// Writes faiss' stream, with the slots as numbers.
  virtual void save_to(Writer& writer) const = 0;

  /// Writes faiss' stream, with the numbers that `number_of(slot)` says.
  virtual void export_to(Writer& writer, const std::function<Id(std::size_t)>& number_of) const = 0;

 protected:
  // For what knows vectors by their order alone: that is their slot. Numbers come with an id map around.
  void take_order(const Reader& reader, std::size_t slots, const std::function<std::size_t(Id)>& slot_of) const {
    const Id vectors = index().ntotal;
    for (Id number = 0; number < vectors; ++number) {
      std::ignore = slot_of(number);
    }
    if (slots != 0 && slots != static_cast<std::size_t>(vectors)) {
      fail(reader, "it holds " + std::to_string(vectors) + " vectors in " + std::to_string(slots) + " slots");
    }
  }

  void export_in_map(Writer& writer, const std::function<Id(std::size_t)>& number_of) const {
    const auto vectors = static_cast<std::size_t>(index().ntotal);
    write_head(writer, map_tag, header_of(index()));
    save_to(writer);
    writer.write_le(std::uint64_t{vectors});
    for (std::size_t slot = 0; slot < vectors; ++slot) {
      writer.write_le(number_of(slot));
    }
  }

  static void write_with_faiss(Writer& writer, const ::faiss::Index& index) {
    WriterAdapter adapter(writer);
    guarded([&] { ::faiss::write_index(&index, &adapter); });
  }
};

/// While there is one, faiss' parallel regions have one thread where they are entered from this thread. One query is no
/// work for several; in a graph each of them would set aside memory in proportion to the index.
class OneThread {
 public:
  OneThread() { omp_set_num_threads(1); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  int before_ = omp_get_max_threads();
};

/// The labels that a search of faiss' gives: the nearest first, -1 where there is none.
[[nodiscard]] inline std::vector<Id> labels_of(const ::faiss::Index& index, std::span<const float> query,
                                               std::size_t most, const ::faiss::SearchParameters* parameters) {
  std::vector<float> distances(most);
  std::vector<Id> labels(most, -1);
  const OneThread one_thread;
  guarded([&] { index.search(1, query.data(), static_cast<Id>(most), distances.data(), labels.data(), parameters); });
  std::erase_if(labels, [](Id label) { return label < 0; });
  return labels;
}

/// IndexFlat: the slot of a vector is its place.
class FlatPart final : public Part {
 public:
  explicit FlatPart(std::unique_ptr<::faiss::IndexFlat> index) : index_(std::move(index)) {}

  [[nodiscard]] FaissKind kind() const noexcept override { return FaissKind::flat; }
  [[nodiscard]] const ::faiss::Index& index() const noexcept override { return *index_; }

  [[nodiscard]] std::span<const float> vector(std::size_t slot) const override {
    return vector_at(index_->codes, slot, static_cast<std::size_t>(index_->d));
  }

  void add(std::size_t /*slot*/, std::span<const float> vector) override {
    guarded([&] { index_->add(1, vector.data()); });
  }

  void remove(SlotTable& slots, std::size_t slot) override {
    // faiss would move all that are behind it; the last one alone is enough.
    const std::size_t last = slots.slots() - 1;
    std::vector<std::uint8_t>& codes = index_->codes;
    if (slot != last) {
      std::memcpy(codes.data() + slot * index_->code_size, codes.data() + last * index_->code_size, index_->code_size);
    }
    codes.resize(last * index_->code_size);
    index_->ntotal = static_cast<Id>(last);
    slots.remove_by_last(slot);
  }

  [[nodiscard]] std::vector<Id> search(std::span<const float> query, std::size_t most,
                                       std::optional<std::size_t> /*width*/) const override {
    return labels_of(*index_, query, most, nullptr);
  }

  void take_slots(const Reader& reader, std::size_t slots, const std::function<std::size_t(Id)>& slot_of) override {
    take_order(reader, slots, slot_of);
  }

  void save_to(Writer& writer) const override { write_with_faiss(writer, *index_); }

  void export_to(Writer& writer, const std::function<Id(std::size_t)>& number_of) const override {
    export_in_map(writer, number_of);
  }

 private:
  std::unique_ptr<::faiss::IndexFlat> index_;
};

/// Locks that faiss wants for the nodes of a graph.
class NodeLocks {
 public:
  NodeLocks() = default;
  NodeLocks(const NodeLocks&) = delete;
  NodeLocks& operator=(const NodeLocks&) = delete;
  ~NodeLocks() { clear(); }

  /// At least so many locks, none of them held.
  [[nodiscard]] std::vector<omp_lock_t>& at_least(std::size_t count) {
    if (locks_.size() < count) {
      clear();
      locks_.resize(std::max(2 * count, least));
      std::ranges::for_each(locks_, [](omp_lock_t& lock) { omp_init_lock(&lock); });
    }
    return locks_;
  }

  void clear() noexcept {
    std::ranges::for_each(locks_, [](omp_lock_t& lock) { omp_destroy_lock(&lock); });
    locks_.clear();
  }

 private:
  static constexpr std::size_t least = 64;
  std::vector<omp_lock_t> locks_;
};

/// How far vectors are from one that is added: for a product less of it is farther, which a graph must be told.
class Farness final : public ::faiss::DistanceComputer {
 public:
  explicit Farness(const ::faiss::IndexFlat& vectors)
      : similarity_(vectors.metric_type == ::faiss::METRIC_INNER_PRODUCT), inner_(vectors.get_distance_computer()) {}

  void set_query(const float* query) override { inner_->set_query(query); }
  float operator()(Id node) override { return similarity_ ? -(*inner_)(node) : (*inner_)(node); }
  float symmetric_dis(Id one, Id other) override {
    const float distance = inner_->symmetric_dis(one, other);
    return similarity_ ? -distance : distance;
  }

 private:
  bool similarity_;
  std::unique_ptr<::faiss::DistanceComputer> inner_;
};

/// IndexHNSWFlat: the slot of a vector is its node.
class HnswPart final : public Part {
 public:
  explicit HnswPart(std::unique_ptr<::faiss::IndexHNSWFlat> index) : index_(std::move(index)) {}

  [[nodiscard]] FaissKind kind() const noexcept override { return FaissKind::hnsw; }
  [[nodiscard]] const ::faiss::Index& index() const noexcept override { return *index_; }

  [[nodiscard]] std::span<const float> vector(std::size_t slot) const override {
    return vector_at(storage().codes, slot, static_cast<std::size_t>(index_->d));
  }

  // As IndexHNSW::add does it, but for four things: memory that each insertion would set aside in proportion to the
  // index is kept; where memory runs out an exception is thrown, which faiss' parallel region turns into the end of the
  // process; what was begun is undone then; and a level is drawn by the number of the node, so that a replay makes the
  // same graph.
  void add(std::size_t slot, std::span<const float> vector) override {
    ::faiss::HNSW& graph = index_->hnsw;
    guarded([&] { storage().add(1, vector.data()); });
    try {
      const auto node = static_cast<int>(slot);
      const int level = level_of(slot);
      graph.levels.push_back(level + 1);
      graph.prepare_level_tab(1, true);
      if (!visited_ || visited_->visited.size() <= slot) {
        visited_ = std::make_unique<::faiss::VisitedTable>(static_cast<int>(std::min(2 * slot + 64, most_vectors)));
      }
      std::vector<omp_lock_t>& locks = locks_.at_least(slot + 1);
      Farness farness(storage());
      farness.set_query(vector.data());
      graph.add_with_locks(farness, level, node, locks, *visited_);
      index_->ntotal = storage().ntotal;
    } catch (const ::faiss::FaissException& error) {
      forget(slot);
      throw IndexError(IndexErrorKind::resource_limit, std::string("faiss refuses: ") + error.what());
    } catch (...) {
      forget(slot);
      throw;
    }
  }

  void remove(SlotTable& slots, std::size_t slot) override {
    throw IndexError(
        IndexErrorKind::invalid_config,
        "the vector " + to_string(slots.id(slot)) +
            " cannot be erased: faiss' HNSW cannot remove vectors; use a flat or an IVF index, or the index "
            "of another library, where vectors are to be erased");
  }

  [[nodiscard]] std::vector<Id> search(std::span<const float> query, std::size_t most,
                                       std::optional<std::size_t> width) const override {
    const auto nodes = static_cast<std::size_t>(index_->ntotal);
    const auto usual = static_cast<std::size_t>(index_->hnsw.efSearch);
    const std::size_t candidates = std::min(std::max(width.value_or(usual), most), nodes);
    ::faiss::SearchParametersHNSW parameters;
    parameters.efSearch = static_cast<int>(candidates);
    // faiss 1.7.3 keeps no more candidates than the index usually does, or than are to be found.
    std::vector<Id> labels = labels_of(*index_, query, candidates > usual ? candidates : most, &parameters);
    labels.resize(std::min(labels.size(), most));
    return labels;
  }

  void take_slots(const Reader& reader, std::size_t slots, const std::function<std::size_t(Id)>& slot_of) override {
    take_order(reader, slots, slot_of);
  }

  void save_to(Writer& writer) const override { write_with_faiss(writer, *index_); }

  void export_to(Writer& writer, const std::function<Id(std::size_t)>& number_of) const override {
    export_in_map(writer, number_of);
  }

  /// A graph that stands behind its tag: header | probabilities of levels, sums of links up to each level, levels,
  /// begins of links, links, each with its count before it | entry node, highest level, candidates of an insertion and
  /// of a search, width of the search above the lowest level | a flat index.
  [[nodiscard]] static std::unique_ptr<HnswPart> read(Reader& reader) {
    const Header header = read_head(reader);
    // What it is made with is replaced.
    auto index = std::make_unique<::faiss::IndexHNSWFlat>(static_cast<int>(header.dim), 2, header.metric);
    ::faiss::HNSW& graph = index->hnsw;
    graph.assign_probas = read_array<double>(reader);
    graph.cum_nneighbor_per_level = read_array<std::int32_t>(reader);
    graph.levels = read_array<std::int32_t>(reader);
    const auto begins = read_array<std::uint64_t>(reader);
    graph.offsets.assign(begins.begin(), begins.end());
    graph.neighbors = read_array<std::int32_t>(reader);
    graph.entry_point = reader.read_le<std::int32_t>();
    graph.max_level = reader.read_le<std::int32_t>();
    graph.efConstruction = reader.read_le<std::int32_t>();
    graph.efSearch = reader.read_le<std::int32_t>();
    graph.upper_beam = reader.read_le<std::int32_t>();
    check_settings(reader, graph);
    check_nodes(reader, graph, header.vectors);
    check_links(reader, graph);

    const auto storage_tag = reader.read_le<std::uint32_t>();
    if (!is_flat(storage_tag)) {
      fail_unsupported(reader, storage_tag, "the index in which the graph's vectors are");
    }
    const std::unique_ptr<::faiss::IndexFlat> vectors = read_flat(reader, storage_tag);
    if (header_of(*vectors) != header) {
      fail(reader, "a graph of " + std::to_string(header.vectors) + " vectors of " + std::to_string(header.dim) +
                       " components by " + name_of(header.metric) + " has " + std::to_string(vectors->ntotal) + " of " +
                       std::to_string(vectors->d) + " by " + name_of(vectors->metric_type));
    }
    index->ntotal = static_cast<Id>(header.vectors);
    index->storage->ntotal = index->ntotal;
    // NOLINTNEXTLINE(*-static-cast-downcast): it was made here
    static_cast<::faiss::IndexFlat*>(index->storage)->codes = std::move(vectors->codes);
    return std::make_unique<HnswPart>(std::move(index));
  }

 private:
  // The index was made here: what holds its vectors is an IndexFlat.
  [[nodiscard]] const ::faiss::IndexFlat& storage() const {
    return *static_cast<const ::faiss::IndexFlat*>(index_->storage);  // NOLINT(*-static-cast-downcast)
  }
  [[nodiscard]] ::faiss::IndexFlat& storage() {
    return *static_cast<::faiss::IndexFlat*>(index_->storage);  // NOLINT(*-static-cast-downcast)
  }

  [[nodiscard]] int level_of(std::size_t node) const {
    std::uint64_t bits = node + 0x9E3779B97F4A7C15U;  // the generator SplitMix64
    bits = (bits ^ bits >> 30U) * 0xBF58476D1CE4E5B9U;
    bits = (bits ^ bits >> 27U) * 0x94D049BB133111EBU;
    bits ^= bits >> 31U;
    double draw = static_cast<double>(bits >> 11U) * 0x1p-53;
    int level = 0;
    for (const double probability : index_->hnsw.assign_probas) {
      if (draw < probability) {
        return level;
      }
      draw -= probability;
      ++level;
    }
    return 0;  // the probabilities are a little less than 1 together
  }

  // Undoes an insertion that was begun. Others may have links to the node already.
  void forget(std::size_t node) noexcept {
    ::faiss::HNSW& graph = index_->hnsw;
    graph.levels.resize(node);
    graph.offsets.resize(node + 1);
    graph.neighbors.resize(std::min(graph.neighbors.size(), graph.offsets.back()));
    for (std::size_t other = 0; other < node; ++other) {
      for (int level = 0; level < graph.levels[other]; ++level) {
        const std::span<int> links = links_of(graph, other, level);
        std::fill(std::remove(links.begin(), links.end(), static_cast<int>(node)), links.end(), -1);
      }
    }
    if (graph.entry_point == static_cast<int>(node)) {
      graph.entry_point = -1;
      graph.max_level = -1;
    }
    storage().codes.resize(node * storage().code_size);
    storage().ntotal = static_cast<Id>(node);
    index_->ntotal = static_cast<Id>(node);
    locks_.clear();
    visited_.reset();
  }

  [[nodiscard]] static std::span<int> links_of(::faiss::HNSW& graph, std::size_t node, int level) {
    const auto begin = static_cast<std::size_t>(graph.cum_nneighbor_per_level[static_cast<std::size_t>(level)]);
    const auto end = static_cast<std::size_t>(graph.cum_nneighbor_per_level[static_cast<std::size_t>(level) + 1]);
    return std::span(graph.neighbors).subspan(graph.offsets[node] + begin, end - begin);
  }

  template <class T>
  [[nodiscard]] static std::vector<T> read_array(Reader& reader) {
    return reader.read_vector<T>(reader.read_le<std::uint64_t>());
  }

  static void check_settings(const Reader& reader, const ::faiss::HNSW& graph) {
    const std::vector<int>& sums = graph.cum_nneighbor_per_level;
    if (graph.assign_probas.empty() || graph.assign_probas.size() > most_levels ||
        sums.size() != graph.assign_probas.size() + 1) {
      fail(reader, "its graph is stated to have probabilities of " + std::to_string(graph.assign_probas.size()) +
                       " levels and " + std::to_string(sums.size()) + " sums of links; expected 1 to " +
                       std::to_string(most_levels) + ", and one more");
    }
    if (!std::ranges::all_of(graph.assign_probas, [](double each) { return each >= 0.0 && each <= 1.0; })) {
      fail(reader, "the probability of a level is not from 0 to 1");
    }
    bool rising = sums.front() == 0;
    for (std::size_t level = 1; level < sums.size(); ++level) {
      // In 64 bits: the sums are whatever is in the file.
      const std::int64_t links = std::int64_t{sums[level]} - sums[level - 1];
      rising = rising && links >= 1 && links <= std::int64_t{2 * most_links};
    }
    if (!rising) {
      fail(reader, "the links of a node in a level are not 1 to " + std::to_string(2 * most_links));
    }
    const auto check_candidates = [&](int value, std::string_view name) {
      if (value < 1 || static_cast<std::size_t>(value) > most_candidates) {
        fail(reader, std::string(name) + " is stated to be " + std::to_string(value) + "; expected 1 to " +
                         std::to_string(most_candidates));
      }
    };
    check_candidates(graph.efConstruction, "efConstruction");
    check_candidates(graph.efSearch, "efSearch");
    if (graph.upper_beam != 1) {
      fail(reader, "the search above the lowest level is stated to be " + std::to_string(graph.upper_beam) +
                       " wide; expected 1");
    }
  }

  static void check_nodes(const Reader& reader, const ::faiss::HNSW& graph, std::size_t nodes) {
    if (graph.levels.size() != nodes || graph.offsets.size() != nodes + 1 || graph.offsets.front() != 0) {
      fail(reader, "a graph of " + std::to_string(nodes) + " nodes is stated to have " +
                       std::to_string(graph.levels.size()) + " levels of nodes, and " +
                       std::to_string(graph.offsets.size()) + " begins of links");
    }
    for (std::size_t node = 0; node < nodes; ++node) {
      const int levels = graph.levels[node];
      if (levels < 1 || static_cast<std::size_t>(levels) > graph.assign_probas.size()) {
        fail(reader, "node " + std::to_string(node) + " is stated to be in " + std::to_string(levels) +
                         " levels; expected 1 to " + std::to_string(graph.assign_probas.size()));
      }
      const auto links = static_cast<std::size_t>(graph.cum_nneighbor_per_level[static_cast<std::size_t>(levels)]);
      if (graph.offsets[node + 1] - graph.offsets[node] != links) {
        fail(reader, "the links of node " + std::to_string(node) + " do not begin where those before end");
      }
    }
    if (graph.neighbors.size() != graph.offsets.back()) {
      fail(reader, "the graph is stated to have room for " + std::to_string(graph.neighbors.size()) +
                       " links; expected " + std::to_string(graph.offsets.back()));
    }
    const bool enters = nodes == 0
                            ? graph.entry_point == -1 && graph.max_level == -1
                            : graph.entry_point >= 0 && static_cast<std::size_t>(graph.entry_point) < nodes &&
                                  graph.levels[static_cast<std::size_t>(graph.entry_point)] - 1 == graph.max_level;
    if (!enters) {
      fail(reader, "the graph is stated to be entered at node " + std::to_string(graph.entry_point) + " of " +
                       std::to_string(nodes) + ", in level " + std::to_string(graph.max_level) +
                       ", where there is none such");
    }
  }

  static void check_links(const Reader& reader, ::faiss::HNSW& graph) {
    for (std::size_t node = 0; node < graph.levels.size(); ++node) {
      for (int level = 0; level < graph.levels[node]; ++level) {
        const std::span<const int> links = links_of(graph, node, level);
        const auto end = std::ranges::find(links, -1);
        const bool known = std::all_of(links.begin(), end, [&](int link) {
          return link >= 0 && static_cast<std::size_t>(link) < graph.levels.size() &&
                 graph.levels[static_cast<std::size_t>(link)] > level;
        });
        // Behind the first place without a link faiss looks for no further one, but for the last.
        if (!known || !std::all_of(end, links.end(), [](int link) { return link == -1; })) {
          fail(reader, "node " + std::to_string(node) + " has links in level " + std::to_string(level) +
                           " that lead to no node there, or stand behind their end");
        }
      }
    }
  }

  std::unique_ptr<::faiss::IndexHNSWFlat> index_;
  // What insertions need, kept from one to the next.
  NodeLocks locks_;
  std::unique_ptr<::faiss::VisitedTable> visited_;
};

/// IndexIVFFlat: the slots stand in the lists, beside the vectors.
class IvfPart final : public Part {
 public:
  /// Precondition: the index owns a flat quantizer with as many vectors as there are lists, and ArrayInvertedLists.
  explicit IvfPart(std::unique_ptr<::faiss::IndexIVFFlat> index) : index_(std::move(index)) {}

  [[nodiscard]] FaissKind kind() const noexcept override { return FaissKind::ivf; }
  [[nodiscard]] const ::faiss::Index& index() const noexcept override { return *index_; }

  [[nodiscard]] std::span<const float> vector(std::size_t slot) const override {
    return vector_at(lists().codes[places_[slot].list], places_[slot].at, static_cast<std::size_t>(index_->d));
  }

  void add(std::size_t slot, std::span<const float> vector) override {
    if (places_.size() <= slot) {
      places_.resize(slot + 1);
    }
    Id nearest = -1;
    guarded([&] { index_->quantizer->assign(1, vector.data(), &nearest); });
    // Where all distances are too large for a float there is no nearest list. faiss would leave the vector out.
    const auto list = static_cast<std::size_t>(std::max<Id>(nearest, 0));
    const std::size_t at = lists().ids[list].size();
    try {
      guarded([&] {
        lists().add_entry(list, static_cast<Id>(slot), reinterpret_cast<const std::uint8_t*>(vector.data()));
      });
    } catch (...) {
      lists().resize(list, at);  // of its two arrays one may have grown
      throw;
    }
    places_[slot] = {.list = list, .at = at};
    ++index_->ntotal;
  }

  void remove(SlotTable& slots, std::size_t slot) override {
    const Place place = places_[slot];
    std::vector<Id>& ids = lists().ids[place.list];
    const std::size_t last = ids.size() - 1;
    if (place.at != last) {
      std::uint8_t* const codes = lists().codes[place.list].data();
      std::memcpy(codes + place.at * index_->code_size, codes + last * index_->code_size, index_->code_size);
      ids[place.at] = ids[last];
      places_[static_cast<std::size_t>(ids[last])] = place;
    }
    lists().resize(place.list, last);
    --index_->ntotal;
    slots.remove(slot);
  }

  [[nodiscard]] std::vector<Id> search(std::span<const float> query, std::size_t most,
                                       std::optional<std::size_t> width) const override {
    ::faiss::SearchParametersIVF parameters;
    parameters.nprobe = std::clamp<std::size_t>(width.value_or(index_->nprobe), 1, index_->nlist);
    return labels_of(*index_, query, most, &parameters);
  }

  void take_slots(const Reader& reader, std::size_t slots, const std::function<std::size_t(Id)>& slot_of) override {
    constexpr Place none{.list = std::numeric_limits<std::size_t>::max(), .at = 0};
    places_.assign(slots, none);
    for (std::size_t list = 0; list < index_->nlist; ++list) {
      std::vector<Id>& ids = lists().ids[list];
      for (std::size_t at = 0; at < ids.size(); ++at) {
        const std::size_t slot = slot_of(ids[at]);
        if (slot >= places_.size()) {
          places_.resize(slot + 1, none);
        }
        if (places_[slot].list != none.list) {
          fail(reader, "two vectors of its lists have the number " + std::to_string(ids[at]));
        }
        places_[slot] = {.list = list, .at = at};
        ids[at] = static_cast<Id>(slot);
      }
    }
  }

  void save_to(Writer& writer) const override {
    export_to(writer, [](std::size_t slot) { return static_cast<Id>(slot); });
  }

  // As faiss writes it, but for the numbers.
  void export_to(Writer& writer, const std::function<Id(std::size_t)>& number_of) const override {
    write_head(writer, ivf_tag, header_of(*index_));
    writer.write_le(std::uint64_t{index_->nlist});
    writer.write_le(std::uint64_t{index_->nprobe});
    write_with_faiss(writer, *index_->quantizer);
    writer.write_le(std::uint8_t{0});   // the map from numbers to places: none
    writer.write_le(std::uint64_t{0});  // its size
    writer.write_le(lists_tag);
    writer.write_le(std::uint64_t{index_->nlist});
    writer.write_le(std::uint64_t{index_->code_size});
    writer.write_le(all_lists_tag);
    writer.write_le(std::uint64_t{index_->nlist});
    for (const std::vector<Id>& ids : lists().ids) {
      writer.write_le(std::uint64_t{ids.size()});
    }
    for (std::size_t list = 0; list < index_->nlist; ++list) {
      writer.write_array(lists().codes[list]);
      for (const Id slot : lists().ids[list]) {
        writer.write_le(number_of(static_cast<std::size_t>(slot)));
      }
    }
  }

  /// An index that stands behind its tag: header | lists, probes | a flat index, the quantizer | a map from numbers to
  /// places, which is not needed | the lists.
  [[nodiscard]] static std::unique_ptr<IvfPart> read(Reader& reader) {
    const Header header = read_head(reader);
    const auto list_count = reader.read_le<std::uint64_t>();
    const auto probes = reader.read_le<std::uint64_t>();
    const auto quantizer_tag = reader.read_le<std::uint32_t>();
    if (!is_flat(quantizer_tag)) {
      fail_unsupported(reader, quantizer_tag, "its quantizer");
    }
    std::unique_ptr<::faiss::IndexFlat> quantizer = read_flat(reader, quantizer_tag);
    // This also bounds the number of lists by what is in the file.
    if (list_count == 0 || static_cast<std::uint64_t>(quantizer->ntotal) != list_count ||
        static_cast<std::size_t>(quantizer->d) != header.dim) {
      fail(reader, "it is stated to have " + std::to_string(list_count) + " lists of vectors of " +
                       std::to_string(header.dim) + " components, but its quantizer has " +
                       std::to_string(quantizer->ntotal) + " of " + std::to_string(quantizer->d));
    }
    if (probes == 0 || probes > most_vectors) {
      fail(reader, "a search is stated to look into " + std::to_string(probes) + " lists; expected 1 to " +
                       std::to_string(list_count));
    }
    skip_direct_map(reader);
    auto index = std::make_unique<::faiss::IndexIVFFlat>(quantizer.get(), header.dim,
                                                         static_cast<std::size_t>(list_count), header.metric);
    std::ignore = quantizer.release();
    index->own_fields = true;
    index->nprobe = static_cast<std::size_t>(std::min(probes, list_count));
    index->ntotal = static_cast<Id>(header.vectors);
    index->is_trained = true;
    auto part = std::make_unique<IvfPart>(std::move(index));
    part->read_lists(reader);
    return part;
  }

 private:
  struct Place {
    std::size_t list = 0;
    std::size_t at = 0;
  };

  // The index was made here: its lists are of this type.
  [[nodiscard]] const ::faiss::ArrayInvertedLists& lists() const {
    return *static_cast<const ::faiss::ArrayInvertedLists*>(index_->invlists);  // NOLINT(*-static-cast-downcast)
  }
  [[nodiscard]] ::faiss::ArrayInvertedLists& lists() {
    return *static_cast<::faiss::ArrayInvertedLists*>(index_->invlists);  // NOLINT(*-static-cast-downcast)
  }

  // A type 1, numbers of 8 bytes each, and for the type 2 also pairs of such numbers.
  static void skip_direct_map(Reader& reader) {
    const auto skip = [&](std::uint64_t numbers_each) {
      const auto count = reader.read_le<std::uint64_t>();
      reader.require_items(count, numbers_each * sizeof(Id));
      for (std::uint64_t number = 0; number < count * numbers_each; ++number) {
        std::ignore = reader.read_le<Id>();
      }
    };
    const auto type = reader.read_le<std::uint8_t>();
    if (type > ::faiss::DirectMap::Hashtable) {
      fail(reader, "its direct map is stated to be of the type " + std::to_string(type) + "; expected 0 to 2");
    }
    skip(1);
    if (type == ::faiss::DirectMap::Hashtable) {
      skip(2);
    }
  }

  void read_lists(Reader& reader) {
    if (const auto type = reader.read_le<std::uint32_t>(); type != lists_tag) {
      fail(reader, "its lists are of the type \"" + letters_of(type) + R"("; supported is "ilar": lists in memory)");
    }
    const auto list_count = reader.read_le<std::uint64_t>();
    const auto code_bytes = reader.read_le<std::uint64_t>();
    if (list_count != index_->nlist || code_bytes != index_->code_size) {
      fail(reader, "it is stated to have " + std::to_string(list_count) + " lists of vectors of " +
                       std::to_string(code_bytes) + " bytes; expected " + std::to_string(index_->nlist) + " and " +
                       std::to_string(index_->code_size));
    }
    const std::vector<std::uint64_t> sizes = read_sizes(reader);
    auto left = static_cast<std::uint64_t>(index_->ntotal);
    for (const std::uint64_t size : sizes) {
      if (size > left) {
        fail(reader, "its lists are stated to hold more than the " + std::to_string(index_->ntotal) +
                         " vectors that there are");
      }
      left -= size;
    }
    if (left != 0) {
      fail(reader, "its lists are stated to hold " + std::to_string(left) + " vectors less than there are");
    }
    for (std::size_t list = 0; list < sizes.size(); ++list) {
      const auto size = static_cast<std::size_t>(sizes[list]);
      lists().codes[list] = read_vectors(reader, size, static_cast<std::size_t>(index_->d));
      lists().ids[list] = reader.read_vector<Id>(size);
    }
  }

  // The size of each list; faiss writes pairs of number and size where few lists have any.
  [[nodiscard]] std::vector<std::uint64_t> read_sizes(Reader& reader) const {
    const auto type = reader.read_le<std::uint32_t>();
    const auto count = reader.read_le<std::uint64_t>();
    if (type == all_lists_tag) {
      if (count != index_->nlist) {
        fail(reader, "it has " + std::to_string(count) + " sizes of " + std::to_string(index_->nlist) + " lists");
      }
      return reader.read_vector<std::uint64_t>(count);
    }
    if (type != some_lists_tag || count % 2 != 0) {
      fail(reader, "the sizes of its lists are \"" + letters_of(type) + "\" and " + std::to_string(count) +
                       R"( numbers; expected "full", or "sprs" and pairs)");
    }
    std::vector<std::uint64_t> sizes(index_->nlist);
    const std::vector<std::uint64_t> pairs = reader.read_vector<std::uint64_t>(count);
    std::uint64_t next = 0;
    for (std::size_t at = 0; at < pairs.size(); at += 2) {
      if (pairs[at] < next || pairs[at] >= sizes.size()) {
        fail(reader, "the size of list " + std::to_string(pairs[at]) + " of " + std::to_string(sizes.size()) +
                         " is stated where that of list " + std::to_string(next) + " or a later one should be");
      }
      sizes[static_cast<std::size_t>(pairs[at])] = pairs[at + 1];
      next = pairs[at] + 1;
    }
    return sizes;
  }

  std::unique_ptr<::faiss::IndexIVFFlat> index_;
  std::vector<Place> places_;  // by slot; that of a free one is of no meaning
};

/// An index that stands behind its tag.
[[nodiscard]] inline std::unique_ptr<Part> read_part(Reader& reader, std::uint32_t type, std::string_view where) {
  if (is_flat(type)) {
    return std::make_unique<FlatPart>(read_flat(reader, type));
  }
  if (type == hnsw_tag) {
    return HnswPart::read(reader);
  }
  if (type == ivf_tag) {
    return IvfPart::read(reader);
  }
  fail_unsupported(reader, type, where);
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
