// Reads the rows of a damaged payload of an exact index: flat, or that of the crate iqdb.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
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

// Reads a payload into its cursor's rows. Throws PersistError where it cannot be read on.
class ExactRows {
 public:
  explicit ExactRows(PayloadCursor& from) : from_(&from) {}

  // dim 8 | metric 1 | rows 8 | the identifiers | the vectors | the metadata
  void flat() {
    dim_metric_count();
    const std::size_t begin = from_->next();
    if (flat_rows() && from_->next() == from_->bytes().size()) {
      return;
    }
    SalvagedRows read = std::move(from_->rows());
    from_->rows() = {.dim = read.dim, .metric = read.metric, .stated = read.stated};
    // If the identifiers are integers, each has nine bytes, and a damaged one does not hide where the others stand.
    from_->move_to(begin);
    if (!flat_rows_by_integers() && read.rows.size() >= from_->rows().rows.size()) {
      from_->rows() = std::move(read);
    }
  }

  // magic 4 | version 4 | kind 1 and its settings | dim 8 | metric 1 | rows 8 | of each row: identifier, vector, metadata
  void core() {
    constexpr std::size_t before_kind = 4 + 4;
    from_->skip(1, before_kind);
    switch (from_->number<std::uint8_t>()) {
      case 0:
        break;
      case 1:
        from_->skip(5, 8);
        break;
      case 2:
        from_->skip(3, 8);
        from_->skip(1, 1);
        from_->skip(from_->number<std::uint8_t>() != 0 ? 1 : 0, 8);
        from_->skip(1, 4 + 8);
        break;
      default:
        PayloadCursor::stop();
    }
    dim_metric_count();
    const std::uint64_t usual_row = smallest_id_bytes + from_->rows().dim * sizeof(float) + smallest_metadata_bytes;
    constexpr int most_hops = 64;
    int hops = 0;
    for (std::uint64_t row = 0; row < from_->rows().stated && from_->next() < from_->bytes().size();) {
      const std::size_t begin = from_->next();
      try {
        core_row();
        ++row;
      } catch (const PersistError&) {
        // A damaged row without metadata, of an integer, has the usual size.
        if (++hops > most_hops || from_->bytes().size() - begin < usual_row) {
          return;
        }
        from_->move_to(begin + static_cast<std::size_t>(usual_row));
        ++row;
      }
    }
  }

 private:
  void dim_metric_count() {
    const auto dim = from_->number<std::uint64_t>();
    from_->rows().metric = metric_from_tag(from_->number<std::uint8_t>());
    from_->rows().stated = from_->number<std::uint64_t>();
    if (dim == 0 || dim > std::numeric_limits<std::uint32_t>::max()) {
      PayloadCursor::stop();
    }
    from_->rows().dim = dim;
  }

  bool flat_rows() {
    std::vector<VectorId> ids;
    try {
      while (ids.size() < from_->rows().stated) {
        ids.push_back(from_->take([](Reader& reader) { return read_id(reader); }));
      }
    } catch (const PersistError&) {
      from_->rows().lost = std::move(ids);
      return false;
    }
    std::size_t row = 0;
    for (; row < ids.size() && from_->vector_fits(); ++row) {
      from_->rows().rows.push_back(
          {.id = std::move(ids[row]), .vector = from_->vector(), .metadata = {}, .metadata_lost = true});
    }
    from_->rows().lost.assign(ids.begin() + static_cast<std::ptrdiff_t>(row), ids.end());
    return row == ids.size() && metadata_of_rows();
  }

  // Whether everything behind the identifiers could be read, to the last byte.
  bool flat_rows_by_integers() {
    Reader reader(from_->bytes().subspan(from_->next()));
    if (from_->rows().stated > reader.remaining() / smallest_id_bytes) {
      return false;
    }
    std::vector<std::optional<VectorId>> ids;
    for (std::uint64_t row = 0; row < from_->rows().stated; ++row) {
      const auto kind = from_->number<std::uint8_t>();
      const auto integer = from_->number<std::uint64_t>();
      ids.push_back(kind == row_format::id_integer ? std::optional<VectorId>(integer) : std::nullopt);
    }
    for (const auto& id : ids) {
      if (!from_->vector_fits()) {
        return false;
      }
      from_->rows().rows.push_back(
          {.id = id.value_or(VectorId(0)), .vector = from_->vector(), .metadata = {}, .metadata_lost = true});
    }
    const bool whole = metadata_of_rows() && from_->next() == from_->bytes().size();
    std::size_t kept = 0;
    for (std::size_t row = 0; row < ids.size(); ++row) {
      if (ids[row]) {
        std::swap(from_->rows().rows[kept++], from_->rows().rows[row]);
      }
    }
    from_->rows().rows.resize(kept);
    return whole;
  }

  bool metadata_of_rows() {
    try {
      for (SalvagedRow& row : from_->rows().rows) {
        row.metadata = from_->take([](Reader& reader) { return read_metadata(reader); });
        row.metadata_lost = false;
      }
      return true;
    } catch (const PersistError&) {
      return false;
    }
  }

  void core_row() {
    SalvagedRow row;
    row.id = from_->take([](Reader& reader) {
      const auto kind = reader.read_le<std::uint8_t>();
      if (kind == row_format::id_integer) {
        return VectorId(reader.read_le<std::uint64_t>());
      }
      const auto length = kind == row_format::id_bytes ? reader.read_le<std::uint32_t>() : 0;
      if (length == 0) {
        PayloadCursor::stop();
      }
      return VectorId::from_stored_bytes(reader.read_string(length));
    });
    row.vector = from_->vector();
    row.metadata = from_->take([](Reader& reader) { return read_metadata(reader); });
    from_->rows().rows.push_back(std::move(row));
  }

  PayloadCursor* from_;
};

}  // namespace salvage::payload_rows

}  // namespace iqdb
