// TransformedPart: faiss' IndexPreTransform, an index that transforms vectors before another one takes them.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexPreTransform.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index/faiss/part.hpp"
#include "iqdb/index/faiss/selector.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/index/faiss/transform.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// A Transform and the index inside, which has the vectors as they are transformed. Distances are measured between those.
class TransformedPart final : public Part {
 public:
  /// Precondition: the index takes vectors of the dimension that the transform gives.
  TransformedPart(std::size_t dim, Transform transform, std::unique_ptr<Part> inside)
      : transform_(std::move(transform)), inside_(std::move(inside)) {
    // faiss' object shows what there is, and owns nothing of it.
    index_.d = static_cast<int>(dim);
    index_.metric_type = inside_->index().metric_type;
    index_.is_trained = true;
    index_.own_fields = false;
    index_.index =
        const_cast<::faiss::Index*>(&inside_->index());  // NOLINT(*-const-cast): it is not changed through this
    for (const auto& each : transform_.chain()) {
      index_.chain.push_back(each.get());
    }
    count();
  }

  [[nodiscard]] FaissKind kind() const noexcept override { return inside_->kind(); }
  [[nodiscard]] const ::faiss::Index& index() const noexcept override { return index_; }
  [[nodiscard]] bool is_exact() const noexcept override { return false; }

  [[nodiscard]] std::span<const float> vector(std::size_t slot, std::vector<float>& memory) const override {
    return inside_->vector(slot, memory);
  }

  [[nodiscard]] std::vector<float> taken_form(std::vector<float> vector) const override {
    return transform_.apply(std::move(vector));
  }

  [[nodiscard]] std::span<const float> taken_forms(std::span<const float> vectors,
                                                   std::vector<float>& memory) const override {
    memory = transform_.apply_to_each(vectors);
    return memory;
  }

  [[nodiscard]] std::span<const float> inserted(std::size_t slot, std::vector<float>& memory) const override {
    const std::span<const float> kept = inside_->vector(slot, memory);
    memory = transform_.reverse({kept.begin(), kept.end()});
    return memory;
  }

  void add(std::size_t slot, std::span<const float> vector) override {
    inside_->add(slot, vector);
    count();
  }

  void add_many(const SlotTable::Additions& additions, std::span<const float> vectors, LentThreads& threads) override {
    inside_->add_many(additions, vectors, threads);
    count();
  }

  void check_remove(const VectorId& id) const override { inside_->check_remove(id); }

  void remove(SlotTable& slots, std::size_t slot) override {
    inside_->remove(slots, slot);
    count();
  }

  void reserve(std::size_t vectors) override { inside_->reserve(vectors); }
  std::size_t precompute_tables() override { return inside_->precompute_tables(); }

  [[nodiscard]] std::vector<Id> search(std::span<const float> query, std::size_t most,
                                       std::optional<std::size_t> width) const override {
    return inside_->search(query, most, width);
  }

  [[nodiscard]] std::vector<Id> search_among(std::span<const float> query, std::size_t most,
                                             std::optional<std::size_t> width, Selector& selector) const override {
    return inside_->search_among(query, most, width, selector);
  }

  [[nodiscard]] std::vector<std::vector<Id>> search_many(std::span<const float> queries, std::size_t most,
                                                         std::optional<std::size_t> width) const override {
    return inside_->search_many(queries, most, width);
  }

  void take_slots(const Reader& reader, std::size_t slots, const std::function<std::size_t(Id)>& slot_of) override {
    inside_->take_slots(reader, slots, slot_of);
  }

  void save_to(Writer& writer) const override {
    write_beginning(writer);
    inside_->save_to(writer);
  }

  // Lists have their own numbers; another index gets an id map around it and its transform.
  void export_to(Writer& writer, const std::function<Id(std::size_t)>& number_of) const override {
    if (kind() != FaissKind::ivf) {
      export_in_map(writer, number_of);
      return;
    }
    write_beginning(writer);
    inside_->export_to(writer, number_of);
  }

 private:
  void count() noexcept { index_.ntotal = inside_->index().ntotal; }

  void write_beginning(Writer& writer) const {
    write_head(writer, transformed_tag, header_of(index_));
    transform_.save_to(writer);
  }

  Transform transform_;
  std::unique_ptr<Part> inside_;
  ::faiss::IndexPreTransform index_;
};

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
