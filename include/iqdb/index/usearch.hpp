// UsearchIndex: usearch's approximate index, made durable. Needs the headers of usearch 2.21 or a later 2.
//
// usearch's loader believes what it reads: a link in a file becomes an address. Here no byte of its stream reaches it
// before CheckedStream has found it to be one that usearch may have written.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <usearch/index_dense.hpp>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index/support/distance.hpp"
#include "iqdb/index/support/foreign_file.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/index/usearch/usearch_stream.hpp"
#include "iqdb/insert_overloads.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// How a UsearchIndex is built and searched. All but `capacity` is saved with the index.
struct UsearchConfig {
  std::size_t connectivity = 16;              ///< links of a vector in each upper level, 2 to 1024
  std::size_t connectivity_base = 32;         ///< links of a vector in the lowest level, `connectivity` to 2048
  std::size_t expansion_add = 128;            ///< candidates that an insertion looks at, 1 to 65536
  std::size_t expansion_search = 64;          ///< candidates that a search without `ef` looks at, 1 to 65536
  UsearchScalar scalar = UsearchScalar::f32;  ///< how components are kept
  std::size_t capacity = 0;                   ///< vectors to make room for at the first insertion
};

/// usearch's `index_dense_t` with identifiers of both kinds, metadata, and a payload: approximate search in a graph.
///
/// Takes vectors whose components are finite; grows by itself; an erased vector's place is taken by the next one.
/// Searches may run at the same time as each other; as many as there are processors do, others wait. The metrics are
/// euclidean, dot_product and cosine.
class UsearchIndex : public InsertOverloads<UsearchIndex> {
 public:
  /// The identity on disk.
  static constexpr std::string_view index_type = "usearch";

  /// An empty index for vectors of `dim` components. Throws IndexError invalid_config if `dim` or a setting is out of
  /// its range, or if the scalar does not fit the metric, invalid_metric for a metric that usearch has not.
  UsearchIndex(std::size_t dim, DistanceMetric metric, const UsearchConfig& config = {})
      : dim_(dim), metric_(metric), config_(config) {
    check_metric(metric);
    check_config(config, metric);
    const std::size_t most_dim = std::numeric_limits<std::uint32_t>::max() / sizeof(float);
    if (dim == 0 || dim > most_dim) {
      throw IndexError(IndexErrorKind::invalid_config, "an index of dimension " + std::to_string(dim) +
                                                           " was asked for; usearch takes 1 to " +
                                                           std::to_string(most_dim));
    }
  }

  /// How many vectors there are.
  [[nodiscard]] std::size_t size() const noexcept { return slots_.size(); }

  /// How many components each vector has.
  [[nodiscard]] std::size_t dim() const noexcept { return dim_; }

  /// How distances are measured.
  [[nodiscard]] DistanceMetric metric() const noexcept { return metric_; }

  /// How the index is built and searched.
  [[nodiscard]] const UsearchConfig& config() const noexcept { return config_; }

  /// Whether there is a vector with this identifier.
  [[nodiscard]] bool contains(const VectorId& id) const { return slots_.find(id).has_value(); }

  using InsertOverloads<UsearchIndex>::insert;

  /// Adds a vector of dim() finite components. If it throws, nothing has changed: IndexError dimension_mismatch;
  /// invalid_vector for a component that is not finite or that the scalar cannot hold; duplicate where the identifier
  /// is taken; invalid_config or resource_limit for metadata that cannot be stored (check_storable); resource_limit
  /// where usearch refuses. Throws std::bad_alloc where usearch says that memory was short.
  void insert(VectorId id, std::span<const float> vector, std::optional<Metadata> metadata = {}) {
    require_usable(vector, "vector");
    SlotTable::Addition addition = slots_.add(std::move(id), std::move(metadata));
    make_room_for_one();
    accepted("insert a vector", [&] { return graph_->add(key_of(addition.slot()), vector.data(), writing_thread); });
    addition.keep();
  }

  /// Removes a vector. Throws IndexError not_found where there is none, std::bad_alloc where usearch says that memory
  /// was short.
  void erase(const VectorId& id) {
    const std::size_t slot = slots_.at(id);
    accepted("erase a vector", [&] { return graph_->remove(key_of(slot)); });
    slots_.remove(slot);
  }

  /// The `params.k` vectors that were found to be nearest to `query`, nearest first. `params.ef` is how many candidates
  /// are looked at, at least k; where that is no fewer than there are vectors, all are, and the search is exact.
  /// Distances are those of FlatIndex::search, between the query and the vector as it is kept. Throws IndexError
  /// dimension_mismatch, and invalid_vector for a query that insert would not take.
  [[nodiscard]] std::vector<Hit> search(std::span<const float> query, const SearchParams& params = {}) const {
    require_usable(query, "query");
    if (size() == 0 || params.k == 0) {
      return {};
    }
    std::vector<Found> nearest = find_nearest(query, params);
    std::vector<float> vector(dim_);
    for (Found& found : nearest) {
      read_vector(found.slot, vector);
      found.distance = distance(metric_, query, vector);
    }
    std::ranges::sort(nearest, [](const Found& a, const Found& b) {
      return a.distance < b.distance || (a.distance == b.distance && a.slot < b.slot);
    });

    std::vector<Hit> hits;
    hits.reserve(nearest.size());
    for (const Found& found : nearest) {
      hits.push_back(
          {.id = slots_.id(found.slot), .distance = found.distance, .metadata = copied(slots_.metadata(found.slot))});
    }
    return hits;
  }

  /// The same for a query written as a braced list of its components.
  [[nodiscard]] std::vector<Hit> search(std::initializer_list<float> query, const SearchParams& params = {}) const {
    return search(std::span<const float>(query.begin(), query.size()), params);
  }

  /// Calls `visit(id, vector, metadata)` for each vector as it is kept: a `const VectorId&`, a `std::span<const float>`
  /// and a `const std::optional<Metadata>&`.
  template <class Visit>
  void for_each(Visit&& visit) const {
    std::vector<float> vector(dim_);
    for (std::size_t slot = 0; slot < slots_.slots(); ++slot) {
      if (!slots_.is_free(slot)) {
        read_vector(slot, vector);
        visit(slots_.id(slot), std::span<const float>(vector), slots_.metadata(slot));
      }
    }
  }

  /// Writes the payload: layout version 1 | dim 8 | metric 1 | scalar 1 | connectivity, connectivity_base,
  /// expansion_add, expansion_search 8 each | SlotTable | whether there is a graph 1 | usearch's stream if so.
  void save_to(Writer& writer) const {
    writer.write_le(layout_version);
    writer.write_le(std::uint64_t{dim_});
    writer.write_le(static_cast<std::uint8_t>(metric_));
    writer.write_le(static_cast<std::uint8_t>(config_.scalar));
    for (const std::size_t setting :
         {config_.connectivity, config_.connectivity_base, config_.expansion_add, config_.expansion_search}) {
      writer.write_le(std::uint64_t{setting});
    }
    slots_.save_to(writer);
    writer.write_le(static_cast<std::uint8_t>(nodes() > 0));
    if (nodes() > 0) {
      write_graph(*graph_, writer, [](std::uint64_t key) { return key; });
    }
  }

  /// Makes an index of a payload. Throws PersistError invalid_payload, invalid_metric for what is none, unsupported
  /// where usearch reads its stream in an unknown order.
  [[nodiscard]] static UsearchIndex load_from(Reader& reader) {
    try {
      return decode(reader);
    } catch (const PersistError& error) {
      if (error.kind() != PersistErrorKind::truncated_payload) {
        throw;
      }
      // The payload is whole, or its checksum would have told: it states more than it holds.
      reader.fail(
          PersistErrorKind::invalid_payload,
          "the usearch index's payload ends early: it states more vectors, dimensions, links or metadata than it "
          "holds");
    }
  }

 private:
  friend UsearchIndex usearch_import(const std::filesystem::path& path, std::size_t expansion_add,
                                     std::size_t expansion_search);
  friend void usearch_export(const UsearchIndex& index, const std::filesystem::path& path);

  using Graph = unum::usearch::index_dense_t;

  struct Found {
    std::size_t slot;
    float distance;
  };

  // The memory in which usearch works during a search: one search at a time may use each piece.
  class Workplaces {
   public:
    explicit Workplaces(std::size_t count) {
      free_.reserve(count);
      while (free_.size() < count) {
        free_.push_back(free_.size());
      }
    }

    [[nodiscard]] std::size_t take() {
      std::unique_lock lock(mutex_);
      given_back_.wait(lock, [this] { return !free_.empty(); });
      const std::size_t workplace = free_.back();
      free_.pop_back();
      return workplace;
    }

    void give_back(std::size_t workplace) {
      {
        const std::lock_guard lock(mutex_);
        free_.push_back(workplace);
      }
      given_back_.notify_one();
    }

   private:
    std::mutex mutex_;
    std::condition_variable given_back_;
    std::vector<std::size_t> free_;
  };

  class Workplace {
   public:
    explicit Workplace(Workplaces& all) : all_(&all), number_(all.take()) {}
    Workplace(const Workplace&) = delete;
    Workplace& operator=(const Workplace&) = delete;
    ~Workplace() { all_->give_back(number_); }
    [[nodiscard]] std::size_t number() const noexcept { return number_; }

   private:
    Workplaces* all_;
    std::size_t number_;
  };

  static constexpr std::uint8_t layout_version = 1;

  // Mutations are made one at a time, and never during a search.
  static constexpr std::size_t writing_thread = 0;

  // usearch keeps keys in a hash table whose hash is the key, and to erase one steps over all that lie behind it
  // without a gap. Slots as keys would have none: of 100 000, an erasure takes 0.5 ms. Times an odd number they lie
  // apart, which makes it 2 µs, and still each has a place of its own.
  static constexpr std::uint64_t key_factor = 0x9E3779B97F4A7C15;
  static constexpr std::uint64_t key_factor_inverse = 0xF1DE83E19937733D;
  static_assert(key_factor * key_factor_inverse == 1);

  [[nodiscard]] static std::uint64_t key_of(std::size_t slot) noexcept { return slot * key_factor; }
  [[nodiscard]] static std::uint64_t slot_of(std::uint64_t key) noexcept { return key * key_factor_inverse; }

  static std::size_t search_threads() noexcept { return std::max(1U, std::thread::hardware_concurrency()); }

  static void check_metric(DistanceMetric metric) {
    if (metric != DistanceMetric::cosine && metric != DistanceMetric::dot_product &&
        metric != DistanceMetric::euclidean) {
      throw IndexError(IndexErrorKind::invalid_metric,
                       "an index with the metric " + std::string(to_string(metric)) +
                           " was asked for; usearch has cosine, dot_product and euclidean");
    }
  }

  static void check_config(const UsearchConfig& config, DistanceMetric metric) {
    const auto require = [](std::size_t value, std::size_t least, std::size_t most, std::string_view name) {
      if (value < least || value > most) {
        throw IndexError(IndexErrorKind::invalid_config, "the setting " + std::string(name) + " is " +
                                                             std::to_string(value) + "; it may be " +
                                                             std::to_string(least) + " to " + std::to_string(most));
      }
    };
    constexpr std::size_t most_links = 1024;
    constexpr std::size_t most_expansion = 65536;
    require(config.connectivity, 2, most_links, "connectivity");
    require(config.connectivity_base, config.connectivity, 2 * most_links, "connectivity_base");
    require(config.expansion_add, 1, most_expansion, "expansion_add");
    require(config.expansion_search, 1, most_expansion, "expansion_search");
    require(config.capacity, 0, usearch_stream::most_nodes, "capacity");
    if (config.scalar > UsearchScalar::i8) {
      throw IndexError(
          IndexErrorKind::invalid_config,
          "the scalar " + std::to_string(static_cast<unsigned>(config.scalar)) + " is none of UsearchScalar");
    }
    if (config.scalar == UsearchScalar::i8 && metric != DistanceMetric::cosine) {
      throw IndexError(IndexErrorKind::invalid_config,
                       "the scalar i8 keeps only the direction of a vector, which does not fit the metric " +
                           std::string(to_string(metric)) + "; use cosine, or f16");
    }
  }

  void require_usable(std::span<const float> vector, std::string_view what) const {
    if (vector.size() != dim_) {
      throw IndexError(IndexErrorKind::dimension_mismatch,
                       "the " + std::string(what) + " has " + std::to_string(vector.size()) +
                           " components, but the index has dimension " + std::to_string(dim_));
    }
    constexpr float largest_f16 = 65504.0F;
    const float largest = config_.scalar == UsearchScalar::f16 ? largest_f16 : std::numeric_limits<float>::max();
    const auto fits = [largest](float component) { return std::abs(component) <= largest; };  // a NaN does not
    if (const auto wrong = std::ranges::find_if_not(vector, fits); wrong != vector.end()) {
      throw IndexError(IndexErrorKind::invalid_vector,
                       "component " + std::to_string(wrong - vector.begin()) + " of the " + std::string(what) + " is " +
                           std::to_string(*wrong) + "; the index takes numbers up to " + std::to_string(largest));
    }
    if (config_.scalar == UsearchScalar::i8 &&
        std::ranges::all_of(vector, [](float component) { return component == 0.0F; })) {
      throw IndexError(IndexErrorKind::invalid_vector, "all components of the " + std::string(what) +
                                                           " are 0: it has no direction, which is what the scalar i8 "
                                                           "keeps");
    }
  }

  // Makes a call of usearch's, whose errors are in what it returns: left there, they would be thrown by its destructor.
  template <class Call>
  static std::invoke_result_t<Call> accepted(std::string_view action, Call&& call) {
    std::string reason;
    try {
      auto result = std::forward<Call>(call)();
      if (!result.error) {
        return result;
      }
      reason = result.error.release();
    } catch (const std::runtime_error& error) {  // an assertion of usearch's, without NDEBUG
      reason = error.what();
    }
    if (reason.find("memory") != std::string::npos || reason.find("allocate") != std::string::npos) {
      throw std::bad_alloc();
    }
    throw IndexError(IndexErrorKind::resource_limit, "usearch refuses to " + std::string(action) + ": " + reason);
  }

  [[nodiscard]] usearch_stream::Shape shape() const noexcept {
    return {.dim = dim_,
            .metric = metric_,
            .scalar = config_.scalar,
            .connectivity = config_.connectivity,
            .connectivity_base = config_.connectivity_base};
  }

  [[nodiscard]] unum::usearch::metric_punned_t native_metric() const {
    using unum::usearch::metric_kind_t;
    using unum::usearch::scalar_kind_t;
    const metric_kind_t kind = metric_ == DistanceMetric::cosine        ? metric_kind_t::cos_k
                               : metric_ == DistanceMetric::dot_product ? metric_kind_t::ip_k
                                                                        : metric_kind_t::l2sq_k;
    const scalar_kind_t scalar = config_.scalar == UsearchScalar::f32   ? scalar_kind_t::f32_k
                                 : config_.scalar == UsearchScalar::f16 ? scalar_kind_t::f16_k
                                                                        : scalar_kind_t::i8_k;
    return {dim_, kind, scalar};
  }

  [[nodiscard]] std::unique_ptr<Graph> make_graph() const {
    unum::usearch::index_dense_config_t config;
    config.connectivity = config_.connectivity;
    config.connectivity_base = config_.connectivity_base;
    config.expansion_add = config_.expansion_add;
    // usearch looks at as many candidates as it is asked for hits, or at this many if they are more. Being the least,
    // it leaves the choice to each search.
    config.expansion_search = 1;
    return std::make_unique<Graph>(
        accepted("make an index", [&] { return Graph::make(native_metric(), config); }).index);
  }

  // How many nodes the graph has, the erased ones included.
  [[nodiscard]] std::size_t nodes() const noexcept { return graph_ ? get_slot(graph_->cend()) : 0; }

  void make_room_for_one() {
    if (!graph_) {
      graph_ = make_graph();
    }
    if (graph_->size() < nodes() || nodes() < graph_->capacity()) {
      return;  // an erased node is used again, or there is room
    }
    if (nodes() == usearch_stream::most_nodes) {
      throw IndexError(IndexErrorKind::resource_limit, "the index holds " + std::to_string(nodes()) +
                                                           " vectors, the most that usearch has numbers for");
    }
    constexpr std::size_t least = 64;
    reserve(std::min<std::size_t>(std::max({least, config_.capacity, 2 * nodes()}), usearch_stream::most_nodes));
  }

  void reserve(std::size_t members) {
    if (!workplaces_) {
      workplaces_ = std::make_unique<Workplaces>(search_threads());
    }
    if (!graph_->try_reserve({members, search_threads()})) {
      throw std::bad_alloc();
    }
  }

  // As usearch orders them: by its own distances.
  [[nodiscard]] std::vector<Found> find_nearest(std::span<const float> query, const SearchParams& params) const {
    const std::size_t expansion = std::min(std::max(params.k, params.ef.value_or(config_.expansion_search)), size());
    // A way through the graph that meets every vector costs no less than to compare with each, which misses none: to
    // some no link may lead any more after many were erased.
    const bool exact = expansion == size();
    const Workplace workplace(*workplaces_);
    const auto result =
        accepted("search", [&] { return graph_->search(query.data(), expansion, workplace.number(), exact); });
    std::vector<Found> nearest;
    const std::size_t most = std::min<std::size_t>(params.k, result.size());
    nearest.reserve(most);
    while (nearest.size() < most) {
      const std::uint64_t key = result[nearest.size()].member.key;
      nearest.push_back({.slot = static_cast<std::size_t>(slot_of(key)), .distance = 0.0F});
    }
    return nearest;
  }

  void read_vector(std::size_t slot, std::span<float> into) const { graph_->get(key_of(slot), into.data()); }

  template <class KeyOf>
  static void write_graph(const Graph& graph, Writer& writer, KeyOf key_of) {
    usearch_stream::OutputStream<KeyOf> stream(writer, get_slot(graph.cend()), std::move(key_of));
    auto result =
        graph.save_to_stream([&stream](const void* from, std::size_t length) { return stream.write(from, length); });
    static_cast<void>(result.error.release());  // says only that the stream took no more
    stream.require_whole();
  }

  [[nodiscard]] static UsearchIndex decode(Reader& reader) {
    if (const auto version = reader.read_le<std::uint8_t>(); version != layout_version) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "the usearch index's payload has the layout version " + std::to_string(version) + "; expected " +
                      std::to_string(layout_version) + "; it needs a newer library, or it is damaged");
    }
    const auto dim = reader.read_le<std::uint64_t>();
    const DistanceMetric metric = metric_from_tag(reader.read_le<std::uint8_t>());
    UsearchConfig config;
    config.scalar = static_cast<UsearchScalar>(reader.read_le<std::uint8_t>());
    for (std::size_t* setting :
         {&config.connectivity, &config.connectivity_base, &config.expansion_add, &config.expansion_search}) {
      *setting = reader.read_le<std::uint64_t>();
    }
    UsearchIndex index = made_of(reader, dim, metric, config);
    index.slots_ = SlotTable::load_from(reader);
    const auto has_graph = reader.read_le<std::uint8_t>();
    if (has_graph > 1 || (has_graph == 0 && index.slots_.slots() > 0)) {
      reader.fail(PersistErrorKind::invalid_payload, "the usearch index has " + std::to_string(index.slots_.slots()) +
                                                         " slots and " + std::to_string(has_graph) + " graphs");
    }
    if (has_graph == 1) {
      index.read_graph(reader);
    }
    return index;
  }

  // An empty index with settings that were read.
  [[nodiscard]] static UsearchIndex made_of(const Reader& reader, std::uint64_t dim, DistanceMetric metric,
                                            const UsearchConfig& config) {
    try {
      return UsearchIndex(static_cast<std::size_t>(dim), metric, config);
    } catch (const IndexError& error) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "the usearch index cannot be as it is stated: " + std::string(error.what()));
    }
  }

  // Reads the graph of which the slots are known.
  void read_graph(Reader& reader) {
    std::vector<bool> seen(slots_.slots());
    std::size_t found = 0;
    read_graph(reader, [&](std::uint64_t key) {
      const std::uint64_t slot = slot_of(key);
      if (slot >= seen.size() || slots_.is_free(static_cast<std::size_t>(slot)) || seen[slot]) {
        reader.fail(PersistErrorKind::invalid_payload,
                    "a node of usearch's graph has the key " + std::to_string(key) + ", of a slot that is " +
                        (slot < seen.size() && seen[slot] ? "taken by another node" : "free"));
      }
      seen[slot] = true;
      ++found;
      return key;
    });
    if (found != slots_.size()) {
      reader.fail(PersistErrorKind::invalid_payload, "usearch's graph has nodes for " + std::to_string(found) + " of " +
                                                         std::to_string(slots_.size()) + " vectors");
    }
  }

  template <class TakeKey>
  void read_graph(Reader& reader, TakeKey take_key) {
    usearch_stream::CheckedStream<TakeKey> stream(reader, shape(), std::move(take_key));
    if (stream.rows() == 0) {
      reader.fail(PersistErrorKind::invalid_payload, "usearch's graph is stated to have no nodes, but to be there");
    }
    graph_ = make_graph();
    auto result =
        graph_->load_from_stream([&stream](void* into, std::size_t length) { return stream.read(into, length); });
    const char* const reason = result.error.release();
    stream.rethrow_failure();
    if (reason != nullptr) {
      // Of what a stream can make it say, nothing is left that was not found out before.
      throw std::bad_alloc();
    }
    stream.require_whole();
    // A loaded index has memory neither to work in nor, in some versions, to convert vectors in.
    reserve(stream.rows());
  }

  // Reads a graph of which nothing is known but its shape: each key becomes an identifier.
  void take_over_graph(Reader& reader) {
    constexpr std::uint64_t bytes_without_nodes =
        usearch_stream::matrix_size_bytes + usearch_stream::head_bytes + usearch_stream::graph_header_bytes;
    if (reader.remaining() == bytes_without_nodes) {
      std::array<std::byte, bytes_without_nodes> read_already{};
      reader.read(read_already);
      return;
    }
    read_graph(reader, [&](std::uint64_t key) {
      try {
        SlotTable::Addition addition = slots_.add(key, {});
        addition.keep();
        return key_of(addition.slot());
      } catch (const IndexError& error) {
        reader.fail(PersistErrorKind::invalid_payload,
                    "two nodes of usearch's graph have one key: " + std::string(error.what()));
      }
    });
  }

  void require_exportable() const {
    for (std::size_t slot = 0; slot < slots_.slots(); ++slot) {
      if (!slots_.is_free(slot) &&
          (!slots_.id(slot).is_integer() || slots_.id(slot).integer() == usearch_stream::erased_key)) {
        throw IndexError(IndexErrorKind::invalid_config,
                         "the vector " + to_string(slots_.id(slot)) +
                             " cannot be exported: usearch's keys are integers from 0 to 2^64-2; insert it under such "
                             "an identifier instead");
      }
    }
  }

  void write_exported(Writer& writer) const {
    const auto identifier_of = [this](std::uint64_t key) {
      return slots_.id(static_cast<std::size_t>(slot_of(key))).integer();
    };
    if (graph_) {
      write_graph(*graph_, writer, identifier_of);
    } else {
      write_graph(*make_graph(), writer, identifier_of);
    }
  }

  std::size_t dim_;
  DistanceMetric metric_;
  UsearchConfig config_;
  SlotTable slots_;
  // Made at the first insertion: an empty index takes no memory, whatever its dimension.
  std::unique_ptr<Graph> graph_;
  std::unique_ptr<Workplaces> workplaces_;  // as long as there is a graph with room
};

static_assert(SearchableIndex<UsearchIndex>);
static_assert(Persistable<UsearchIndex>);

/// Makes an index of the file at `path`, which usearch's `save` wrote: of an `index_dense_t` with one vector for each
/// key and the metric l2sq, ip or cos; each key becomes an integer identifier. The file is checked as a payload is.
/// What usearch does not save is given: how many candidates insertions and searches look at. To make it durable:
/// `PersistedIndex<UsearchIndex>::open_with(usearch_import(path), config)`.
///
/// Throws PersistError io where the file cannot be read, truncated_payload where it ends early, invalid_payload where
/// it is damaged or of another kind, saying which; IndexError invalid_config for candidates out of their range.
[[nodiscard]] inline UsearchIndex usearch_import(const std::filesystem::path& path,
                                                 std::size_t expansion_add = UsearchConfig{}.expansion_add,
                                                 std::size_t expansion_search = UsearchConfig{}.expansion_search) {
  // Before anything is read, so that what is found wrong there is the file's.
  UsearchIndex::check_config({.expansion_add = expansion_add, .expansion_search = expansion_search},
                             DistanceMetric::cosine);
  return read_foreign_file(path, "an index of usearch's", [&](auto& file) {
    const usearch_stream::Shape shape = usearch_stream::shape_in(file);
    FileRange source(file, 0, file.size());
    Reader reader(source, file.size(), LengthEvidence::stored);
    UsearchIndex index = UsearchIndex::made_of(reader, shape.dim, shape.metric,
                                               {.connectivity = shape.connectivity,
                                                .connectivity_base = shape.connectivity_base,
                                                .expansion_add = expansion_add,
                                                .expansion_search = expansion_search,
                                                .scalar = shape.scalar});
    index.take_over_graph(reader);
    if (reader.remaining() > 0) {
      reader.fail(PersistErrorKind::invalid_payload,
                  std::to_string(reader.remaining()) + " bytes stand behind usearch's index; expected none");
    }
    return index;
  });
}

/// Writes a file that usearch loads (`index_dense_t::load`), with integer identifiers as keys; metadata stays behind.
/// The file is there as a whole or not at all, and durable when the call returns; beside it lies `path`.lock.
///
/// Throws IndexError invalid_config where an identifier is bytes, or 2^64-1, which usearch has no key for; PersistError
/// locked where something else writes to that path, io where the file cannot be written.
inline void usearch_export(const UsearchIndex& index, const std::filesystem::path& path) {
  index.require_exportable();
  write_foreign_file(path, [&](Writer& writer) { index.write_exported(writer); });
}

}  // namespace iqdb::inline IQDB_PERSIST_ABI
