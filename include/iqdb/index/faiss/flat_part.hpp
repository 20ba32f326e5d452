// FlatPart: faiss' flat index. Invariant: vectors are contiguous, and no slot is free.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexFlat.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/part.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// IndexFlat: the slot of a vector is its position.
class FlatPart final : public Part {
 public:
  explicit FlatPart(std::unique_ptr<::faiss::IndexFlat> index) : index_(std::move(index)) {}

  /// An empty index. Precondition: the dimension is in range.
  [[nodiscard]] static std::unique_ptr<FlatPart> make(std::size_t dim, ::faiss::MetricType metric) {
    return std::make_unique<FlatPart>(std::make_unique<::faiss::IndexFlat>(static_cast<Id>(dim), metric));
  }

  [[nodiscard]] FaissKind kind() const noexcept override { return FaissKind::flat; }
  [[nodiscard]] const ::faiss::Index& index() const noexcept override { return *index_; }

  [[nodiscard]] std::span<const float> vector(std::size_t slot) const override {
    return vector_at(index_->codes, slot, static_cast<std::size_t>(index_->d));
  }

  void add(std::size_t /*slot*/, std::span<const float> vector) override {
    guarded([&] { index_->add(1, vector.data()); });
  }

  // No slot is free, so the rows follow one another here as well.
  void add_many(const SlotTable::Additions& additions, std::span<const float> vectors,
                LentThreads& /*threads*/) override {
    guarded([&] { index_->add(static_cast<Id>(additions.size()), vectors.data()); });
  }

  void remove(SlotTable& slots, std::size_t slot) override {
    // faiss would move all vectors behind the removed one. Moving the last one into its position is enough.
    const std::size_t last = slots.slots() - 1;
    std::vector<std::uint8_t>& codes = index_->codes;
    if (slot != last) {
      std::memcpy(codes.data() + slot * index_->code_size, codes.data() + last * index_->code_size, index_->code_size);
    }
    codes.resize(last * index_->code_size);
    index_->ntotal = static_cast<Id>(last);
    slots.remove_by_last(slot);
  }

  void reserve(std::size_t vectors) override { index_->codes.reserve(vectors * index_->code_size); }

  [[nodiscard]] std::vector<Id> search(std::span<const float> query, std::size_t most,
                                       std::optional<std::size_t> /*width*/) const override {
    return labels_of(*index_, query, most).front();
  }

  // faiss compares many queries by a product of matrices, whose rounding may take a vector for nearer than one that is nearer
  // by less than that. A few more than are asked for therefore come along.
  [[nodiscard]] std::vector<std::vector<Id>> search_many(std::span<const float> queries, std::size_t most,
                                                         std::optional<std::size_t> /*width*/) const override {
    constexpr std::size_t few = 8;
    return labels_of(*index_, queries, std::min(most + few, static_cast<std::size_t>(index_->ntotal)));
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

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
