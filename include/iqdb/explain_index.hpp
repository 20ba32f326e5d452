// explain_index: says at compile time which part of an index is missing, or is there with another signature.
#pragma once

#include <concepts>
#include <type_traits>

#include "iqdb/index.hpp"

namespace iqdb {

/// Whether a class has a member of a name, whatever its signature and access.
namespace member_names {

// A class that inherits a name from two bases has no member of that name that can be named: then the first base has it
// too. A class that cannot be a base shows only members that are not overloaded.
template <class I>
concept Base = std::is_class_v<I> && !std::is_final_v<I>;

// NOLINTBEGIN(*-macro-usage): there is no other way to write a name once
#define IQDB_MEMBER_NAMED(name)                     \
  struct Other_##name {                             \
    int name;                                       \
  };                                                \
  template <class I>                                \
  struct Both_##name : I, Other_##name {};          \
  template <class I>                                \
  inline constexpr bool has_##name = requires {     \
    &I::name;                                       \
  };                                                \
  template <Base I>                                 \
  inline constexpr bool has_##name<I> = !requires { \
    &Both_##name<I>::name;                          \
  };

IQDB_MEMBER_NAMED(insert)
IQDB_MEMBER_NAMED(erase)
IQDB_MEMBER_NAMED(upsert)
IQDB_MEMBER_NAMED(check_vector)
IQDB_MEMBER_NAMED(check_insert)
IQDB_MEMBER_NAMED(check_upsert)
IQDB_MEMBER_NAMED(check_erase)
IQDB_MEMBER_NAMED(update_metadata)
IQDB_MEMBER_NAMED(check_update_metadata)
IQDB_MEMBER_NAMED(size)
IQDB_MEMBER_NAMED(dim)
IQDB_MEMBER_NAMED(metric)
IQDB_MEMBER_NAMED(index_type)
IQDB_MEMBER_NAMED(save_to)
IQDB_MEMBER_NAMED(load_from)
#undef IQDB_MEMBER_NAMED
// NOLINTEND(*-macro-usage)

}  // namespace member_names

/// Whether a type has an `insert` and an `erase`, as an index has whose mutations are logged, but one of them cannot be
/// called as a log calls it. PersistedIndex refuses such a type at compile time. If it is not to be logged, it says so by
/// `static constexpr bool never_logged = true`.
template <class I>
concept MistakenForIndex =
    member_names::has_insert<I> && member_names::has_erase<I> && !(Insertable<I> && Erasable<I>)&&!requires {
  requires I::never_logged;
};

/// Write `static_assert(iqdb::explain_index<MyIndex>());` beside an index whose mutations are to be logged. If it is no
/// Index, the compiler prints one sentence for each part that is missing or has another signature. It also prints one for
/// an optional part, as `check_insert`, whose signature is another, since that part would not be called.
template <class I>
consteval bool explain_index() {
  static_assert(Insertable<I> || member_names::has_insert<I>,
                "The index lacks `void insert(iqdb::VectorId id, std::span<const float> vector, "
                "std::optional<iqdb::Metadata> metadata)`, which adds a vector.");
  static_assert(Insertable<I> || !member_names::has_insert<I>,
                "The index has an `insert` with another signature; expected `void insert(iqdb::VectorId id, "
                "std::span<const float> vector, std::optional<iqdb::Metadata> metadata)`, public, with all three "
                "parameters of these types or of types made from them.");
  static_assert(Erasable<I> || member_names::has_erase<I>,
                "The index lacks `void erase(const iqdb::VectorId& id)`, which removes a vector.");
  static_assert(Erasable<I> || !member_names::has_erase<I>,
                "The index has an `erase` with another signature; expected `void erase(const iqdb::VectorId& id)`, "
                "public.");
  static_assert(HasSize<I> || member_names::has_size<I>,
                "The index lacks `std::size_t size() const`, the number of its vectors.");
  static_assert(HasSize<I> || !member_names::has_size<I>,
                "The index has a `size` with another signature; expected `std::size_t size() const`.");
  static_assert(HasDim<I> || member_names::has_dim<I>,
                "The index lacks `std::size_t dim() const`, the number of components of its vectors.");
  static_assert(HasDim<I> || !member_names::has_dim<I>,
                "The index has a `dim` with another signature; expected `std::size_t dim() const`.");
  static_assert(HasMetric<I> || member_names::has_metric<I>,
                "The index lacks `iqdb::DistanceMetric metric() const`, how it measures distance.");
  static_assert(HasMetric<I> || !member_names::has_metric<I>,
                "The index has a `metric` with another signature; expected `iqdb::DistanceMetric metric() const`.");

  static_assert(Upsertable<I> || !member_names::has_upsert<I>,
                "The index has an `upsert` with another signature, which is not called; expected `void "
                "upsert(iqdb::VectorId id, std::span<const float> vector, std::optional<iqdb::Metadata> metadata)`.");
  static_assert(ChecksVector<I> || !member_names::has_check_vector<I>,
                "The index has a `check_vector` with another signature, which is not called; expected `void "
                "check_vector(std::span<const float> vector, const std::optional<iqdb::Metadata>& metadata) const`.");
  static_assert(ChecksInsert<I> || !member_names::has_check_insert<I>,
                "The index has a `check_insert` with another signature, which is not called; expected `void "
                "check_insert(const iqdb::VectorId& id, std::span<const float> vector, const "
                "std::optional<iqdb::Metadata>& metadata) const`.");
  static_assert(ChecksUpsert<I> || !member_names::has_check_upsert<I>,
                "The index has a `check_upsert` with another signature, which is not called; expected `void "
                "check_upsert(const iqdb::VectorId& id, std::span<const float> vector, const "
                "std::optional<iqdb::Metadata>& metadata) const`.");
  static_assert(ChecksErase<I> || !member_names::has_check_erase<I>,
                "The index has a `check_erase` with another signature, which is not called; expected `void "
                "check_erase(const iqdb::VectorId& id) const`.");
  static_assert(UpdatesMetadata<I> || !member_names::has_update_metadata<I>,
                "The index has an `update_metadata` with another signature, which is not called; expected `void "
                "update_metadata(const iqdb::VectorId& id, std::optional<iqdb::Metadata> metadata)`.");
  static_assert(
      ChecksUpdateMetadata<I> || !member_names::has_check_update_metadata<I>,
      "The index has a `check_update_metadata` with another signature, which is not called; expected `void "
      "check_update_metadata(const iqdb::VectorId& id, const std::optional<iqdb::Metadata>& metadata) const`.");
  return Index<I>;
}

/// What is missing of a type that is no Index because it cannot be changed as a log asks, for an error at run time.
template <class I>
[[nodiscard]] constexpr const char* missing_of_index() noexcept {
  return !Insertable<I> && !Erasable<I> ? "insert and erase"
         : !Insertable<I>               ? "insert(VectorId, std::span<const float>, std::optional<Metadata>)"
         : !Erasable<I>                 ? "erase(VectorId)"
                                        : "size, dim or metric as its own member";
}

}  // namespace iqdb
