// Reads the rows of a payload that is damaged or cut short: identifiers, vectors and metadata, without links.
//
// Nothing vouches for such rows. A vector may be altered, and an identifier invented, by the damage. Invariants: a row is
// given only if its identifier and all components of its vector could be read; memory grows with the bytes of the payload.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace salvage {

/// A row that was read from a damaged payload.
struct SalvagedRow {
  VectorId id = 0;
  std::vector<float> vector = {};
  std::optional<Metadata> metadata = {};
  bool metadata_lost = false;  ///< its metadata could not be read
};

/// What was read of a damaged payload.
struct SalvagedRows {
  std::uint64_t dim = 0;                               ///< 0 if not even the beginning could be read
  DistanceMetric metric = DistanceMetric::euclidean;   ///< how distances are measured
  std::uint64_t stated = 0;                            ///< how many rows the payload states
  std::vector<std::uint64_t> settings = {};            ///< those of an adapter, in the order of its payload
  std::uint32_t kind = 0;                              ///< faiss' tag of the kind of index
  std::vector<SalvagedRow> rows = {};                  ///< the rows
  std::vector<VectorId> lost = {};                     ///< identifiers whose vectors could not be read
};

namespace payload_rows {

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

// Reads a payload of one type. `next` stands at the byte that is read next.
class PayloadParser {
 public:
  explicit PayloadParser(std::span<const std::byte> bytes) : bytes_(bytes) {}

  SalvagedRows parse(std::string_view type) {
    try {
      if (type == "flat") {
        flat();
      } else if (type == "iqdb-core") {
        core();
      } else if (type == "hnsw") {
        hnsw();
      } else if (type == "usearch") {
        usearch();
      } else if (type == "faiss") {
        faiss();
      }
    } catch (const PersistError&) {
      // It ends here, or it is damaged here. What was read is what there is.
    }
    tell_lost();
    return std::move(rows_);
  }

 private:
  // An identifier whose vector is not read yet.
  struct Slot {
    VectorId id = 0;
    std::optional<Metadata> metadata = {};
  };

  // Calls `read(reader)` with a reader of everything from `next_` on, and moves `next_` behind what was read.
  template <class Read>
  auto take(Read&& read) {
    Reader reader(bytes_.subspan(next_));
    auto value = std::forward<Read>(read)(reader);
    next_ += static_cast<std::size_t>(reader.position());
    return value;
  }
  template <class T>
  T number() {
    return take([](Reader& reader) { return reader.read_le<T>(); });
  }
  void skip(std::uint64_t count, std::uint64_t bytes_each) {
    Reader reader(bytes_.subspan(next_));
    reader.require_items(count, bytes_each);
    next_ += static_cast<std::size_t>(count * bytes_each);
  }
  [[noreturn]] static void stop() { throw_persist_error(PersistErrorKind::invalid_payload, "the payload is damaged"); }

  // ---- the exact indexes --------------------------------------------------------------------------------------------

  void dim_metric_count() {
    const auto dim = number<std::uint64_t>();
    rows_.metric = metric_from_tag(number<std::uint8_t>());
    rows_.stated = number<std::uint64_t>();
    if (dim == 0 || dim > std::numeric_limits<std::uint32_t>::max()) {
      stop();
    }
    rows_.dim = dim;
  }

  // dim 8 | metric 1 | rows 8 | the identifiers | the vectors | the metadata
  void flat() {
    dim_metric_count();
    const std::size_t begin = next_;
    if (flat_rows() && next_ == bytes_.size()) {
      return;
    }
    SalvagedRows read = std::move(rows_);
    rows_ = {.dim = read.dim, .metric = read.metric, .stated = read.stated};
    // If the identifiers are integers, each has nine bytes, and a damaged one does not hide where the others stand.
    next_ = begin;
    if (!flat_rows_by_integers() && read.rows.size() >= rows_.rows.size()) {
      rows_ = std::move(read);
    }
  }

  bool flat_rows() {
    std::vector<VectorId> ids;
    try {
      while (ids.size() < rows_.stated) {
        ids.push_back(take([](Reader& reader) { return read_id(reader); }));
      }
    } catch (const PersistError&) {
      rows_.lost = std::move(ids);
      return false;
    }
    std::size_t row = 0;
    for (; row < ids.size() && vector_fits(); ++row) {
      rows_.rows.push_back({.id = std::move(ids[row]), .vector = vector(), .metadata = {}, .metadata_lost = true});
    }
    rows_.lost.assign(ids.begin() + static_cast<std::ptrdiff_t>(row), ids.end());
    return row == ids.size() && metadata_of_rows();
  }

  // Whether everything behind the identifiers could be read, to the last byte.
  bool flat_rows_by_integers() {
    Reader reader(bytes_.subspan(next_));
    if (rows_.stated > reader.remaining() / smallest_id_bytes) {
      return false;
    }
    std::vector<std::optional<VectorId>> ids;
    for (std::uint64_t row = 0; row < rows_.stated; ++row) {
      const auto kind = number<std::uint8_t>();
      const auto integer = number<std::uint64_t>();
      ids.push_back(kind == row_format::id_integer ? std::optional<VectorId>(integer) : std::nullopt);
    }
    for (const auto& id : ids) {
      if (!vector_fits()) {
        return false;
      }
      rows_.rows.push_back({.id = id.value_or(VectorId(0)), .vector = vector(), .metadata = {}, .metadata_lost = true});
    }
    const bool whole = metadata_of_rows() && next_ == bytes_.size();
    std::size_t kept = 0;
    for (std::size_t row = 0; row < ids.size(); ++row) {
      if (ids[row]) {
        std::swap(rows_.rows[kept++], rows_.rows[row]);
      }
    }
    rows_.rows.resize(kept);
    return whole;
  }

  bool metadata_of_rows() {
    try {
      for (SalvagedRow& row : rows_.rows) {
        row.metadata = take([](Reader& reader) { return read_metadata(reader); });
        row.metadata_lost = false;
      }
      return true;
    } catch (const PersistError&) {
      return false;
    }
  }

  [[nodiscard]] bool vector_fits() const noexcept {
    return (bytes_.size() - next_) / sizeof(float) >= rows_.dim;
  }

  std::vector<float> vector() {
    return take([&](Reader& reader) { return reader.read_vector<float>(rows_.dim); });
  }

  // magic 4 | version 4 | kind 1 and its settings | dim 8 | metric 1 | rows 8 | of each row: identifier, vector, metadata
  void core() {
    constexpr std::size_t before_kind = 4 + 4;
    skip(1, before_kind);
    switch (number<std::uint8_t>()) {
      case 0:
        break;
      case 1:
        skip(5, 8);
        break;
      case 2:
        skip(3, 8);
        skip(1, 1);
        skip(number<std::uint8_t>() != 0 ? 1 : 0, 8);
        skip(1, 4 + 8);
        break;
      default:
        stop();
    }
    dim_metric_count();
    const std::uint64_t usual_row = smallest_id_bytes + rows_.dim * sizeof(float) + smallest_metadata_bytes;
    constexpr int most_hops = 64;
    int hops = 0;
    for (std::uint64_t row = 0; row < rows_.stated && next_ < bytes_.size();) {
      const std::size_t begin = next_;
      try {
        core_row();
        ++row;
      } catch (const PersistError&) {
        // A damaged row without metadata, of an integer, has the usual size.
        if (++hops > most_hops || bytes_.size() - begin < usual_row) {
          return;
        }
        next_ = begin + static_cast<std::size_t>(usual_row);
        ++row;
      }
    }
  }

  void core_row() {
    SalvagedRow row;
    row.id = take([](Reader& reader) {
      const auto kind = reader.read_le<std::uint8_t>();
      if (kind == row_format::id_integer) {
        return VectorId(reader.read_le<std::uint64_t>());
      }
      const auto length = kind == row_format::id_bytes ? reader.read_le<std::uint32_t>() : 0;
      if (length == 0) {
        stop();
      }
      return VectorId::from_stored_bytes(reader.read_string(length));
    });
    row.vector = vector();
    row.metadata = take([](Reader& reader) { return read_metadata(reader); });
    rows_.rows.push_back(std::move(row));
  }

  // ---- the adapters -------------------------------------------------------------------------------------------------

  // layout version 1 | dim 8 | metric 1 | settings | slots 8 | of each: whether it is taken 1 | identifier, metadata
  void head_and_slots(std::size_t settings, bool has_scalar) {
    static_cast<void>(number<std::uint8_t>());
    const auto dim = number<std::uint64_t>();
    rows_.metric = metric_from_tag(number<std::uint8_t>());
    if (dim == 0 || dim > std::numeric_limits<std::uint32_t>::max()) {
      stop();
    }
    if (has_scalar) {
      rows_.settings.push_back(number<std::uint8_t>());
    }
    for (std::size_t setting = 0; setting < settings; ++setting) {
      rows_.settings.push_back(number<std::uint64_t>());
    }
    rows_.dim = dim;
    const auto slots = number<std::uint64_t>();
    while (slots_.size() < slots) {
      const auto flag = number<std::uint8_t>();
      if (flag > 1) {
        stop();
      }
      slots_.emplace_back();
      if (flag == 1) {
        ++rows_.stated;
        Slot slot;
        slot.id = take([](Reader& reader) { return read_id(reader); });
        slot.metadata = take([](Reader& reader) { return read_metadata(reader); });
        slots_.back() = std::move(slot);
      }
    }
  }

  void add(std::uint64_t slot, std::vector<float> vector) {
    if (slot < slots_.size() && slots_[static_cast<std::size_t>(slot)]) {
      Slot& taken = *slots_[static_cast<std::size_t>(slot)];
      rows_.rows.push_back({.id = std::move(taken.id), .vector = std::move(vector), .metadata = std::move(taken.metadata)});
      slots_[static_cast<std::size_t>(slot)].reset();
    }
  }

  // Those for which no vector was found.
  void tell_lost() {
    for (const auto& slot : slots_) {
      if (slot) {
        rows_.lost.push_back(slot->id);
      }
    }
    slots_.clear();
  }

  // entry 4 | levels 1 each | the lowest level: links 4 and 8 for each | vector | label 8
  void hnsw() {
    constexpr std::size_t settings = 5;
    head_and_slots(settings, false);
    skip(1, 4);
    skip(slots_.size(), 1);
    const std::uint64_t links = rows_.settings.front();
    constexpr std::uint64_t most_links = 1024;
    if (links > most_links) {
      return;
    }
    for (std::size_t slot = 0, count = slots_.size(); slot < count; ++slot) {
      if (bytes_.size() - next_ < 4 + 8 * links || (bytes_.size() - next_ - 4 - 8 * links) / sizeof(float) < rows_.dim) {
        break;
      }
      skip(1, 4 + 8 * links);
      add(slot, vector());
      if (bytes_.size() - next_ < 8) {
        break;
      }
      skip(1, 8);
    }
    tell_lost();
  }

  // whether a graph follows 1 | rows 4 | bytes of a row 4 | vectors | head 64 | graph header 40 | levels 2 each | nodes
  void usearch() {
    constexpr std::size_t settings = 4;
    head_and_slots(settings, true);
    if (number<std::uint8_t>() != 1) {
      return;
    }
    const std::uint64_t rows = number<std::uint32_t>();
    const std::uint64_t row_bytes = number<std::uint32_t>();
    const std::uint64_t scalar = rows_.settings.front();
    constexpr std::array<std::uint64_t, 3> scalar_bytes{4, 2, 1};
    if (scalar >= scalar_bytes.size() || row_bytes != rows_.dim * scalar_bytes.at(static_cast<std::size_t>(scalar))) {
      stop();
    }
    const std::size_t vectors = next_;
    skip(rows, row_bytes);
    constexpr std::uint64_t heads = 64 + 40;
    skip(1, heads);
    const std::size_t levels = next_;
    skip(rows, 2);
    for (std::uint64_t row = 0; row < rows && bytes_.size() - next_ >= 8; ++row) {
      constexpr std::uint64_t inverse_of_key_factor = 0xF1DE83E19937733DU;
      const std::uint64_t slot = number<std::uint64_t>() * inverse_of_key_factor;
      Reader level_reader(bytes_.subspan(levels + static_cast<std::size_t>(2 * row), 2));
      const std::uint64_t level = level_reader.read_le<std::uint16_t>();
      const std::uint64_t connectivity = rows_.settings.at(1);
      const std::uint64_t connectivity_base = rows_.settings.at(2);
      constexpr std::uint64_t most = 65536;
      if (connectivity > most || connectivity_base > most) {
        break;
      }
      const auto bytes = bytes_.subspan(vectors + static_cast<std::size_t>(row * row_bytes), static_cast<std::size_t>(row_bytes));
      add(slot, from_scalars(bytes, scalar));
      const std::uint64_t rest = 2 + (1 + connectivity_base) * 4 + level * (1 + connectivity) * 4;
      if (bytes_.size() - next_ < rest) {
        break;
      }
      skip(1, rest);
    }
    tell_lost();
  }

  static std::vector<float> from_scalars(std::span<const std::byte> bytes, std::uint64_t scalar) {
    Reader reader(bytes);
    std::vector<float> values;
    while (reader.remaining() > 0) {
      if (scalar == 0) {
        values.push_back(reader.read_le<float>());
      } else if (scalar == 1) {
        values.push_back(from_half(reader.read_le<std::uint16_t>()));
      } else {
        values.push_back(static_cast<float>(reader.read_le<std::int8_t>()));
      }
    }
    return values;
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
    rows_.kind = number<std::uint32_t>();
    skip(1, header);
    if (rows_.kind == tag("IHNf")) {
      skip_counted(sizeof(double));
      faiss_links();
      skip_counted(4);
      skip_counted(8);
      skip_counted(4);
      skip(5, 4);
      skip(1, 4 + header);
    } else if (rows_.kind == tag("IwFl")) {
      faiss_lists(header);
      tell_lost();
      return;
    }
    static_cast<void>(number<std::uint64_t>());
    for (std::size_t slot = 0, count = slots_.size(); slot < count && vector_fits(); ++slot) {
      add(slot, vector());
    }
    tell_lost();
  }

  void skip_counted(std::uint64_t bytes_each) { skip(number<std::uint64_t>(), bytes_each); }

  // The sums of links up to each level: the second one is twice the links of a node.
  void faiss_links() {
    const auto count = number<std::uint64_t>();
    const std::size_t begin = next_;
    skip(count, 4);
    if (count > 1) {
      Reader reader(bytes_.subspan(begin + 4, 4));
      rows_.settings.push_back(reader.read_le<std::uint32_t>() / 2);
    }
  }

  // lists 8 | probes 8 | a flat index of centroids | a map | tag 4 | lists 8 | bytes of a vector 8 | their sizes | of each
  // list: vectors, then slots 8 each
  void faiss_lists(std::uint64_t header) {
    const auto lists = number<std::uint64_t>();
    rows_.settings = {lists, number<std::uint64_t>()};
    skip(1, 4 + header);
    skip_counted(sizeof(float));
    const bool has_pairs = number<std::uint8_t>() == 2;
    skip_counted(8);
    if (has_pairs) {
      skip_counted(16);
    }
    skip(1, 4 + 8 + 8);
    const auto form = number<std::uint32_t>();
    const auto count = number<std::uint64_t>();
    const auto sizes = take([&](Reader& reader) { return reader.read_vector<std::uint64_t>(count); });
    constexpr std::uint32_t all_lists = 0x6C6C7566U;  // "full"
    for (std::size_t at = form == all_lists ? 0 : 1; at < sizes.size(); at += form == all_lists ? 1 : 2) {
      const std::size_t vectors = next_;
      skip(sizes[at], rows_.dim * sizeof(float));
      const std::size_t slots = next_;
      for (std::uint64_t row = 0; row < sizes[at]; ++row) {
        next_ = slots + static_cast<std::size_t>(row * 8);
        const auto slot = number<std::uint64_t>();
        next_ = vectors + static_cast<std::size_t>(row * rows_.dim * sizeof(float));
        add(slot, vector());
      }
      next_ = slots;
      skip(sizes[at], 8);
    }
  }

  std::span<const std::byte> bytes_;
  std::size_t next_ = 0;
  SalvagedRows rows_;
  std::vector<std::optional<Slot>> slots_;
};

}  // namespace payload_rows

/// Reads the rows of a payload of this type, as far as it goes. Of a type that is not known here it reads none. Throws
/// std::bad_alloc.
[[nodiscard]] inline SalvagedRows salvage_rows(std::span<const std::byte> payload, std::string_view type) {
  return payload_rows::PayloadParser(payload).parse(type);
}

}  // namespace salvage

}  // namespace iqdb
