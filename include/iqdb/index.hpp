// What an index must offer so that its mutations can be logged and replayed.
//
// The concepts are built of named parts, so that a compiler's message names the part that is missing.
#pragma once

#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index_error.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/types.hpp"

namespace iqdb {

/// `i.insert(id, vector, metadata)` adds a vector. It throws IndexError to reject one, and then has changed nothing.
template <class I>
concept Insertable = requires(I& index, const VectorId& logged, VectorId id, std::span<const float> vector,
                              std::optional<Metadata> metadata) {
  index.insert(std::move(id), vector, std::move(metadata));
  index.insert(logged, vector, std::move(metadata));  // as a replay does
};

/// `i.erase(id)` removes a vector. It throws IndexError not_found if the index does not hold it.
template <class I>
concept Erasable = requires(I& index, const VectorId& id) {
  index.erase(id);
};

/// `i.size()` is the number of vectors.
template <class I>
concept HasSize = requires(const I& index) {
  { index.size() } -> std::convertible_to<std::size_t>;
};

/// `i.dim()` is the number of components of each vector.
template <class I>
concept HasDim = requires(const I& index) {
  { index.dim() } -> std::convertible_to<std::size_t>;
};

/// `i.metric()` is how distances are measured.
template <class I>
concept HasMetric = requires(const I& index) {
  { index.metric() } -> std::convertible_to<DistanceMetric>;
};

/// An index whose mutations can be logged. Whether it rejects a mutation may depend only on what it saves and on the
/// mutations before; otherwise a replay of the same mutations could end in another state.
template <class I>
concept Index = Insertable<I> && Erasable<I> && HasSize<I> && HasDim<I> && HasMetric<I>;

/// `i.check_vector(vector, metadata)` throws what `insert` throws for any identifier: what does not depend on the state,
/// as a wrong dimension or metadata that cannot be stored. It changes nothing, and several threads may call it while
/// another thread changes the index.
template <class I>
concept ChecksVector = requires(const I& index, std::span<const float> vector,
                                const std::optional<Metadata>& metadata) {
  index.check_vector(vector, metadata);
};

/// `i.check_insert(id, vector, metadata)` throws what `insert` would throw, except std::bad_alloc, and changes nothing.
template <class I>
concept ChecksInsert = requires(const I& index, const VectorId& id, std::span<const float> vector,
                                const std::optional<Metadata>& metadata) {
  index.check_insert(id, vector, metadata);
};

/// `i.check_erase(id)` throws what `erase` would throw, except std::bad_alloc, and changes nothing.
template <class I>
concept ChecksErase = requires(const I& index, const VectorId& id) {
  index.check_erase(id);
};

/// `i.upsert(id, vector, metadata)` adds a vector, or replaces the vector and the metadata of that identifier. It throws
/// IndexError to reject it, and then has changed nothing.
template <class I>
concept Upsertable = requires(I& index, VectorId id, std::span<const float> vector, std::optional<Metadata> metadata) {
  index.upsert(std::move(id), vector, std::move(metadata));
};

/// `i.check_upsert(id, vector, metadata)` throws what `upsert` would throw, except std::bad_alloc, and changes nothing.
template <class I>
concept ChecksUpsert = requires(const I& index, const VectorId& id, std::span<const float> vector,
                                const std::optional<Metadata>& metadata) {
  index.check_upsert(id, vector, metadata);
};

/// `i.update_metadata(id, metadata)` replaces the metadata of an identifier and leaves its vector as it is. It throws
/// IndexError to reject it, and then has changed nothing.
template <class I>
concept UpdatesMetadata = requires(I& index, const VectorId& id, std::optional<Metadata> metadata) {
  index.update_metadata(id, std::move(metadata));
};

/// `i.check_update_metadata(id, metadata)` throws what `update_metadata` would throw, except std::bad_alloc, and changes
/// nothing.
template <class I>
concept ChecksUpdateMetadata = requires(const I& index, const VectorId& id, const std::optional<Metadata>& metadata) {
  index.check_update_metadata(id, metadata);
};

/// `i.insert_many(rows, threads)` adds all rows, as if each were inserted in their order, or throws what insert would throw
/// for one of them and has changed nothing. It may work in the LentThreads. A replay, a batch and a group of callers call
/// it for insertions that follow one another; where it throws, they insert the rows one by one. Write
/// `static_assert(iqdb::InsertsMany<MyIndex>);` beside an index: a function with another signature is not called.
template <class I>
concept InsertsMany = requires(I& index, const InsertedRows& rows, LentThreads& threads) {
  index.insert_many(rows, threads);
};

/// `i.insert_logged(id, vector, metadata)` and `i.upsert_logged(id, vector, metadata)` do what `insert` and `upsert` do,
/// and also take what an earlier version of the index took and has logged, while `insert` and `upsert` refuse it now. A
/// replay calls them in place of `insert` and `upsert`, so that an upgrade of the index loses no acknowledged mutation.
template <class I>
concept TakesLogged = requires(I& index, const VectorId& id, std::span<const float> vector,
                               std::optional<Metadata> metadata) {
  index.insert_logged(id, vector, std::move(metadata));
  index.upsert_logged(id, vector, std::move(metadata));
};

/// `static constexpr bool freezes_by_fork = true`: all of the index lies in memory of this process alone (no file or
/// shared memory is mapped, no other device holds a part), and its `save_to` takes no lock, starts no thread and uses no
/// OpenMP. A forked process can then write it while this one goes on.
template <class I>
concept FreezesByFork = requires {
  requires I::freezes_by_fork;
};

/// `static constexpr bool concurrent_reads = true`: any thread may call the const members of the index while another
/// thread, one at a time, inserts, erases, upserts or updates metadata. What a reader meets of a mutation is up to the index. A SharedIndex
/// then lets readers and mutations pass each other: a reader may see the first mutations of a batch before the last.
template <class I>
concept ConcurrentReads = requires {
  requires I::concurrent_reads;
};

/// `static constexpr bool trusts_nothing = true`: `load_from` checks every length, link and value that it reads, so that
/// it may be given bytes whose checksum is not verified yet. It is fuzzed.
template <class I>
concept TrustsNothing = requires {
  requires I::trusts_nothing;
};

/// `i.search(query, params)` returns the nearest vectors, nearest first.
template <class I>
concept Searchable = requires(const I& index, std::span<const float> query, const SearchParams& params) {
  { index.search(query, params) } -> std::convertible_to<std::vector<Hit>>;
};

/// `i.search_many(queries, params, threads)` returns the nearest vectors of each query; the queries lie one behind the other,
/// and `threads` is how many threads may search, or 0.
template <class I>
concept SearchesMany = requires(const I& index, std::span<const float> queries, const SearchParams& params,
                                std::size_t threads) {
  { index.search_many(queries, params, threads) } -> std::convertible_to<std::vector<std::vector<Hit>>>;
};

/// `i.contains(id)`, `i.find(id)`, `i.metadata(id)` and `i.ids()` give back what the index holds. `find` returns nothing, and
/// `metadata` throws IndexError not_found, for an identifier that it does not hold.
template <class I>
concept GivesContent = requires(const I& index, const VectorId& id) {
  { index.contains(id) } -> std::convertible_to<bool>;
  { index.find(id) } -> std::convertible_to<std::optional<StoredVector>>;
  { index.metadata(id) } -> std::convertible_to<std::optional<Metadata>>;
  { index.ids() } -> std::convertible_to<std::vector<VectorId>>;
};

/// An index that can also be searched.
template <class I>
concept SearchableIndex = Index<I> && Searchable<I>;

}  // namespace iqdb
