// FlatPart: faiss' flat indexes, of vectors or of codes. Invariant: the codes are contiguous, and no slot is free.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexFlatCodes.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexScalarQuantizer.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/faiss/codec.hpp"
#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/part.hpp"
#include "iqdb/index/faiss/product_codec.hpp"
#include "iqdb/index/faiss/scalar_codec.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/insert_many.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// IndexFlat, IndexScalarQuantizer or IndexPQ: the slot of a vector is its position.
class FlatPart final : public Part {
 public:
  /// Precondition: the codec is that of the index, which is trained.
  FlatPart(std::unique_ptr<::faiss::IndexFlatCodes> index, std::unique_ptr<Codec> codec)
      : index_(std::move(index)), codec_(std::move(codec)) {}

  /// An index of vectors.
  [[nodiscard]] static std::unique_ptr<FlatPart> of(std::unique_ptr<::faiss::IndexFlat> index) {
    const auto dim = static_cast<std::size_t>(index->d);
    return std::make_unique<FlatPart>(std::move(index), std::make_unique<FloatCodec>(dim));
  }

  /// An empty index of vectors. Precondition: the dimension is in range.
  [[nodiscard]] static std::unique_ptr<FlatPart> make(std::size_t dim, ::faiss::MetricType metric) {
    return of(std::make_unique<::faiss::IndexFlat>(static_cast<Id>(dim), metric));
  }

  [[nodiscard]] FaissKind kind() const noexcept override { return FaissKind::flat; }
  [[nodiscard]] const ::faiss::Index& index() const noexcept override { return *index_; }
  [[nodiscard]] bool is_exact() const noexcept override { return codec_->is_exact(); }
  [[nodiscard]] std::pair<float, float> range() const noexcept override { return codec_->range(); }

  [[nodiscard]] std::span<const float> vector(std::size_t slot, std::vector<float>& memory) const override {
    if (codec_->is_exact()) {
      return vector_at(index_->codes, slot, codec_->dim());
    }
    memory.resize(codec_->dim());
    codec_->decode(index_->codes.data() + slot * index_->code_size, memory.data());
    return memory;
  }

  void add(std::size_t /*slot*/, std::span<const float> vector) override {
    if (codec_->is_exact()) {
      append_floats(1, vector);
    } else {
      append_codes(1, [&](std::uint8_t* code) { encode(vector.data(), code); });
    }
  }

  // No slot is free, so the rows follow one another here as well.
  void add_many(const SlotTable::Additions& additions, std::span<const float> vectors, LentThreads& threads) override {
    if (codec_->is_exact()) {
      append_floats(additions.size(), vectors);
      return;
    }
    const std::size_t rows = additions.size();
    append_codes(rows, [&](std::uint8_t* codes) {
      threads.each((rows + rows_at_once - 1) / rows_at_once, [&](std::size_t number) {
        for (std::size_t row = number * rows_at_once; row < std::min(rows, (number + 1) * rows_at_once); ++row) {
          encode(vectors.data() + row * codec_->dim(), codes + row * index_->code_size);
        }
      });
    });
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
    return codec_->nearest(*index_, index_->codes, query, most);
  }

  // faiss compares many queries with vectors by a product of matrices, whose rounding may take a vector for nearer than one
  // that is nearer by less than that. A few more than are asked for therefore come along.
  [[nodiscard]] std::vector<std::vector<Id>> search_many(std::span<const float> queries, std::size_t most,
                                                         std::optional<std::size_t> width) const override {
    if (codec_->is_exact()) {
      constexpr std::size_t few = 8;
      return labels_of(*index_, queries, std::min(most + few, static_cast<std::size_t>(index_->ntotal)));
    }
    std::vector<std::vector<Id>> found;
    for (std::size_t at = 0; at < queries.size(); at += codec_->dim()) {
      found.push_back(search(queries.subspan(at, codec_->dim()), most, width));
    }
    return found;
  }

  void take_slots(const Reader& reader, std::size_t slots, const std::function<std::size_t(Id)>& slot_of) override {
    take_order(reader, slots, slot_of);
  }

  void save_to(Writer& writer) const override { write_with_faiss(writer, *index_); }

  void export_to(Writer& writer, const std::function<Id(std::size_t)>& number_of) const override {
    export_in_map(writer, number_of);
  }

  /// Reads a flat index of codes that follows its tag: header | what was trained | the codes with the count of their bytes
  /// before them; a product quantizer also has the way to search 4 | whether signs are codes 1 | a Hamming distance 4.
  [[nodiscard]] static std::unique_ptr<FlatPart> read_codes(Reader& reader, std::uint32_t type) {
    const Header header = read_head(reader);
    if (type == flat_scalar_tag) {
      auto index = std::make_unique<::faiss::IndexScalarQuantizer>();
      take_header(*index, header);
      index->sq = read_scalar_quantizer(reader, header.dim);
      index->code_size = index->sq.code_size;
      auto codec = std::make_unique<ScalarCodec>(index->sq);
      read_codes_of(reader, *index, *codec, header.vectors);
      return std::make_unique<FlatPart>(std::move(index), std::move(codec));
    }
    auto index = std::make_unique<::faiss::IndexPQ>();
    take_header(*index, header);
    index->pq = read_product_quantizer(reader, header.dim);
    index->code_size = index->pq.code_size;
    auto codec = std::make_unique<ProductCodec>(index->pq);
    read_codes_of(reader, *index, *codec, header.vectors);
    const auto search_type = reader.read_le<std::int32_t>();
    const auto signs = reader.read_le<std::uint8_t>();
    if (search_type != ::faiss::IndexPQ::ST_PQ || signs > 1) {
      fail(
          reader,
          "it is stated to be searched by the method " + std::to_string(search_type) + ", with signs " +
              std::to_string(signs) +
              "; supported is 0, the distance from the query to the codes: set search_type to ST_PQ, and save it anew");
    }
    index->search_type = ::faiss::IndexPQ::ST_PQ;
    index->encode_signs = signs == 1;
    index->polysemous_ht = reader.read_le<std::int32_t>();
    return std::make_unique<FlatPart>(std::move(index), std::move(codec));
  }

 private:
  static constexpr std::size_t rows_at_once = 16;

  static void read_codes_of(Reader& reader, ::faiss::IndexFlatCodes& index, const Codec& codec, std::size_t vectors) {
    const auto bytes = reader.read_le<std::uint64_t>();
    if (bytes != std::uint64_t{vectors} * index.code_size) {
      fail(reader, "a flat index of " + std::to_string(vectors) + " codes of " + std::to_string(index.code_size) +
                       " bytes is stated to have " + std::to_string(bytes) + " bytes in all");
    }
    index.codes = reader.read_vector<std::uint8_t>(bytes);
    require_finite_codes(reader, codec, index.codes, index.code_size, "the vector at position ",
                         [](std::size_t at) { return at; });
  }

  void encode(const float* vector, std::uint8_t* code) const {
    codec_->encode(vector, code);
    check_code(*codec_, code);
  }

  void append_floats(std::size_t rows, std::span<const float> vectors) {
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(vectors.data());
    index_->codes.insert(index_->codes.end(), bytes, bytes + vectors.size_bytes());
    index_->ntotal += static_cast<Id>(rows);
  }

  // `write_codes(codes)` writes those of the rows. If it throws, nothing has changed.
  template <class WriteCodes>
  void append_codes(std::size_t rows, WriteCodes&& write_codes) {
    const std::size_t before = index_->codes.size();
    index_->codes.resize(before + rows * index_->code_size);
    try {
      write_codes(index_->codes.data() + before);
    } catch (...) {
      index_->codes.resize(before);
      throw;
    }
    index_->ntotal += static_cast<Id>(rows);
  }

  std::unique_ptr<::faiss::IndexFlatCodes> index_;
  std::unique_ptr<Codec> codec_;
};

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
