// IvfPart: faiss' IVF index, whose lists hold each vector, or its code, with its number.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/invlists/InvertedLists.h>

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
#include <utility>
#include <vector>

#include "iqdb/index/faiss/coarse_quantizer.hpp"
#include "iqdb/index/faiss/codec.hpp"
#include "iqdb/index/faiss/coded_lists.hpp"
#include "iqdb/index/faiss/ivf_lists.hpp"
#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/part.hpp"
#include "iqdb/index/faiss/selector.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// IndexIVFFlat, IndexIVFScalarQuantizer or IndexIVFPQ: the number of a vector in its list is its slot.
class IvfPart final : public Part {
 public:
  /// Precondition: the index is trained, and owns a quantizer with as many vectors as there are lists.
  explicit IvfPart(CodedLists trained)
      : index_(std::move(trained.index)), codec_(std::move(trained.codec)), by_residual_(trained.by_residual) {}

  [[nodiscard]] FaissKind kind() const noexcept override { return FaissKind::ivf; }
  [[nodiscard]] const ::faiss::Index& index() const noexcept override { return *index_; }

  [[nodiscard]] bool is_exact() const noexcept override { return codec_->is_exact(); }
  [[nodiscard]] std::pair<float, float> range() const noexcept override { return codec_->range(); }

  [[nodiscard]] std::span<const float> vector(std::size_t slot, std::vector<float>& memory) const override {
    const Place place = places_[slot];
    if (codec_->is_exact()) {
      return vector_at(lists().codes[place.list], place.at, codec_->dim());
    }
    memory.resize(codec_->dim());
    codec_->decode(lists().codes[place.list].data() + place.at * index_->code_size, memory.data());
    if (by_residual_) {
      const float* const from = centroid(place.list);
      for (std::size_t at = 0; at < memory.size(); ++at) {
        memory[at] += from[at];
      }
    }
    return memory;
  }

  void add(std::size_t slot, std::span<const float> vector) override {
    make_places(slot + 1);
    const std::size_t list = lists_for(vector).front();
    if (codec_->is_exact()) {
      append(slot, list, reinterpret_cast<const std::uint8_t*>(vector.data()));
    } else {
      std::vector<std::uint8_t> code(index_->code_size);
      encode(vector.data(), list, code.data());
      append(slot, list, code.data());
    }
    ++index_->ntotal;
  }

  // Lists are found and codes are made in the threads.
  void add_many(const SlotTable::Additions& additions, std::span<const float> vectors, LentThreads& threads) override {
    const std::size_t dim = codec_->dim();
    const std::size_t code_size = index_->code_size;
    const std::size_t rows = additions.size();
    make_places(additions.slot(rows - 1) + 1);
    std::vector<std::size_t> nearest(rows);
    std::vector<std::uint8_t> codes(codec_->is_exact() ? 0 : rows * code_size);
    threads.each((rows + rows_at_once - 1) / rows_at_once, [&](std::size_t number) {
      const std::size_t first = number * rows_at_once;
      const std::size_t count = std::min(rows_at_once, rows - first);
      const std::vector<std::size_t> found = lists_for(vectors.subspan(first * dim, count * dim));
      for (std::size_t row = first; row < first + count; ++row) {
        nearest[row] = found[row - first];
        if (!codec_->is_exact()) {
          encode(vectors.data() + row * dim, nearest[row], codes.data() + row * code_size);
        }
      }
    });
    const std::uint8_t* const all =
        codec_->is_exact() ? reinterpret_cast<const std::uint8_t*>(vectors.data()) : codes.data();
    std::size_t done = 0;
    try {
      for (; done < rows; ++done) {
        append(additions.slot(done), nearest[done], all + done * code_size);
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

  std::size_t precompute_tables() override {
    auto* const product = dynamic_cast<::faiss::IndexIVFPQ*>(index_.get());
    if (product == nullptr || !by_residual_ || index_->metric_type != ::faiss::METRIC_L2) {
      return 0;
    }
    try {
      guarded([&] { product->precompute_table(); });
    } catch (...) {
      product->use_precomputed_table = 0;  // it may say that there is one
      throw;
    }
    return product->use_precomputed_table == 0 ? 0 : product->precomputed_table.nbytes();
  }

  // Lists grow as they are filled.
  void reserve(std::size_t vectors) override { make_places(vectors); }

  [[nodiscard]] std::vector<Id> search(std::span<const float> query, std::size_t most,
                                       std::optional<std::size_t> width) const override {
    return scan(query, nearest_lists(*index_->quantizer, query, probes_for(width)).front(), most, nullptr);
  }

  [[nodiscard]] std::vector<Id> search_among(std::span<const float> query, std::size_t most,
                                             std::optional<std::size_t> width, Selector& selector) const override {
    return scan(query, nearest_lists(*index_->quantizer, query, probes_for(width)).front(), most, &selector);
  }

  [[nodiscard]] std::vector<std::vector<Id>> search_many(std::span<const float> queries, std::size_t most,
                                                         std::optional<std::size_t> width) const override {
    const std::size_t dim = codec_->dim();
    std::vector<std::vector<Id>> found;
    for (Nearest& probed : nearest_lists(*index_->quantizer, queries, probes_for(width))) {
      found.push_back(scan(queries.subspan(found.size() * dim, dim), std::move(probed), most, nullptr));
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
    write_head(writer, tag_of(*index_), header_of(*index_));
    writer.write_le(std::uint64_t{index_->nlist});
    writer.write_le(std::uint64_t{index_->nprobe});
    write_with_faiss(writer, *index_->quantizer);
    write_direct_map(writer);
    codec_->write_trained(writer, index_->code_size, by_residual_);
    write_lists(writer, *index_, lists(), number_of);
  }

  /// Reads an index that follows its tag: header | lists, probes | the quantizer, a flat index or a graph | a map from
  /// numbers to positions, which is not needed | what was trained | the lists.
  [[nodiscard]] static std::unique_ptr<IvfPart> read(Reader& reader, std::uint32_t type) {
    const Header header = read_head(reader);
    const auto list_count = reader.read_le<std::uint64_t>();
    const auto probes = reader.read_le<std::uint64_t>();
    std::unique_ptr<::faiss::Index> quantizer = read_quantizer(reader);
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
    CodedLists trained = read_trained(reader, type, header, std::move(quantizer));
    trained.index->nprobe = static_cast<std::size_t>(std::min(probes, list_count));
    trained.index->ntotal = static_cast<Id>(header.vectors);
    auto part = std::make_unique<IvfPart>(std::move(trained));
    read_lists(reader, *part->index_, *part->codec_, part->lists());
    return part;
  }

 private:
  struct Place {
    std::size_t list = 0;
    std::size_t at = 0;
  };

  // So few that faiss compares them with the centroids one by one: with more, a vector between two lists would get into
  // another list than if it were inserted alone (nearest_lists).
  static constexpr std::size_t rows_at_once = 16;

  [[nodiscard]] const float* centroid(std::size_t list) const {
    return centroids_of(*index_->quantizer).data() + list * codec_->dim();
  }

  // The list of each of these vectors, of which there are at most rows_at_once.
  [[nodiscard]] std::vector<std::size_t> lists_for(std::span<const float> vectors) const {
    std::vector<std::size_t> found;
    for (const Nearest& nearest : nearest_lists(*index_->quantizer, vectors, 1)) {
      // If all distances are too large for a float, no list is the nearest one. faiss would then leave the vector out.
      found.push_back(nearest.labels.empty() ? 0 : static_cast<std::size_t>(nearest.labels.front()));
    }
    return found;
  }

  // Writes the code of a vector in a list. Throws IndexError invalid_vector for a vector that has none.
  void encode(const float* vector, std::size_t list, std::uint8_t* code) const {
    if (by_residual_) {
      const float* const from = centroid(list);
      std::vector<float> residual(vector, vector + codec_->dim());
      for (std::size_t at = 0; at < residual.size(); ++at) {
        residual[at] -= from[at];
      }
      codec_->encode(residual.data(), code);
    } else {
      codec_->encode(vector, code);
    }
    check_code(*codec_, code);
  }

  [[nodiscard]] std::size_t probes_for(std::optional<std::size_t> width) const {
    return std::clamp<std::size_t>(width.value_or(index_->nprobe), 1, index_->nlist);
  }

  // Scans these lists as IndexIVF::search does, except that faiss' statistics of all searches, which have no lock, stay as
  // they are. Scans anew, and more lists, as long as these hold fewer than `most` vectors that the selector admits; how many
  // more follows from how few were found.
  [[nodiscard]] std::vector<Id> scan(std::span<const float> query, Nearest probed, std::size_t most,
                                     Selector* selector) const {
    const std::unique_ptr<::faiss::InvertedListScanner> scanner(index_->get_InvertedListScanner(false, selector));
    scanner->set_query(query.data());
    std::vector<float> distances(most);
    std::vector<Id> labels(most);
    for (std::size_t probes = probed.labels.size();;) {
      make_empty_heap(index_->metric_type, distances, labels);
      for (std::size_t at = 0; at < probed.labels.size(); ++at) {
        const auto list = static_cast<std::size_t>(probed.labels[at]);
        const std::vector<Id>& ids = lists().ids[list];
        scanner->set_list(probed.labels[at], probed.distances[at]);
        scanner->scan_codes(ids.size(), lists().codes[list].data(), ids.data(), distances.data(), labels.data(), most);
      }
      std::erase(labels, no_label);
      if (labels.size() == most || probes >= index_->nlist || (selector != nullptr && selector->has_given_up())) {
        return labels;
      }
      const std::size_t times = most / std::max<std::size_t>(labels.size(), 1) + 1;
      probes = std::max<std::size_t>(probes, 1);
      probes = times < index_->nlist / probes ? times * probes : index_->nlist;
      labels.resize(most);
      probed = nearest_lists(*index_->quantizer, query, probes).front();
    }
  }

  void make_places(std::size_t slots) {
    if (places_.size() < slots) {
      places_.resize(slots);
    }
  }

  // Adds a code behind those of a list. If it throws, nothing has changed. Precondition: the slot has a place.
  void append(std::size_t slot, std::size_t list, const std::uint8_t* code) {
    const std::size_t at = lists().ids[list].size();
    try {
      guarded([&] { lists().add_entry(list, static_cast<Id>(slot), code); });
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

  std::unique_ptr<::faiss::IndexIVF> index_;
  std::unique_ptr<Codec> codec_;
  bool by_residual_;
  std::vector<Place> places_;  // by slot; that of a free one is of no meaning
};

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
