// The head of a file of numpy's.
#include <array>
#include <charconv>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/text.hpp"
#include "row_file.hpp"

namespace iqdb_tool {

namespace {

using iqdb::PersistErrorKind;

[[noreturn]] void refuse(PersistErrorKind kind, const std::string& why) {
  iqdb::throw_persist_error(kind,
                            why + "; expected rows of floats as numpy.save(path, array.astype('<f4')) writes them");
}

// Takes what Python prints of a dictionary apart, as far as numpy writes one.
class Dictionary {
 public:
  explicit Dictionary(std::string_view text) : text_(text) {}

  // What follows the key, up to the end of the text.
  [[nodiscard]] std::string_view behind(std::string_view key) const {
    const std::string quoted = "'" + std::string(key) + "':";
    const std::size_t at = text_.find(quoted);
    if (at == std::string_view::npos) {
      refuse(PersistErrorKind::invalid_payload, "the head of the file has no entry " + iqdb::printable(key));
    }
    std::string_view rest = text_.substr(at + quoted.size());
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    return rest;
  }

 private:
  std::string_view text_;
};

RowScalar scalar_of(std::string_view value) {
  constexpr std::array<std::pair<std::string_view, RowScalar>, 3> known{
      {{"'<f2'", RowScalar::f16}, {"'<f4'", RowScalar::f32}, {"'<f8'", RowScalar::f64}}};
  for (const auto& [name, scalar] : known) {
    if (value.starts_with(name)) {
      return scalar;
    }
  }
  constexpr std::size_t most_shown = 24;
  refuse(PersistErrorKind::unsupported,
         "the components are of the type " + iqdb::printable(value.substr(0, std::min(value.find(','), most_shown))) +
             ", and this program reads '<f2', '<f4' and '<f8', which are little-endian floats");
}

std::vector<std::uint64_t> shape_of(std::string_view value) {
  std::vector<std::uint64_t> shape;
  const std::size_t end = value.find(')');
  if (!value.starts_with('(') || end == std::string_view::npos) {
    refuse(PersistErrorKind::invalid_payload, "the head of the file gives no shape");
  }
  std::string_view rest = value.substr(1, end - 1);
  while (!rest.empty()) {
    if (rest.front() == ' ' || rest.front() == ',') {
      rest.remove_prefix(1);
      continue;
    }
    std::uint64_t number = 0;
    const auto [stop, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error != std::errc()) {
      refuse(PersistErrorKind::invalid_payload,
             "the head of the file has a shape that is none: " + iqdb::printable(value.substr(0, end + 1)));
    }
    rest.remove_prefix(static_cast<std::size_t>(stop - rest.data()));
    shape.push_back(number);
  }
  return shape;
}

}  // namespace

RowLayout read_npy_head(iqdb::FileStorage::File& file) {
  iqdb::FileRange source(file, 0, file.size());
  iqdb::Reader reader(source, file.size(), iqdb::LengthEvidence::stored);
  constexpr std::size_t least_bytes = 10;
  if (file.size() < least_bytes) {
    refuse(PersistErrorKind::truncated_header,
           "the file has " + std::to_string(file.size()) + " bytes, which is less than the head of an .npy file");
  }
  if (const std::string found = reader.read_string(npy_magic.size()); found != npy_magic) {
    refuse(PersistErrorKind::bad_magic,
           "the file begins with " + iqdb::printable(found) + ", and an .npy file with " + iqdb::printable(npy_magic));
  }
  const auto version = reader.read_le<std::uint8_t>();
  static_cast<void>(reader.read_le<std::uint8_t>());
  if (version < 1 || version > 3) {
    refuse(PersistErrorKind::unsupported_version, "the file has the version " + std::to_string(version) +
                                                      " of the .npy format, and this program reads 1 to 3");
  }
  const std::uint64_t text_bytes =
      version == 1 ? std::uint64_t{reader.read_le<std::uint16_t>()} : std::uint64_t{reader.read_le<std::uint32_t>()};
  constexpr std::uint64_t most_text_bytes = 65536;  // numpy's own is of some 100
  if (text_bytes > most_text_bytes || text_bytes > reader.remaining()) {
    refuse(PersistErrorKind::truncated_header, "the head of the file is said to have " + std::to_string(text_bytes) +
                                                   " bytes, and the file has " + std::to_string(reader.remaining()) +
                                                   " behind that");
  }
  const std::string text = reader.read_string(static_cast<std::size_t>(text_bytes));
  const Dictionary head(text);
  RowLayout layout{.begin = reader.position(), .scalar = scalar_of(head.behind("descr"))};
  if (!head.behind("fortran_order").starts_with("False")) {
    refuse(PersistErrorKind::unsupported,
           "the array is stored column behind column (fortran_order); store it by "
           "numpy.ascontiguousarray(array)");
  }
  const std::vector<std::uint64_t> shape = shape_of(head.behind("shape"));
  if (shape.size() != 2 || shape[1] == 0) {
    std::string text_of_shape;
    for (const std::uint64_t each : shape) {
      text_of_shape += (text_of_shape.empty() ? "" : ", ") + std::to_string(each);
    }
    refuse(PersistErrorKind::unsupported, "the array has the shape (" + text_of_shape +
                                              "), and vectors are an array of two dimensions, (rows, components)");
  }
  layout.rows = shape[0];
  layout.dim = shape[1];
  return layout;
}

void write_npy_head(iqdb::Writer& writer, std::uint64_t rows, std::uint64_t dim) {
  constexpr std::size_t alignment = 64;
  constexpr std::size_t before_text = 10;
  std::string text = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", " +
                     std::to_string(dim) + "), }";
  const std::size_t end = before_text + text.size() + 1;
  text.append((alignment - end % alignment) % alignment, ' ');
  text += '\n';
  writer.write_array(npy_magic);
  writer.write_le(std::uint8_t{1});
  writer.write_le(std::uint8_t{0});
  writer.write_le(static_cast<std::uint16_t>(text.size()));
  writer.write_array(std::string_view(text));
}

}  // namespace iqdb_tool
