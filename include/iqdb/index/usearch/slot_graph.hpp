// SlotGraph: usearch's graph, in which a slot identifies a vector.
//
// The first insertion makes the graph, so an empty index takes no memory, whatever its dimension. CheckedStream checks
// every stream before usearch reads it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <usearch/index_dense.hpp>
#include <utility>
#include <vector>

#include "iqdb/index/support/nearest.hpp"
#include "iqdb/index/usearch/checked_stream.hpp"
#include "iqdb/index/usearch/config.hpp"
#include "iqdb/index/usearch/output_stream.hpp"
#include "iqdb/index/usearch/stream_layout.hpp"
#include "iqdb/index/usearch/workplaces.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace usearch_stream {

/// Calls usearch, which returns its errors. An error left in the result would be thrown by the result's destructor.
/// Throws IndexError resource_limit for an error, std::bad_alloc if usearch reports that memory is short.
template <class Call>
std::invoke_result_t<Call> accepted(std::string_view action, Call&& call) {
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

// usearch keeps keys in a hash table whose hash is the key itself. Erasing a key steps over all keys that follow it
// without a gap. With slots as keys there would be no gaps, and an erasure among 100,000 keys would take 0.5 ms.
// Multiplying a slot by an odd number spreads the keys, which makes it 2 µs, and keeps them unique.
inline constexpr std::uint64_t key_factor = 0x9E3779B97F4A7C15;
inline constexpr std::uint64_t key_factor_inverse = 0xF1DE83E19937733D;
static_assert(key_factor * key_factor_inverse == 1);

/// usearch's key of the vector in a slot.
[[nodiscard]] constexpr std::uint64_t key_of(std::size_t slot) noexcept { return slot * key_factor; }

/// The slot of the vector that has a key.
[[nodiscard]] constexpr std::uint64_t slot_of(std::uint64_t key) noexcept { return key * key_factor_inverse; }

/// usearch's `index_dense_t` and the memory it works in. Searches may run at the same time as each other. Mutations run
/// one at a time and never during a search.
class SlotGraph {
 public:
  /// Precondition: check_config passed, and the dimension is in range.
  SlotGraph(std::size_t dim, DistanceMetric metric, const UsearchConfig& config)
      : shape_{.dim = dim,
               .metric = metric,
               .scalar = config.scalar,
               .connectivity = config.connectivity,
               .connectivity_base = config.connectivity_base},
        config_(config) {}

  [[nodiscard]] const UsearchConfig& config() const noexcept { return config_; }

  /// usearch's object; null while nothing was added.
  [[nodiscard]] const unum::usearch::index_dense_t* native() const noexcept { return graph_.get(); }

  /// Makes room for so many vectors in all, at most most_nodes. Throws std::bad_alloc, IndexError resource_limit.
  void make_room_for_all(std::size_t vectors) {
    const std::size_t held = graph_ ? graph_->size() : 0;
    make_room_for(std::max(vectors, held) - held);
  }

  /// The number of nodes, including the erased ones.
  [[nodiscard]] std::size_t nodes() const noexcept { return graph_ ? get_slot(graph_->cend()) : 0; }

  /// Adds a vector. If it throws, nothing has changed.
  void add(std::size_t slot, std::span<const float> vector) { add_scalars(slot, vector.data()); }

  /// Adds the vector in a slot of another graph of this shape, in the scalars in which it is kept: to convert them would
  /// round them once more. If it throws, nothing has changed.
  void add_copy(std::size_t slot, const SlotGraph& other, std::size_t its_slot) {
    switch (shape_.scalar) {
      case UsearchScalar::f32:
        return add_scalars<float>(slot, other, its_slot);
      case UsearchScalar::f16:
        return add_scalars<unum::usearch::f16_t>(slot, other, its_slot);
      case UsearchScalar::i8:
        return add_scalars<unum::usearch::i8_t>(slot, other, its_slot);
      case UsearchScalar::bf16:
        return add_scalars<unum::usearch::bf16_t>(slot, other, its_slot);
      case UsearchScalar::f64:
        return add_scalars<unum::usearch::f64_t>(slot, other, its_slot);
    }
  }

  /// Adds the vectors of rows: `vector_of(row)` to the slot `slot_of(row)`. If it throws, it has erased again what it had
  /// added, in the way of erase().
  ///
  /// It adds them in this thread. usearch adds in several threads without damage, but a node that is found before all its
  /// links are made loses those that others make to it: of vectors that are near each other in succession, up to one in
  /// twenty is then never found.
  template <class SlotOf, class VectorOf>
  void add_many(std::size_t rows, SlotOf slot_of, VectorOf vector_of) {
    finish_erasures();
    make_room_for(rows);
    unfinished_.reserve(rows);
    std::size_t added = 0;
    try {
      for (; added < rows; ++added) {
        const auto vector = vector_of(added);
        accepted("insert a vector", [&] { return graph_->add(key_of(slot_of(added)), vector.data(), writing_thread); });
      }
    } catch (...) {
      while (added > 0) {
        unfinished_.push_back(slot_of(--added));
      }
      try_to_finish_erasures();
      throw;
    }
  }

  /// Erases a vector. Precondition: the graph holds it. Directly behind add() it throws nothing: the first erasure needs
  /// memory in usearch, and if there is none, it is made by the next add() or erase(), which throw then and change
  /// nothing. Until then the vector is neither found nor written.
  void erase(std::size_t slot) {
    finish_erasures();
    unfinished_.reserve(1);  // behind add() there is room
    unfinished_.push_back(slot);
    try_to_finish_erasures();
  }

  /// Returns up to `most` vectors that are nearest by usearch's own distances, of those for which `asked`, EverySlot or an
  /// AskedSlots, is true; or none if one of the distances is not a number. Looks at `candidates` vectors, or at all if `exact`.
  /// Precondition: the graph holds at least one vector.
  template <class Asked>
  [[nodiscard]] std::vector<index_support::Found> search(std::span<const float> query, std::size_t most,
                                                         std::size_t candidates, bool exact, Asked& asked) const {
    const Workplace workplace(*workplaces_);
    const auto result = accepted("search", [&] {
      if constexpr (Asked::admits_every) {
        return graph_->search(query.data(), candidates, workplace.number(), exact);
      } else {
        const auto admits = [&](std::uint64_t key) noexcept {
          const auto slot = static_cast<std::size_t>(slot_of(key));
          return !is_unfinished(slot) && asked(slot);
        };
        return graph_->filtered_search(query.data(), candidates, admits, workplace.number(), exact);
      }
    });
    std::vector<index_support::Found> found;
    for (std::size_t at = 0; at < result.size(); ++at) {
      if (std::isnan(result[at].distance)) {
        return found;
      }
    }
    found.reserve(std::min<std::size_t>(most, result.size()));
    for (std::size_t at = 0; at < result.size() && found.size() < most; ++at) {
      const std::uint64_t key = result[at].member.key;
      if (const auto slot = static_cast<std::size_t>(slot_of(key)); !is_unfinished(slot)) {
        found.push_back({.slot = slot});
      }
    }
    return found;
  }

  /// Reads the vector in a slot, as it is kept. Precondition: the slot has a vector.
  void read_vector(std::size_t slot, std::span<float> into) const { graph_->get(key_of(slot), into.data()); }

  /// Writes usearch's stream with `number_of(slot)` as the keys. If no graph exists, the stream is that of a graph
  /// without nodes.
  template <class NumberOf>
  void write(Writer& writer, NumberOf number_of) const {
    const std::unique_ptr<Graph> empty = graph_ ? nullptr : make_graph();
    const Graph& graph = graph_ ? *graph_ : *empty;
    const auto number_for = [&](std::uint64_t key) -> std::uint64_t {
      const auto slot = static_cast<std::size_t>(slot_of(key));
      return is_unfinished(slot) ? erased_key : number_of(slot);
    };
    OutputStream stream(writer, get_slot(graph.cend()), number_for);
    auto result =
        graph.save_to_stream([&stream](const void* from, std::size_t length) { return stream.write(from, length); });
    static_cast<void>(result.error.release());  // says only that the stream took no more
    stream.require_whole();
  }

  /// Reads usearch's stream of a graph that has nodes. `take_key` and `name_of` are as for CheckedStream. Throws PersistError
  /// invalid_payload for a stream that usearch did not write, unsupported if usearch reads it in an unknown order.
  template <class TakeKey, class NameOf>
  void read(Reader& reader, TakeKey take_key, NameOf name_of) {
    CheckedStream<TakeKey, NameOf> stream(reader, shape_, std::move(take_key), std::move(name_of));
    if (stream.rows() == 0) {
      reader.fail(PersistErrorKind::invalid_payload, "usearch's graph is stated to have no nodes, but to be there");
    }
    graph_ = make_graph();
    auto result =
        graph_->load_from_stream([&stream](void* into, std::size_t length) { return stream.read(into, length); });
    const char* const reason = result.error.release();
    stream.rethrow_failure();
    if (reason != nullptr) {
      // CheckedStream found every error that the stream could cause. What remains is a shortage of memory.
      throw std::bad_alloc();
    }
    stream.require_whole();
    // A loaded index has no working memory yet and, in some versions, no memory to convert vectors in.
    reserve(stream.rows());
  }

 private:
  using Graph = unum::usearch::index_dense_t;

  static constexpr std::size_t writing_thread = 0;

  template <class Scalar>
  void add_scalars(std::size_t slot, const Scalar* vector) {
    finish_erasures();
    make_room_for(1);
    unfinished_.reserve(1);
    accepted("insert a vector", [&] { return graph_->add(key_of(slot), vector, writing_thread); });
  }

  template <class Scalar>
  void add_scalars(std::size_t slot, const SlotGraph& other, std::size_t its_slot) {
    std::vector<Scalar> vector(shape_.dim);
    other.graph_->get(key_of(its_slot), vector.data());
    add_scalars(slot, vector.data());
  }

  static std::size_t search_threads() noexcept { return std::max(1U, std::thread::hardware_concurrency()); }

  [[nodiscard]] unum::usearch::metric_punned_t native_metric() const {
    using unum::usearch::metric_kind_t;
    using unum::usearch::scalar_kind_t;
    const metric_kind_t kind = shape_.metric == DistanceMetric::cosine        ? metric_kind_t::cos_k
                               : shape_.metric == DistanceMetric::dot_product ? metric_kind_t::ip_k
                                                                              : metric_kind_t::l2sq_k;
    return {shape_.dim, kind, static_cast<scalar_kind_t>(code_of(shape_.scalar))};
  }

  [[nodiscard]] std::unique_ptr<Graph> make_graph() const {
    unum::usearch::index_dense_config_t config;
    config.connectivity = config_.connectivity;
    config.connectivity_base = config_.connectivity_base;
    config.expansion_add = config_.expansion_add;
    // usearch looks at as many candidates as it is asked for hits, or at this many if that is more. With the minimum
    // here each search chooses for itself.
    config.expansion_search = 1;
    return std::make_unique<Graph>(
        accepted("make an index", [&] { return Graph::make(native_metric(), config); }).index);
  }

  [[nodiscard]] bool is_unfinished(std::size_t slot) const noexcept {
    return std::ranges::find(unfinished_, slot) != unfinished_.end();
  }

  void finish_erasures() {
    for (; !unfinished_.empty(); unfinished_.pop_back()) {
      accepted("erase a vector", [&] { return graph_->remove(key_of(unfinished_.back())); });
    }
  }

  void try_to_finish_erasures() noexcept {
    try {
      finish_erasures();
    } catch (const std::bad_alloc&) {
      return;
    } catch (const IndexError&) {
      return;
    }
  }

  // Precondition: with `more` vectors there are at most most_nodes, so that usearch has numbers for them.
  void make_room_for(std::size_t more) {
    if (!graph_) {
      graph_ = make_graph();
    }
    const std::size_t needed = std::max<std::size_t>(nodes(), graph_->size() + more);  // erased nodes are used again
    if (needed <= graph_->capacity()) {
      return;
    }
    constexpr std::size_t least = 64;
    reserve(std::min<std::size_t>(std::max({least, config_.capacity, 2 * nodes(), needed}), most_nodes));
  }

  void reserve(std::size_t members) {
    if (!workplaces_) {
      workplaces_ = std::make_unique<Workplaces>(search_threads());
    }
    if (!graph_->try_reserve({members, search_threads()})) {
      throw std::bad_alloc();
    }
  }

  Shape shape_;
  UsearchConfig config_;
  std::unique_ptr<Graph> graph_;
  std::unique_ptr<Workplaces> workplaces_;  // set by the first reserve()
  std::vector<std::size_t> unfinished_;     // the slots of vectors that usearch still has to erase
};

}  // namespace usearch_stream

}  // namespace iqdb::inline IQDB_PERSIST_ABI
