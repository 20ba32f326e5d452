#include "row_file.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/memory_size.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/storage.hpp"

namespace iqdb_tool {

namespace {

namespace fs = std::filesystem;

using iqdb::PersistErrorKind;

std::optional<RowFormat> format_by_name(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension.empty() ? std::nullopt : row_format_named(extension.substr(1));
}

std::uint64_t bytes_of(RowScalar scalar) noexcept {
  switch (scalar) {
    case RowScalar::f16:
      return 2;
    case RowScalar::f64:
      return 8;
    default:
      return 4;
  }
}

void read_exactly(iqdb::FileStorage::File& file, std::uint64_t offset, std::span<std::byte> into) {
  while (!into.empty()) {
    const std::size_t count = file.read_at(offset, into);
    if (count == 0) {
      iqdb::throw_persist_error(PersistErrorKind::truncated_payload, "the file became shorter while it was read",
                                {.path = {}, .code = {}, .offset = offset});
    }
    offset += count;
    into = into.subspan(count);
  }
}

template <class T>
T number_in(std::span<const std::byte> bytes, std::uint64_t at) {
  std::array<std::byte, sizeof(T)> raw{};
  std::memcpy(raw.data(), bytes.data() + at, sizeof(T));
  return iqdb::from_little_endian<T>(raw);
}

// sign 1 bit | exponent 5 | fraction 10
float float_of_half(std::uint16_t bits) {
  constexpr unsigned fraction_bits = 10;
  constexpr unsigned most_exponent = 31;
  const unsigned exponent = (bits >> fraction_bits) & most_exponent;
  const auto fraction = static_cast<float>(bits & 0x3FFU);
  float size = 0;
  if (exponent == most_exponent) {
    size = fraction == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == 0) {
    size = std::ldexp(fraction, -24);
  } else {
    size = std::ldexp(1024.0F + fraction, static_cast<int>(exponent) - 25);
  }
  return (bits & 0x8000U) != 0 ? -size : size;
}

// A component that is stored otherwise than as a float of 32 bits.
float converted_component(std::span<const std::byte> row, std::uint64_t at, RowScalar scalar, std::uint64_t offset) {
  const auto refuse = [&](const std::string& number, const std::string& why) {
    iqdb::throw_persist_error(PersistErrorKind::unsupported,
                              "the component " + number + " " + why + "; vectors are of floats of 32 bits",
                              {.path = {}, .code = {}, .offset = offset + at});
  };
  switch (scalar) {
    case RowScalar::f16:
      return float_of_half(number_in<std::uint16_t>(row, at));
    case RowScalar::f64: {
      const auto number = std::bit_cast<double>(number_in<std::uint64_t>(row, at));
      if (std::isfinite(number) && std::abs(number) > std::numeric_limits<float>::max()) {
        refuse(std::to_string(number), "is too large");
      }
      return static_cast<float>(number);
    }
    case RowScalar::i32:
    case RowScalar::f32:
      break;
  }
  const auto number = std::bit_cast<std::int32_t>(number_in<std::uint32_t>(row, at));
  if (static_cast<double>(static_cast<float>(number)) != static_cast<double>(number)) {
    refuse(std::to_string(number), "has more digits than a float");
  }
  return static_cast<float>(number);
}

RowLayout read_vecs_layout(iqdb::FileStorage::File& file, RowFormat format) {
  if (file.size() == 0) {
    iqdb::throw_persist_error(
        PersistErrorKind::truncated_header,
        "the file is empty, and says nothing of the dimension of its vectors; expected at least one");
  }
  RowLayout layout{.before_row = sizeof(std::uint32_t),
                   .scalar = format == RowFormat::fvecs ? RowScalar::f32 : RowScalar::i32};
  if (file.size() < layout.before_row) {
    iqdb::throw_persist_error(PersistErrorKind::truncated_header,
                              "the file has " + std::to_string(file.size()) + " bytes; a vector begins with 4");
  }
  std::array<std::byte, sizeof(std::uint32_t)> beginning{};
  read_exactly(file, 0, beginning);
  layout.dim = number_in<std::uint32_t>(beginning, 0);
  if (layout.dim == 0 || layout.dim > (file.size() - layout.before_row) / 4) {
    iqdb::throw_persist_error(PersistErrorKind::invalid_payload,
                              "the first vector is said to have " + std::to_string(layout.dim) +
                                  " components, and the file has " + std::to_string(file.size()) +
                                  " bytes: it is cut off, or of another format",
                              {.path = {}, .code = {}, .offset = 0});
  }
  layout.rows = file.size() / layout.row_bytes();
  return layout;
}

void require_size(const RowLayout& layout, std::uint64_t file_bytes) {
  const std::uint64_t found = file_bytes - layout.begin;
  // Otherwise the bytes of a row could be more than a number holds.
  const bool row_fits = layout.dim <= found / bytes_of(layout.scalar);
  const bool fits = layout.rows == 0
                        ? found == 0
                        : row_fits && found % layout.row_bytes() == 0 && found / layout.row_bytes() == layout.rows;
  if (!fits) {
    iqdb::throw_persist_error(PersistErrorKind::truncated_payload,
                              "the rows take " + std::to_string(found) + " bytes, and " + std::to_string(layout.rows) +
                                  " vectors of " + std::to_string(layout.dim) +
                                  " components take another number: the file is cut off, or has something behind them",
                              {.path = {}, .code = {}, .offset = layout.begin});
  }
}

}  // namespace

std::optional<RowFormat> row_format_named(std::string_view name) {
  if (name == "npy") {
    return RowFormat::npy;
  }
  if (name == "fvecs") {
    return RowFormat::fvecs;
  }
  return name == "ivecs" ? std::optional(RowFormat::ivecs) : std::nullopt;
}

std::uint64_t RowLayout::row_bytes() const noexcept { return before_row + dim * bytes_of(scalar); }

bool RowFile::recognises(const fs::path& path) {
  if (format_by_name(path)) {
    return true;
  }
  iqdb::FileStorage storage;
  auto file = storage.open(storage.resolve(path));
  std::array<std::byte, npy_magic.size()> beginning{};
  return file && file->size() >= npy_magic.size() && file->read_at(0, beginning) == npy_magic.size() &&
         std::memcmp(beginning.data(), npy_magic.data(), npy_magic.size()) == 0;
}

RowFile::RowFile(const fs::path& path)
    : path_(path), file_([&] {
        iqdb::FileStorage storage;
        auto file = storage.open(storage.resolve(path));
        if (!file) {
          iqdb::throw_persist_error(
              PersistErrorKind::io, "there is no such file; check the path",
              {.path = path, .code = std::make_error_code(std::errc::no_such_file_or_directory), .offset = {}});
        }
        return std::move(*file);
      }()) {
  iqdb::naming_file(path_, [&] {
    const RowFormat format = format_by_name(path_).value_or(RowFormat::npy);
    layout_ = format == RowFormat::npy ? read_npy_head(file_) : read_vecs_layout(file_, format);
    require_size(layout_, file_.size());
  });
}

void RowFile::each(const Visit& visit) {
  if (layout_.rows == 0) {
    return;
  }
  constexpr std::uint64_t piece_bytes = std::uint64_t{1} << 20U;
  const std::uint64_t row_bytes = layout_.row_bytes();
  const std::uint64_t rows_at_once = std::clamp<std::uint64_t>(piece_bytes / row_bytes, 1, layout_.rows);
  std::vector<std::byte> piece;
  std::vector<float> row(dim());
  for (std::uint64_t first = 0; first < layout_.rows; first += rows_at_once) {
    const std::uint64_t count = std::min(rows_at_once, layout_.rows - first);
    const std::uint64_t offset = layout_.begin + first * row_bytes;
    piece.resize(iqdb::memory_size(count * row_bytes));
    iqdb::naming_file(path_, [&] { read_exactly(file_, offset, piece); });
    for (std::uint64_t number = 0; number < count; ++number) {
      const std::uint64_t begin = number * row_bytes;
      iqdb::naming_file(path_, [&] {
        if (layout_.before_row != 0 && number_in<std::uint32_t>(piece, begin) != layout_.dim) {
          iqdb::throw_persist_error(PersistErrorKind::invalid_payload,
                                    "the vector " + std::to_string(first + number) + " is said to have " +
                                        std::to_string(number_in<std::uint32_t>(piece, begin)) +
                                        " components, and the first one has " + std::to_string(layout_.dim) +
                                        ": the file is damaged, or of another format",
                                    {.path = {}, .code = {}, .offset = offset + begin});
        }
        const std::uint64_t components = begin + layout_.before_row;
        if (layout_.scalar == RowScalar::f32) {
          // As bytes: where an x87 copies floats, it makes a signalling NaN a quiet one.
          iqdb::Reader(std::span<const std::byte>(piece).subspan(static_cast<std::size_t>(components)))
              .read_array(std::span<float>(row));
          return;
        }
        for (std::size_t at = 0; at < row.size(); ++at) {
          row[at] = converted_component(piece, components + at * bytes_of(layout_.scalar), layout_.scalar, offset);
        }
      });
      visit(first + number, row);
    }
  }
}

RowWriter::RowWriter(iqdb::Writer& writer, RowFormat format, std::uint64_t rows, std::uint64_t dim)
    : writer_(&writer), format_(format) {
  if (format == RowFormat::npy) {
    write_npy_head(writer, rows, dim);
  }
}

void RowWriter::write(std::span<const float> row) {
  if (format_ == RowFormat::npy) {
    writer_->write_array(row);
    return;
  }
  writer_->write_le(static_cast<std::uint32_t>(row.size()));
  if (format_ == RowFormat::fvecs) {
    writer_->write_array(row);
    return;
  }
  for (const float component : row) {
    constexpr float limit = 2147483648.0F;
    if (!(component >= -limit && component < limit) || component != std::trunc(component)) {
      iqdb::throw_persist_error(PersistErrorKind::unsupported,
                                "the component " + std::to_string(component) +
                                    " is no integer of 32 bits, and .ivecs holds nothing else; write .fvecs or .npy");
    }
    writer_->write_le(static_cast<std::uint32_t>(static_cast<std::int32_t>(component)));
  }
}

}  // namespace iqdb_tool
