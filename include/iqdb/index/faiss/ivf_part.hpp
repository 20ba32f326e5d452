// IvfPart: faiss' IVF index with a flat quantizer, whose lists hold each vector with its number.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/invlists/InvertedLists.h>
#include <faiss/utils/Heap.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/faiss/ivf_lists.hpp"
#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/part.hpp"
#include "iqdb/index/faiss/selector.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/index/support/argument_checks.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// IndexIVFFlat: the number of a vector in its list is its slot.
class IvfPart final : public Part {
 public:
  /// Precondition: the index owns a flat quantizer with as many vectors as there are lists, and ArrayInvertedLists.
  explicit IvfPart(std::unique_ptr<::faiss::IndexIVFFlat> index) : index_(std::move(index)) {}

  /// An index without vectors. `training` holds whole vectors, at least one for each list, which train the centroids.
  /// Throws IndexError invalid_vector if a centroid is not finite. Precondition: the numbers are in range.
  [[nodiscard]] static std::unique_ptr<IvfPart> train(std::size_t dim, ::faiss::MetricType metric, std::size_t lists,
                                                      std::span<const float> training, std::size_t probes) {
    auto quantizer = std::make_unique<::faiss::IndexFlat>(static_cast<Id>(dim), metric);
    auto index = std::make_unique<::faiss::IndexIVFFlat>(quantizer.get(), dim, lists, metric);
    std::ignore = quantizer.release();
    index->own_fields = true;
    index->nprobe = std::min(probes, lists);
    index->cp.min_points_per_centroid = 1;  // with fewer than that faiss prints
    guarded([&] { index->train(static_cast<Id>(training.size() / dim), training.data()); });
    const auto& centroids =
        static_cast<const ::faiss::IndexFlat&>(*index->quantizer);  // NOLINT(*-static-cast-downcast)
    for (std::size_t list = 0; list < lists; ++list) {
      if (!index_support::is_finite(vector_at(centroids.codes, list, dim))) {
        throw IndexError(IndexErrorKind::invalid_vector,
                         "the training vectors are so large that their mean is not finite; scale them down");
      }
    }
    return std::make_unique<IvfPart>(std::move(index));
  }

  [[nodiscard]] FaissKind kind() const noexcept override { return FaissKind::ivf; }
  [[nodiscard]] const ::faiss::Index& index() const noexcept override { return *index_; }

  [[nodiscard]] std::span<const float> vector(std::size_t slot) const override {
    return vector_at(lists().codes[places_[slot].list], places_[slot].at, static_cast<std::size_t>(index_->d));
  }

  void add(std::size_t slot, std::span<const float> vector) override {
    make_places(slot + 1);
    Id nearest = -1;
    guarded([&] { index_->quantizer->assign(1, vector.data(), &nearest); });
    append(slot, vector, nearest);
    ++index_->ntotal;
  }

  // Lists are found in the threads.
  void add_many(const SlotTable::Additions& additions, std::span<const float> vectors, LentThreads& threads) override {
    const auto dim = static_cast<std::size_t>(index_->d);
    const std::size_t rows = additions.size();
    make_places(additions.slot(rows - 1) + 1);
    std::vector<Id> nearest(rows, -1);
    threads.each((rows + rows_at_once - 1) / rows_at_once, [&](std::size_t number) {
      const std::size_t row = number * rows_at_once;
      const OneThread one_thread;
      guarded([&] {
        index_->quantizer->assign(static_cast<Id>(std::min(rows_at_once, rows - row)), vectors.data() + row * dim,
                                  nearest.data() + row);
      });
    });
    std::size_t done = 0;
    try {
      for (; done < rows; ++done) {
        append(additions.slot(done), vectors.subspan(done * dim, dim), nearest[done]);
      }
    } catch (...) {
      while (done > 0) {
        const Place place = places_[additions.slot(--done)];
        lists().resize(place.list, place.at);
      }
      throw;
    }
    index_->ntotal += static_cast<Id>(rows);
  }

  void remove(SlotTable& slots, std::size_t slot) override {
    const Place place = places_[slot];
    std::vector<Id>& ids = lists().ids[place.list];
    const std::size_t last = ids.size() - 1;
    if (place.at != last) {
      std::uint8_t* const codes = lists().codes[place.list].data();
      std::memcpy(codes + place.at * index_->code_size, codes + last * index_->code_size, index_->code_size);
      ids[place.at] = ids[last];
      places_[static_cast<std::size_t>(ids[last])] = place;
    }
    lists().resize(place.list, last);
    --index_->ntotal;
    slots.remove(slot);
  }

  // Lists grow as they are filled.
  void reserve(std::size_t vectors) override { make_places(vectors); }

  [[nodiscard]] std::vector<Id> search(std::span<const float> query, std::size_t most,
                                       std::optional<std::size_t> width) const override {
    return scan(query, labels_of(*index_->quantizer, query, probes_for(width)).front(), most, nullptr);
  }

  [[nodiscard]] std::vector<Id> search_among(std::span<const float> query, std::size_t most,
                                             std::optional<std::size_t> width, Selector& selector) const override {
    return scan(query, labels_of(*index_->quantizer, query, probes_for(width)).front(), most, &selector);
  }

  [[nodiscard]] std::vector<std::vector<Id>> search_many(std::span<const float> queries, std::size_t most,
                                                         std::optional<std::size_t> width) const override {
    const auto dim = static_cast<std::size_t>(index_->d);
    std::vector<std::vector<Id>> found = labels_of(*index_->quantizer, queries, probes_for(width));
    for (std::size_t query = 0; query < found.size(); ++query) {
      found[query] = scan(queries.subspan(query * dim, dim), std::move(found[query]), most, nullptr);
    }
    return found;
  }

  void take_slots(const Reader& reader, std::size_t slots, const std::function<std::size_t(Id)>& slot_of) override {
    constexpr Place none{.list = std::numeric_limits<std::size_t>::max(), .at = 0};
    places_.assign(slots, none);
    for (std::size_t list = 0; list < index_->nlist; ++list) {
      std::vector<Id>& ids = lists().ids[list];
      for (std::size_t at = 0; at < ids.size(); ++at) {
        const std::size_t slot = slot_of(ids[at]);
        if (slot >= places_.size()) {
          places_.resize(slot + 1, none);
        }
        if (places_[slot].list != none.list) {
          fail(reader, "two vectors of its lists have the number " + std::to_string(ids[at]));
        }
        places_[slot] = {.list = list, .at = at};
        ids[at] = static_cast<Id>(slot);
      }
    }
  }

  void save_to(Writer& writer) const override {
    export_to(writer, [](std::size_t slot) { return static_cast<Id>(slot); });
  }

  // Writes what faiss writes, with other numbers.
  void export_to(Writer& writer, const std::function<Id(std::size_t)>& number_of) const override {
    write_head(writer, ivf_tag, header_of(*index_));
    writer.write_le(std::uint64_t{index_->nlist});
    writer.write_le(std::uint64_t{index_->nprobe});
    write_with_faiss(writer, *index_->quantizer);
    write_lists(writer, *index_, lists(), number_of);
  }

  /// Reads an index that follows its tag: header | lists, probes | a flat index, the quantizer | a map from numbers to
  /// positions, which is not needed | the lists.
  [[nodiscard]] static std::unique_ptr<IvfPart> read(Reader& reader) {
    const Header header = read_head(reader);
    const auto list_count = reader.read_le<std::uint64_t>();
    const auto probes = reader.read_le<std::uint64_t>();
    const auto quantizer_tag = reader.read_le<std::uint32_t>();
    if (!is_flat(quantizer_tag)) {
      fail_unsupported(reader, quantizer_tag, "its quantizer");
    }
    std::unique_ptr<::faiss::IndexFlat> quantizer = read_flat(reader, quantizer_tag, "the centroid of list ");
    // This also bounds the number of lists by the bytes of the file.
    if (list_count == 0 || static_cast<std::uint64_t>(quantizer->ntotal) != list_count ||
        static_cast<std::size_t>(quantizer->d) != header.dim) {
      fail(reader, "it is stated to have " + std::to_string(list_count) + " lists of vectors of " +
                       std::to_string(header.dim) + " components, but its quantizer has " +
                       std::to_string(quantizer->ntotal) + " of " + std::to_string(quantizer->d));
    }
    if (probes == 0 || probes > most_vectors) {
      fail(reader, "a search is stated to look into " + std::to_string(probes) + " lists; expected 1 to " +
                       std::to_string(list_count));
    }
    skip_direct_map(reader);
    auto index = std::make_unique<::faiss::IndexIVFFlat>(quantizer.get(), header.dim,
                                                         static_cast<std::size_t>(list_count), header.metric);
    std::ignore = quantizer.release();
    index->own_fields = true;
    index->nprobe = static_cast<std::size_t>(std::min(probes, list_count));
    index->ntotal = static_cast<Id>(header.vectors);
    index->is_trained = true;
    auto part = std::make_unique<IvfPart>(std::move(index));
    read_lists(reader, *part->index_, part->lists());
    return part;
  }

 private:
  struct Place {
    std::size_t list = 0;
    std::size_t at = 0;
  };

  // faiss compares so few queries with the centroids one by one, and more of them by a product of matrices, which rounds
  // otherwise: a vector between two lists would get into another list than if it were inserted alone.
  static constexpr std::size_t rows_at_once = 16;

  [[nodiscard]] std::size_t probes_for(std::optional<std::size_t> width) const {
    return std::clamp<std::size_t>(width.value_or(index_->nprobe), 1, index_->nlist);
  }

  // Scans these lists as IndexIVF::search does, except that faiss' statistics of all searches, which have no lock, stay as
  // they are. Scans anew, and more lists, as long as these hold fewer than `most` vectors that the selector admits; how many
  // more follows from how few were found.
  [[nodiscard]] std::vector<Id> scan(std::span<const float> query, std::vector<Id> probed, std::size_t most,
                                     Selector* selector) const {
    const std::unique_ptr<::faiss::InvertedListScanner> scanner(index_->get_InvertedListScanner(false, selector));
    scanner->set_query(query.data());
    std::vector<float> distances(most);
    std::vector<Id> labels(most);
    for (std::size_t probes = probed.size();;) {
      if (index_->metric_type == ::faiss::METRIC_INNER_PRODUCT) {
        ::faiss::minheap_heapify(most, distances.data(), labels.data());
      } else {
        ::faiss::maxheap_heapify(most, distances.data(), labels.data());
      }
      for (const Id list : probed) {
        const std::vector<Id>& ids = lists().ids[static_cast<std::size_t>(list)];
        scanner->set_list(list, 0.0F);  // the distance of a centroid matters only where vectors are kept relative to it
        scanner->scan_codes(ids.size(), lists().codes[static_cast<std::size_t>(list)].data(), ids.data(),
                            distances.data(), labels.data(), most);
      }
      std::erase(labels, no_label);
      if (labels.size() == most || probes >= index_->nlist || (selector != nullptr && selector->has_given_up())) {
        return labels;
      }
      const std::size_t times = most / std::max<std::size_t>(labels.size(), 1) + 1;
      probes = std::max<std::size_t>(probes, 1);
      probes = times < index_->nlist / probes ? times * probes : index_->nlist;
      labels.resize(most);
      probed = labels_of(*index_->quantizer, query, probes).front();
    }
  }

  void make_places(std::size_t slots) {
    if (places_.size() < slots) {
      places_.resize(slots);
    }
  }

  // Adds a vector behind those of a list. If it throws, nothing has changed. Precondition: the slot has a place.
  void append(std::size_t slot, std::span<const float> vector, Id nearest) {
    // If all distances are too large for a float, no list is the nearest one. faiss would then leave the vector out.
    const auto list = static_cast<std::size_t>(std::max<Id>(nearest, 0));
    const std::size_t at = lists().ids[list].size();
    try {
      guarded([&] {
        lists().add_entry(list, static_cast<Id>(slot), reinterpret_cast<const std::uint8_t*>(vector.data()));
      });
    } catch (...) {
      lists().resize(list, at);  // of its two arrays one may have grown
      throw;
    }
    places_[slot] = {.list = list, .at = at};
  }

  // The index was made here, so its lists are of this type.
  [[nodiscard]] const ::faiss::ArrayInvertedLists& lists() const {
    return *static_cast<const ::faiss::ArrayInvertedLists*>(index_->invlists);  // NOLINT(*-static-cast-downcast)
  }
  [[nodiscard]] ::faiss::ArrayInvertedLists& lists() {
    return *static_cast<::faiss::ArrayInvertedLists*>(index_->invlists);  // NOLINT(*-static-cast-downcast)
  }

  std::unique_ptr<::faiss::IndexIVFFlat> index_;
  std::vector<Place> places_;  // by slot; that of a free one is of no meaning
};

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
