// What persistence needs of an index: certain members, or PersistTraits instead of them.
//
// The concepts are built of named parts, so that a compiler's message names the part that is missing.
// explain_persistable prints a sentence for each part that is missing or has another signature.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include "iqdb/explain_index.hpp"
#include "iqdb/index.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Whether `name` can name an index type on disk: 1 to 4096 bytes of UTF-8.
[[nodiscard]] constexpr bool is_index_type(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 4096 && is_utf8(name);
}

/// `static constexpr std::string_view index_type`: the name of the type on disk. It must be known at compile time.
template <class I>
concept NamesItself = requires {
  { I::index_type } -> std::convertible_to<std::string_view>;
  typename std::bool_constant<is_index_type(I::index_type)>;
};

/// `void save_to(Writer&) const`: writes the payload.
template <class I>
concept SavesItself = requires(const I& index, Writer& writer) {
  index.save_to(writer);
};

/// `static I load_from(Reader&)`: makes an index from a payload.
template <class I>
concept LoadsItself = requires(Reader& reader) {
  { I::load_from(reader) } -> std::same_as<I>;
};

namespace persist_parts {

/// The base of the PersistTraits of a type that has none of its own.
struct NotSpecialised {};

}  // namespace persist_parts

/// How an index of type I is saved and loaded. Specialise it for a type that you cannot edit:
///
///     template <> struct iqdb::PersistTraits<Foreign> {
///       static constexpr std::string_view index_type = "foreign";       // identity on disk: never renamed
///       static void save_to(const Foreign& index, iqdb::Writer& to);    // the payload, self-describing
///       static Foreign load_from(iqdb::Reader& from);
///       static std::size_t size(const Foreign& index);                  // these three only where Foreign
///       static std::size_t dim(const Foreign& index);                   // has no such members
///       static iqdb::DistanceMetric metric(const Foreign& index);
///     };
///
/// `load_from` throws an exception of any type if it cannot use a payload; `Reader::fail` throws a suitable one.
template <class I>
struct PersistTraits : persist_parts::NotSpecialised {};

/// A type with these members needs no specialisation: this one forwards to them.
template <class I>
  requires NamesItself<I> && SavesItself<I> && LoadsItself<I>
struct PersistTraits<I> {
  static constexpr std::string_view index_type = I::index_type;
  static void save_to(const I& index, Writer& writer) { index.save_to(writer); }
  [[nodiscard]] static I load_from(Reader& reader) { return I::load_from(reader); }
};

/// PersistTraits<I>::index_type exists at compile time and is valid.
template <class I>
concept HasIndexType = requires {
  { PersistTraits<I>::index_type } -> std::convertible_to<std::string_view>;
  typename std::bool_constant<is_index_type(PersistTraits<I>::index_type)>;
}
&&is_index_type(PersistTraits<I>::index_type);

/// PersistTraits<I>::save_to(index, writer) exists.
template <class I>
concept HasSaveTo = requires(const I& index, Writer& writer) {
  PersistTraits<I>::save_to(index, writer);
};

/// PersistTraits<I>::load_from(reader) exists and returns an I.
template <class I>
concept HasLoadFrom = requires(Reader& reader) {
  { PersistTraits<I>::load_from(reader) } -> std::same_as<I>;
};

/// PersistTraits<I>::size(index) exists.
template <class I>
concept TraitsHaveSize = requires(const I& index) {
  { PersistTraits<I>::size(index) } -> std::convertible_to<std::size_t>;
};

/// PersistTraits<I>::dim(index) exists.
template <class I>
concept TraitsHaveDim = requires(const I& index) {
  { PersistTraits<I>::dim(index) } -> std::convertible_to<std::size_t>;
};

/// PersistTraits<I>::metric(index) exists.
template <class I>
concept TraitsHaveMetric = requires(const I& index) {
  { PersistTraits<I>::metric(index) } -> std::convertible_to<DistanceMetric>;
};

/// An index that can be saved and loaded.
template <class I>
concept Persistable = HasIndexType<I> && HasSaveTo<I> && HasLoadFrom<I> &&
    (HasSize<I> || TraitsHaveSize<I>)&&(HasDim<I> || TraitsHaveDim<I>)&&(HasMetric<I> || TraitsHaveMetric<I>);

/// The number of vectors in `index`, from its traits if they have it, else from its member.
template <Persistable I>
[[nodiscard]] std::size_t persisted_size(const I& index) {
  if constexpr (TraitsHaveSize<I>) {
    return PersistTraits<I>::size(index);
  } else {
    return index.size();
  }
}

/// The number of components of each vector in `index`, from its traits if they have it, else from its member.
template <Persistable I>
[[nodiscard]] std::size_t persisted_dim(const I& index) {
  if constexpr (TraitsHaveDim<I>) {
    return PersistTraits<I>::dim(index);
  } else {
    return index.dim();
  }
}

/// The metric of `index`, from its traits if they have it, else from its member.
template <Persistable I>
[[nodiscard]] DistanceMetric persisted_metric(const I& index) {
  if constexpr (TraitsHaveMetric<I>) {
    return PersistTraits<I>::metric(index);
  } else {
    return index.metric();
  }
}

/// What a payload says of its index.
struct PayloadFacts {
  std::uint64_t dim = 0;                              ///< the number of components of each vector
  DistanceMetric metric = DistanceMetric::euclidean;  ///< how distances are measured
  std::uint64_t vectors = 0;                          ///< how many vectors it holds
};

/// `static PayloadFacts check_payload(Reader&)`: reads a payload as load_from does and throws what load_from throws, but keeps
/// no vectors: the check of a snapshot needs no memory for the index. It skips what any bytes may stand in. Of an index that
/// trusts nothing only, since it runs while the checksum is computed.
template <class I>
concept ChecksPayload = TrustsNothing<I> && requires(Reader& reader) {
  { I::check_payload(reader) } -> std::same_as<PayloadFacts>;
};

/// `static constexpr bool check_payload_skips_vectors = true`: check_payload skips most bytes of a payload, in large pieces. Then a
/// check of a snapshot reads the file past the memory of the system, which need not hold it for a second reading.
template <class I>
concept SkipsVectors = ChecksPayload<I> && requires {
  requires I::check_payload_skips_vectors;
};

namespace persist_parts {

/// Prints, in the compiler's message, the type that `load_from` returns beside the one that it should return.
template <class Found, class Expected>
consteval void require_returned() {
  static_assert(std::same_as<Found, Expected>,
                "The index has a `load_from` that returns another type: Found instead of Expected; expected `static I "
                "load_from(iqdb::Reader&)`.");
}

}  // namespace persist_parts

/// Write `static_assert(iqdb::explain_persistable<MyIndex>());` beside an index. If it is not Persistable, the compiler
/// prints one sentence for each part that is missing or has another signature.
template <class I>
consteval bool explain_persistable() {
  // Without traits of its own, a type that lacks one member has empty traits, which lack all three.
  constexpr bool by_members = std::derived_from<PersistTraits<I>, persist_parts::NotSpecialised>;
  using Named = std::conditional_t<by_members, I, PersistTraits<I>>;
  constexpr bool names = HasIndexType<I> || (by_members && NamesItself<I>);
  constexpr bool saves = HasSaveTo<I> || (by_members && SavesItself<I>);
  constexpr bool loads = HasLoadFrom<I> || (by_members && LoadsItself<I>);
  constexpr bool has_size = member_names::has_size<I> || member_names::has_size<PersistTraits<I>>;
  constexpr bool has_dim = member_names::has_dim<I> || member_names::has_dim<PersistTraits<I>>;
  constexpr bool has_metric = member_names::has_metric<I> || member_names::has_metric<PersistTraits<I>>;
  static_assert(names || member_names::has_index_type<Named>,
                "The index lacks `static constexpr std::string_view index_type`, 1 to 4096 bytes of UTF-8 naming it on "
                "disk, as a member or in PersistTraits.");
  static_assert(names || !member_names::has_index_type<Named>,
                "The index has an `index_type` that cannot name it on disk; expected `static constexpr "
                "std::string_view index_type`, public, 1 to 4096 bytes of UTF-8.");
  static_assert(saves || member_names::has_save_to<Named>,
                "The index lacks `void save_to(iqdb::Writer&) const`, which writes its payload, as a member or in "
                "PersistTraits.");
  static_assert(
      saves || !member_names::has_save_to<Named>,
      "The index has a `save_to` that cannot be called for a const index with an iqdb::Writer&; expected `void "
      "save_to(iqdb::Writer&) const`, in PersistTraits `static void save_to(const I&, iqdb::Writer&)`, "
      "public.");
  static_assert(
      loads || member_names::has_load_from<Named>,
      "The index lacks `static I load_from(iqdb::Reader&)`, which makes an index of a payload, as a member or "
      "in PersistTraits.");
  if constexpr (requires(Reader & reader) { Named::load_from(reader); }) {
    if constexpr (!loads) {
      persist_parts::require_returned<decltype(Named::load_from(std::declval<Reader&>())), I>();
    }
  } else {
    static_assert(loads || !member_names::has_load_from<Named>,
                  "The index has a `load_from` that cannot be called without an index, with an iqdb::Reader&; expected "
                  "`static I load_from(iqdb::Reader&)`, public.");
  }
  static_assert(HasSize<I> || TraitsHaveSize<I> || has_size,
                "The index lacks `std::size_t size() const`, the number of its vectors, as a member or in "
                "PersistTraits.");
  static_assert(HasSize<I> || TraitsHaveSize<I> || !has_size,
                "The index has a `size` with another signature; expected `std::size_t size() const`, in PersistTraits "
                "`static std::size_t size(const I&)`.");
  static_assert(HasDim<I> || TraitsHaveDim<I> || has_dim,
                "The index lacks `std::size_t dim() const`, the number of components of its vectors, as a member or in "
                "PersistTraits.");
  static_assert(HasDim<I> || TraitsHaveDim<I> || !has_dim,
                "The index has a `dim` with another signature; expected `std::size_t dim() const`, in PersistTraits "
                "`static std::size_t dim(const I&)`.");
  static_assert(HasMetric<I> || TraitsHaveMetric<I> || has_metric,
                "The index lacks `iqdb::DistanceMetric metric() const`, how it measures distance, as a member or in "
                "PersistTraits.");
  static_assert(HasMetric<I> || TraitsHaveMetric<I> || !has_metric,
                "The index has a `metric` with another signature; expected `iqdb::DistanceMetric metric() const`, in "
                "PersistTraits `static iqdb::DistanceMetric metric(const I&)`.");
  return Persistable<I>;
}

}  // namespace iqdb
