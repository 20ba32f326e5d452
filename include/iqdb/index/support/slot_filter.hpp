// The filter of a search, as the search of a library asks it: by slot.
#pragma once

#include <concepts>
#include <cstddef>
#include <exception>
#include <optional>
#include <vector>

#include "iqdb/index/support/nearest.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace index_support {

/// Admits every slot.
struct EverySlot {
  static constexpr bool admits_every = true;  ///< there is nothing to ask

  [[nodiscard]] constexpr bool operator()(std::size_t /*slot*/) const noexcept { return true; }
  [[nodiscard]] static constexpr bool has_given_up() noexcept { return false; }
  constexpr void rethrow() const noexcept {}
};

/// Admits the slots whose vectors a filter and a predicate admit. All three must outlive this object.
template <SearchPredicate Admits>
class AdmittedSlots {
 public:
  AdmittedSlots(const SlotTable& slots, const SearchFilter& filter, const Admits& admits) noexcept
      : slots_(&slots), filter_(&filter), admits_(&admits) {}

  /// Throws what the filter and the predicate throw. Precondition: the slot is taken.
  [[nodiscard]] bool operator()(std::size_t slot) const {
    return slots_->with_id(slot, [&](const VectorId& id) {
      const std::optional<Metadata>& metadata = slots_->metadata(slot);
      return filter_->admits(id, metadata) && is_admitted(*admits_, id, metadata);
    });
  }

 private:
  const SlotTable* slots_;
  const SearchFilter* filter_;
  const Admits* admits_;
};

/// AdmittedSlots for one search of a library. A library may end the process where a filter throws, and goes on for long where
/// few slots are admitted. After an exception, or after so many questions, this object therefore gives up: it admits
/// everything, so that the library soon ends a search whose results are of no use.
template <class Slots>
class AskedSlots {
 public:
  static constexpr bool admits_every = false;

  AskedSlots(const Slots& slots, std::size_t most_questions) noexcept : slots_(&slots), left_(most_questions) {}

  [[nodiscard]] bool operator()(std::size_t slot) noexcept {
    if (left_ == 0) {
      gave_up_ = true;
      return true;
    }
    --left_;
    try {
      return (*slots_)(slot);
    } catch (...) {
      error_ = std::current_exception();
      left_ = 0;
      gave_up_ = true;
      return true;
    }
  }

  [[nodiscard]] bool has_given_up() const noexcept { return gave_up_; }

  /// Throws what the filter has thrown.
  void rethrow() const {
    if (error_) {
      std::rethrow_exception(error_);
    }
  }

 private:
  const Slots* slots_;
  std::size_t left_;  // questions
  bool gave_up_ = false;
  std::exception_ptr error_;
};

/// What one search of a library asks about these slots, at most so often.
[[nodiscard]] constexpr EverySlot asked(EverySlot every, std::size_t /*most_questions*/) noexcept { return every; }

template <SearchPredicate Admits>
[[nodiscard]] AskedSlots<AdmittedSlots<Admits>> asked(const AdmittedSlots<Admits>& slots,
                                                      std::size_t most_questions) noexcept {
  return {slots, most_questions};
}

/// How many vectors a search in a graph of so many may ask about. To ask about every vector, and to compare with the admitted
/// ones, is less work than a walk that meets more than this: it measures a distance to each vector that it asks about.
[[nodiscard]] constexpr std::size_t most_questions_in_graph(std::size_t wanted, std::size_t vectors) noexcept {
  return wanted + vectors / 16;
}

/// Every vector of a table that `admitted(slot)` admits, without distances. Throws what that throws; std::bad_alloc.
template <class Slots>
[[nodiscard]] std::vector<Found> every_vector(const SlotTable& slots, const Slots& admitted) {
  std::vector<Found> found;
  if constexpr (std::same_as<Slots, EverySlot>) {
    found.reserve(slots.size());
  }
  for (std::size_t slot = 0; slot < slots.slots(); ++slot) {
    if (!slots.is_free(slot) && admitted(slot)) {
      found.push_back({.slot = slot, .distance = 0.0F});
    }
  }
  return found;
}

}  // namespace index_support

}  // namespace iqdb::inline IQDB_PERSIST_ABI
