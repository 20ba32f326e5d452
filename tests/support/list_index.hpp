// ListIndex: an adapter whose library is a list of numbers that fails when it is told to.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/nearest.hpp"
#include "iqdb/index/support/payload.hpp"
#include "iqdb/index/support/slot_index.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/types.hpp"

namespace iqdb_test {

/// Vectors of one component in a list.
class ListIndex : public iqdb::index_support::SlotIndex<ListIndex> {
 public:
  static constexpr std::string_view index_type = "list";

  explicit ListIndex(iqdb::DistanceMetric metric = iqdb::DistanceMetric::euclidean) : SlotIndex(1, metric) {}

  void save_to(iqdb::Writer& writer) const {
    iqdb::index_support::write_head(writer, {.dim = dim(), .metric = metric()});
    slots_.save_to(writer);
    writer.write_array(std::span<const float>(numbers_));
  }

  // The library refuses the next insertion, or finds at most so many of the vectors.
  bool refuses = false;
  std::optional<std::size_t> finds;
  // What cannot be removed.
  std::optional<std::size_t> holds;
  // How often the library has searched.
  mutable std::size_t searches = 0;

 private:
  friend SlotIndex;
  friend SlotSearch;

  static constexpr std::string_view library = "a list";
  static constexpr std::size_t most_vectors = 6;

  void check_form(std::span<const float> vector, iqdb::index_support::VectorRole role) const {
    iqdb::index_support::check_dimension(vector.size(), dim(), name_of(role));
    iqdb::index_support::check_components(vector, name_of(role));
  }

  [[nodiscard]] static std::span<const float> kept_form(std::span<const float> vector) { return vector; }

  void check_remove(std::size_t slot) const {
    if (slot == holds) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::invalid_config, "the list holds it");
    }
  }

  void remove(std::size_t slot) { slots_.remove(slot); }

  void place(const iqdb::SlotTable::Addition& addition, std::span<const float> vector) {
    if (std::exchange(refuses, false)) {
      throw std::runtime_error("the list is full");
    }
    if (addition.slot() == numbers_.size()) {
      numbers_.push_back(0.0F);
    }
    numbers_.at(addition.slot()) = vector.front();
  }

  void place_many(const iqdb::SlotTable::Additions& additions, std::span<const float> vectors,
                  iqdb::LentThreads& /*threads*/) {
    if (std::exchange(refuses, false)) {
      throw std::runtime_error("the list is full");
    }
    for (std::size_t row = 0; row < additions.size(); ++row) {
      numbers_.resize(std::max(numbers_.size(), additions.slot(row) + 1));
      numbers_.at(additions.slot(row)) = vectors[row];
    }
  }

  // Asks for each vector in turn until it has enough, as a library does that ends the process where a filter throws.
  template <class Asked>
  [[nodiscard]] std::vector<iqdb::index_support::Found> find_near(std::span<const float> /*query*/, std::size_t most,
                                                                  const iqdb::SearchParams& /*params*/,
                                                                  Asked& asked) const noexcept {
    ++searches;
    std::vector<iqdb::index_support::Found> found;
    for (std::size_t slot = 0; slot < slots_.slots() && found.size() < finds.value_or(most); ++slot) {
      if (!slots_.is_free(slot) && asked(slot)) {
        found.push_back({.slot = slot});
      }
    }
    return found;
  }

  void reserve_vectors(std::size_t vectors) { numbers_.reserve(vectors); }

  [[nodiscard]] auto vectors() const {
    return [this](std::size_t slot) { return std::span(numbers_).subspan(slot, 1); };
  }

  [[nodiscard]] static ListIndex decode(iqdb::Reader& reader) {
    ListIndex index(iqdb::index_support::read_head(reader, index_type).metric);
    index.slots_ = iqdb::SlotTable::load_from(reader);
    index.numbers_ = reader.read_vector<float>(index.slots_.slots());
    return index;
  }

  std::vector<float> numbers_;
};

/// The numbers, under the identifiers from 0 on.
[[nodiscard]] inline ListIndex list_index_of(const std::vector<float>& numbers) {
  ListIndex index;
  for (std::size_t number = 0; number < numbers.size(); ++number) {
    index.insert(number, std::span<const float>(numbers).subspan(number, 1));
  }
  return index;
}

}  // namespace iqdb_test
