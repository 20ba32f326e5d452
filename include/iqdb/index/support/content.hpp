// Content: what an index says of the vectors that it holds, written once for every index of this library.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index_error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// Base class of an index. `Derived` offers this class, as a friend:
///
/// - `content()`, with two functions: `visit_one(id, visit)` calls `visit(vector, metadata)` with what is held under the
///   identifier, as for_each does, and returns whether something is; `visit_ids(visit)` calls `visit(id)` for each vector, in the
///   order of for_each
/// - `contains(id)`, `size()`
template <class Derived>
class Content {
 public:
  /// A copy of the vector and the metadata of an identifier. The vector has the form in which the index keeps it: an adapter
  /// keeps a direction for the cosine, and may keep other scalars. Throws IndexError not_found if the index does not hold it;
  /// std::bad_alloc. Several threads may call it at the same time.
  [[nodiscard]] StoredVector get(const VectorId& id) const {
    std::optional<StoredVector> found = find(id);
    if (!found) {
      throw_not_found(id);
    }
    return *std::move(found);
  }

  /// As get(), but nothing if the index does not hold the identifier.
  [[nodiscard]] std::optional<StoredVector> find(const VectorId& id) const {
    std::optional<StoredVector> found;
    derived().content().visit_one(id, [&](std::span<const float> vector, const std::optional<Metadata>& metadata) {
      found.emplace();
      found->vector.assign(vector.begin(), vector.end());
      found->metadata = copied(metadata);
    });
    return found;
  }

  /// A copy of the metadata of an identifier; nothing if its vector was stored without. Throws as get() does.
  [[nodiscard]] std::optional<Metadata> metadata(const VectorId& id) const {
    std::optional<Metadata> found;
    if (!derived().content().visit_one(id,
                                       [&](std::span<const float> /*vector*/, const std::optional<Metadata>& metadata) {
                                         found = copied(metadata);
                                       })) {
      throw_not_found(id);
    }
    return found;
  }

  /// The identifiers of all vectors, in the order of for_each. Throws std::bad_alloc. Several threads may call it at the same
  /// time.
  [[nodiscard]] std::vector<VectorId> ids() const {
    std::vector<VectorId> ids;
    ids.reserve(derived().size());
    derived().content().visit_ids([&](const VectorId& id) { ids.push_back(id); });
    return ids;
  }

 protected:
  [[noreturn]] static void throw_not_found(const VectorId& id) {
    throw IndexError(IndexErrorKind::not_found, "the index holds no vector " + to_string(id));
  }

 private:
  friend Derived;
  Content() = default;

  [[nodiscard]] const Derived& derived() const noexcept { return static_cast<const Derived&>(*this); }
};

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
