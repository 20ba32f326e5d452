// Reads the rows of a damaged payload of an adapter: identifiers and vectors of an index of hnswlib, usearch or faiss, without
// its links. None of these libraries is needed for it.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/salvage/payload_cursor.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace salvage::payload_rows {

[[nodiscard]] inline float from_half(std::uint16_t bits) noexcept {
  const int exponent = (bits >> 10U) & 0x1F;
  const auto fraction = static_cast<float>(bits & 0x3FFU);
  float value = std::numeric_limits<float>::infinity();
  if (exponent == 0) {
    value = std::ldexp(fraction, -24);
  } else if (exponent < 31) {
    value = std::ldexp(fraction + 1024.0F, exponent - 25);
  }
  return (bits & 0x8000U) != 0 ? -value : value;
}

// Reads a payload into its cursor's rows. Throws PersistError where it cannot be read on.
class AdapterRows {
 public:
  explicit AdapterRows(PayloadCursor& from) : from_(&from) {}

  // Those for which no vector was found.
  void tell_lost() {
    for (const auto& slot : slots_) {
      if (slot) {
        from_->rows().lost.push_back(slot->id);
      }
    }
    slots_.clear();
  }

  // entry 4 | levels 1 each | the lowest level: links 4 and 8 for each | vector | label 8
  void hnsw() {
    constexpr std::size_t settings = 5;
    head_and_slots(settings, false);
    from_->skip(1, 4);
    from_->skip(slots_.size(), 1);
    const std::uint64_t links = from_->rows().settings.front();
    constexpr std::uint64_t most_links = 1024;
    if (links > most_links) {
      return;
    }
    for (std::size_t slot = 0, count = slots_.size(); slot < count; ++slot) {
      if (from_->left() < 4 + 8 * links || (from_->left() - 4 - 8 * links) / sizeof(float) < from_->rows().dim) {
        break;
      }
      from_->skip(1, 4 + 8 * links);
      add(slot, from_->vector());
      if (from_->left() < 8) {
        break;
      }
      from_->skip(1, 8);
    }
    tell_lost();
  }

  // whether a graph follows 1 | rows 4 | bytes of a row 4 | vectors | head 64 | graph header 40 | levels 2 each | nodes
  void usearch() {
    constexpr std::size_t settings = 4;
    head_and_slots(settings, true);
    if (from_->number<std::uint8_t>() != 1) {
      return;
    }
    const std::uint64_t rows = from_->number<std::uint32_t>();
    const std::uint64_t row_bytes = from_->number<std::uint32_t>();
    const std::uint64_t scalar = from_->rows().settings.front();
    constexpr std::array<std::uint64_t, 5> scalar_bytes{4, 2, 1, 2, 8};
    if (scalar >= scalar_bytes.size() ||
        row_bytes != from_->rows().dim * scalar_bytes.at(static_cast<std::size_t>(scalar))) {
      PayloadCursor::stop();
    }
    const std::size_t vectors = from_->next();
    from_->skip(rows, row_bytes);
    constexpr std::uint64_t heads = 64 + 40;
    from_->skip(1, heads);
    const std::size_t levels = from_->next();
    from_->skip(rows, 2);
    for (std::uint64_t row = 0; row < rows && from_->left() >= 8; ++row) {
      constexpr std::uint64_t inverse_of_key_factor = 0xF1DE83E19937733DU;
      const std::uint64_t slot = from_->number<std::uint64_t>() * inverse_of_key_factor;
      Reader level_reader(from_->bytes().subspan(levels + static_cast<std::size_t>(2 * row), 2));
      const std::uint64_t level = level_reader.read_le<std::uint16_t>();
      const std::uint64_t connectivity = from_->rows().settings.at(1);
      const std::uint64_t connectivity_base = from_->rows().settings.at(2);
      constexpr std::uint64_t most = 65536;
      if (connectivity > most || connectivity_base > most) {
        break;
      }
      const auto bytes = from_->bytes().subspan(vectors + static_cast<std::size_t>(row * row_bytes),
                                                static_cast<std::size_t>(row_bytes));
      add(slot, from_scalars(bytes, scalar));
      const std::uint64_t rest = 2 + (1 + connectivity_base) * 4 + level * (1 + connectivity) * 4;
      if (from_->left() < rest) {
        break;
      }
      from_->skip(1, rest);
    }
    tell_lost();
  }

  // faiss' index: tag 4 | dim 4 | vectors 8 | unused 16 | trained 1 | metric 4 | what its kind has
  void faiss() {
    constexpr std::uint64_t header = 4 + 8 + 16 + 1 + 4;
    constexpr auto tag = [](const char* letters) {
      std::uint32_t number = 0;
      for (std::uint32_t at = 0; at < 4; ++at) {
        number |= std::uint32_t{static_cast<unsigned char>(letters[at])} << 8U * at;
      }
      return number;
    };
    head_and_slots(0, false);
    from_->rows().kind = from_->number<std::uint32_t>();
    from_->skip(1, header);
    const auto is_flat = [&](std::uint32_t kind) {
      return kind == tag("IxF2") || kind == tag("IxFI") || kind == tag("IxFl");
    };
    const auto skip_graph = [&] {
      skip_counted(sizeof(double));
      faiss_links();
      skip_counted(4);
      skip_counted(8);
      skip_counted(4);
      from_->skip(5, 4);
    };
    if (from_->rows().kind == tag("IwFl")) {
      const auto lists = from_->number<std::uint64_t>();
      from_->rows().settings = {lists, from_->number<std::uint64_t>()};
      if (from_->number<std::uint32_t>() == tag("IHNf")) {
        from_->skip(1, header);
        skip_graph();
        from_->skip(1, 4);
      }
      from_->skip(1, header);
      faiss_lists();
      tell_lost();
      return;
    }
    if (from_->rows().kind == tag("IHNf")) {
      skip_graph();
      from_->skip(1, 4 + header);
    } else if (!is_flat(from_->rows().kind)) {
      // Of every other kind there are codes, or transformed vectors. They are no vectors that were inserted, and none are
      // made up in their place.
      tell_lost();
      return;
    }
    static_cast<void>(from_->number<std::uint64_t>());
    for (std::size_t slot = 0, count = slots_.size(); slot < count && from_->vector_fits(); ++slot) {
      add(slot, from_->vector());
    }
    tell_lost();
  }

 private:
  // An identifier whose vector is not read yet.
  struct Slot {
    VectorId id = 0;
    std::optional<Metadata> metadata = {};
  };

  // layout version 1 | dim 8 | metric 1 | settings | slots 8 | of each: whether it is taken 1 | identifier, metadata
  void head_and_slots(std::size_t settings, bool has_scalar) {
    static_cast<void>(from_->number<std::uint8_t>());
    const auto dim = from_->number<std::uint64_t>();
    from_->rows().metric = metric_from_tag(from_->number<std::uint8_t>());
    if (dim == 0 || dim > std::numeric_limits<std::uint32_t>::max()) {
      PayloadCursor::stop();
    }
    if (has_scalar) {
      from_->rows().settings.push_back(from_->number<std::uint8_t>());
    }
    for (std::size_t setting = 0; setting < settings; ++setting) {
      from_->rows().settings.push_back(from_->number<std::uint64_t>());
    }
    from_->rows().dim = dim;
    const auto slots = from_->number<std::uint64_t>();
    while (slots_.size() < slots) {
      const auto flag = from_->number<std::uint8_t>();
      if (flag > 1) {
        PayloadCursor::stop();
      }
      slots_.emplace_back();
      if (flag == 1) {
        ++from_->rows().stated;
        Slot slot;
        slot.id = from_->take([](Reader& reader) { return read_id(reader); });
        slot.metadata = from_->take([](Reader& reader) { return read_metadata(reader); });
        slots_.back() = std::move(slot);
      }
    }
  }

  void add(std::uint64_t slot, std::vector<float> vector) {
    if (slot < slots_.size() && slots_[static_cast<std::size_t>(slot)]) {
      Slot& taken = *slots_[static_cast<std::size_t>(slot)];
      from_->rows().rows.push_back(
          {.id = std::move(taken.id), .vector = std::move(vector), .metadata = std::move(taken.metadata)});
      slots_[static_cast<std::size_t>(slot)].reset();
    }
  }

  static std::vector<float> from_scalars(std::span<const std::byte> bytes, std::uint64_t scalar) {
    Reader reader(bytes);
    if (scalar == 0) {
      return reader.read_vector<float>(bytes.size() / sizeof(float));
    }
    std::vector<float> values;
    while (reader.remaining() > 0) {
      switch (scalar) {
        case 1:
          values.push_back(from_half(reader.read_le<std::uint16_t>()));
          break;
        case 2:
          values.push_back(static_cast<float>(reader.read_le<std::int8_t>()));
          break;
        case 3:  // the upper half of a float
          values.push_back(std::bit_cast<float>(std::uint32_t{reader.read_le<std::uint16_t>()} << 16U));
          break;
        default:
          values.push_back(static_cast<float>(reader.read_le<double>()));
      }
    }
    return values;
  }

  void skip_counted(std::uint64_t bytes_each) { from_->skip(from_->number<std::uint64_t>(), bytes_each); }

  // The sums of links up to each level: the second one is twice the links of a node.
  void faiss_links() {
    const auto count = from_->number<std::uint64_t>();
    const std::size_t begin = from_->next();
    from_->skip(count, 4);
    if (count > 1) {
      Reader reader(from_->bytes().subspan(begin + 4, 4));
      from_->rows().settings.push_back(reader.read_le<std::uint32_t>() / 2);
    }
  }

  // The components of the centroids | a map | tag 4 | lists 8 | bytes of a vector 8 | their sizes | of each list: vectors,
  // then slots 8 each
  void faiss_lists() {
    skip_counted(sizeof(float));
    const bool has_pairs = from_->number<std::uint8_t>() == 2;
    skip_counted(8);
    if (has_pairs) {
      skip_counted(16);
    }
    from_->skip(1, 4 + 8 + 8);
    const auto form = from_->number<std::uint32_t>();
    const auto count = from_->number<std::uint64_t>();
    const auto sizes = from_->take([&](Reader& reader) { return reader.read_vector<std::uint64_t>(count); });
    constexpr std::uint32_t all_lists = 0x6C6C7566U;  // "full"
    for (std::size_t at = form == all_lists ? 0 : 1; at < sizes.size(); at += form == all_lists ? 1 : 2) {
      const std::size_t vectors = from_->next();
      from_->skip(sizes[at], from_->rows().dim * sizeof(float));
      const std::size_t slots = from_->next();
      for (std::uint64_t row = 0; row < sizes[at]; ++row) {
        from_->move_to(slots + static_cast<std::size_t>(row * 8));
        const auto slot = from_->number<std::uint64_t>();
        from_->move_to(vectors + static_cast<std::size_t>(row * from_->rows().dim * sizeof(float)));
        add(slot, from_->vector());
      }
      from_->move_to(slots);
      from_->skip(sizes[at], 8);
    }
  }

  PayloadCursor* from_;
  std::vector<std::optional<Slot>> slots_;
};

}  // namespace salvage::payload_rows

}  // namespace iqdb
