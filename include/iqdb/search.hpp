// What a search is asked, and what it finds.
#pragma once

#include <concepts>
#include <cstddef>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "iqdb/metadata.hpp"
#include "iqdb/vector_id.hpp"

namespace iqdb {

/// `admits(id, metadata)` or `admits(id)` tells whether a search may return a vector.
template <class Admits>
concept SearchPredicate = std::predicate < const Admits&,
        const VectorId&, const std::optional<Metadata>
& > || std::predicate<const Admits&, const VectorId&>;

/// A range of identifiers, or of integers, as a std::vector<VectorId> or a std::set<int>.
template <class Ids>
concept IdRange = requires(const Ids& ids) {
  { *std::begin(ids) } -> std::convertible_to<VectorId>;
  std::end(ids);
};

/// The predicate that admits every vector.
struct AdmitsEvery {
  [[nodiscard]] constexpr bool operator()(const VectorId& /*id*/) const noexcept { return true; }
};

/// Calls a predicate of either form.
template <SearchPredicate Admits>
[[nodiscard]] bool is_admitted(const Admits& admits, const VectorId& id, const std::optional<Metadata>& metadata) {
  if constexpr (std::predicate<const Admits&, const VectorId&, const std::optional<Metadata>&>) {
    return admits(id, metadata);
  } else {
    return admits(id);
  }
}

/// Which vectors a search may return: those that a function admits, those of a set of identifiers, or all but these.
///
///     index.search(query, {.k = 5, .filter = iqdb::SearchFilter::allow({1, 2, 3})});
///     index.search(query, {.filter = [](const iqdb::VectorId& id) { return id.integer() < 1000; }});
///
/// A filter is read, never changed: several threads may use one at the same time, and a copy is cheap.
class SearchFilter {
 public:
  /// Admits every vector.
  SearchFilter() = default;

  /// Admits the vectors of which `admits(id, metadata)`, or `admits(id)`, is true. A search calls it while it runs, for any
  /// vector and any number of times; search_many calls it from several threads at the same time. It must always give the same
  /// answer, and must not change the index. What it throws passes through the search. Throws std::bad_alloc.
  template <class Admits>
    requires(SearchPredicate<std::decay_t<Admits>> && !std::same_as<std::decay_t<Admits>, SearchFilter>)
  SearchFilter(Admits&& admits)  // NOLINT(google-explicit-constructor,bugprone-forwarding-reference-overload)
      : rule_(std::make_shared<const Predicate<std::decay_t<Admits>>>(std::forward<Admits>(admits))) {}

  /// Admits the vectors of these identifiers alone. An index may hold only some of them. Throws std::bad_alloc.
  [[nodiscard]] static SearchFilter allow(std::unordered_set<VectorId> ids) {
    return SearchFilter(std::make_shared<const Identifiers>(std::move(ids), true));
  }

  /// As above, of any range of identifiers or integers. Throws IndexError invalid_config for a negative one.
  template <IdRange Ids>
  [[nodiscard]] static SearchFilter allow(const Ids& ids) {
    return allow(set_of(ids));
  }

  /// Admits all vectors but those of these identifiers. Throws std::bad_alloc.
  [[nodiscard]] static SearchFilter deny(std::unordered_set<VectorId> ids) {
    return SearchFilter(std::make_shared<const Identifiers>(std::move(ids), false));
  }

  /// As above, of any range of identifiers or integers. Throws IndexError invalid_config for a negative one.
  template <IdRange Ids>
  [[nodiscard]] static SearchFilter deny(const Ids& ids) {
    return deny(set_of(ids));
  }

  /// Whether every vector is admitted without a question.
  [[nodiscard]] bool admits_all() const noexcept { return rule_ == nullptr; }

  /// Whether a vector is admitted. Throws what the function of the filter throws.
  [[nodiscard]] bool admits(const VectorId& id, const std::optional<Metadata>& metadata) const {
    return rule_ == nullptr || rule_->admits(id, metadata);
  }

  /// The only identifiers that are admitted; null if the filter is not one of allow(). Valid as long as the filter.
  [[nodiscard]] const std::unordered_set<VectorId>* allowed() const noexcept {
    return rule_ == nullptr ? nullptr : rule_->allowed();
  }

 private:
  class Rule {
   public:
    Rule() = default;
    Rule(const Rule&) = delete;
    Rule& operator=(const Rule&) = delete;
    virtual ~Rule() = default;
    [[nodiscard]] virtual bool admits(const VectorId& id, const std::optional<Metadata>& metadata) const = 0;
    [[nodiscard]] virtual const std::unordered_set<VectorId>* allowed() const noexcept { return nullptr; }
  };

  template <class Admits>
  class Predicate final : public Rule {
   public:
    template <class From>
    explicit Predicate(From&& admits)  // NOLINT(bugprone-forwarding-reference-overload): only its maker calls it
        : admits_(std::forward<From>(admits)) {}
    [[nodiscard]] bool admits(const VectorId& id, const std::optional<Metadata>& metadata) const override {
      return is_admitted(admits_, id, metadata);
    }

   private:
    Admits admits_;
  };

  class Identifiers final : public Rule {
   public:
    Identifiers(std::unordered_set<VectorId> ids, bool admitted) : ids_(std::move(ids)), admitted_(admitted) {}
    [[nodiscard]] bool admits(const VectorId& id, const std::optional<Metadata>& /*metadata*/) const override {
      return ids_.contains(id) == admitted_;
    }
    [[nodiscard]] const std::unordered_set<VectorId>* allowed() const noexcept override {
      return admitted_ ? &ids_ : nullptr;
    }

   private:
    std::unordered_set<VectorId> ids_;
    bool admitted_;
  };

  explicit SearchFilter(std::shared_ptr<const Rule> rule) noexcept : rule_(std::move(rule)) {}

  template <class Ids>
  [[nodiscard]] static std::unordered_set<VectorId> set_of(const Ids& ids) {
    std::unordered_set<VectorId> set;
    for (const auto& id : ids) {
      set.emplace(id);
    }
    return set;
  }

  std::shared_ptr<const Rule> rule_;  // null: every vector
};

/// The parameters of a search.
struct SearchParams {
  /// A value of k that bounds nothing, for a search by radius.
  static constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

  std::size_t k = 10;                  ///< the most hits to return
  std::optional<std::size_t> ef = {};  ///< how many candidates a search in a graph looks at; exact indexes ignore it
  std::optional<std::size_t> probes = {};  ///< how many lists a search in an IVF index looks into; others ignore it
  std::optional<float> radius = {};        ///< hits that are farther away are left out; k still bounds their number
  SearchFilter filter = {};                ///< which vectors may be hits
  bool with_metadata = true;               ///< whether hits carry the metadata; without them a search copies less
};

/// One result of a search. One that is made without values has the identifier 0, as an integer has.
struct Hit {
  VectorId id = 0;                   ///< the vector's identifier
  float distance = 0.0F;             ///< smaller is nearer, whatever the metric (a dot product is negated)
  std::optional<Metadata> metadata;  ///< the metadata stored with the vector
};

}  // namespace iqdb
