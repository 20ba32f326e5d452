// usearch's stream: what it consists of, and the checks of it.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <usearch/index_dense.hpp>
#include <utility>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

// In earlier versions a search beside erased vectors reads memory that is not usearch's, or finds them.
static_assert(USEARCH_VERSION_MAJOR == 2 && USEARCH_VERSION_MINOR >= 21,
              "iqdb/index/usearch.hpp needs usearch 2.21 or a later version 2");

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What usearch keeps of each component of a vector. The values are the tags of the payload.
enum class UsearchScalar : std::uint8_t {
  f32 = 0,  ///< the float as it is
  f16 = 1,  ///< a float of 16 bits: three digits, up to 65504
  i8 = 2,   ///< an integer of 8 bits: of the vector only its direction, and so for the cosine only
};

/// What usearch's stream consists of, and the checks of it. usearch writes
///
///     rows 4 | bytes of a row 4 | the vectors | head 64 | graph header 40 | the level of each node, 2 each | the nodes
///     a node: key 8 | level 2 | links of level 0 | links of level 1 | …       links: how many 4 | nodes, 4 each
///
/// little-endian, where each level has room for as many links as a node may have there.
namespace usearch_stream {

static_assert(std::endian::native == std::endian::little, "usearch writes numbers as they lie in memory");

/// The key of a node whose vector was erased.
inline constexpr std::uint64_t erased_key = std::numeric_limits<std::uint64_t>::max();

/// The most nodes there can be: their numbers have 32 bits, of which usearch reserves one.
inline constexpr std::uint64_t most_nodes = std::numeric_limits<std::uint32_t>::max() - 1;

inline constexpr std::size_t matrix_size_bytes = 2 * sizeof(std::uint32_t);
inline constexpr std::size_t head_bytes = 64;
inline constexpr std::size_t graph_header_bytes = 5 * sizeof(std::uint64_t);
inline constexpr std::size_t level_bytes = sizeof(std::int16_t);
inline constexpr std::size_t node_head_bytes = sizeof(std::uint64_t) + level_bytes;
inline constexpr std::size_t link_bytes = sizeof(std::uint32_t);

/// What a stream must agree with.
struct Shape {
  std::size_t dim = 0;
  DistanceMetric metric = DistanceMetric::euclidean;
  UsearchScalar scalar = UsearchScalar::f32;
  std::size_t connectivity = 0;
  std::size_t connectivity_base = 0;

  /// The bytes of one vector.
  [[nodiscard]] std::size_t row_bytes() const noexcept {
    switch (scalar) {
      case UsearchScalar::f32:
        return dim * 4;
      case UsearchScalar::f16:
        return dim * 2;
      case UsearchScalar::i8:
        break;
    }
    return dim;
  }

  /// The most links of a node in `level`.
  [[nodiscard]] std::size_t most_links(std::size_t level) const noexcept {
    return level == 0 ? connectivity_base : connectivity;
  }

  /// The bytes of a node whose highest level is `level`.
  [[nodiscard]] std::size_t node_bytes(std::size_t level) const noexcept {
    return node_head_bytes + (1 + connectivity_base) * link_bytes + level * (1 + connectivity) * link_bytes;
  }
};

/// The number that stands at `offset`.
template <class Number>
[[nodiscard]] Number number_at(std::span<const std::byte> bytes, std::size_t offset) noexcept {
  Number number{};
  std::memcpy(&number, bytes.data() + offset, sizeof number);
  return number;
}

/// What the head says.
struct Head {
  std::uint16_t version_major = 0;
  std::uint16_t version_minor = 0;
  std::uint16_t version_patch = 0;
  std::uint8_t metric = 0;
  std::uint8_t scalar = 0;
  std::uint8_t key = 0;
  std::uint8_t link = 0;
  std::uint64_t dim = 0;
  std::uint8_t multi = 0;

  [[nodiscard]] std::string version() const {
    return std::to_string(version_major) + "." + std::to_string(version_minor) + "." + std::to_string(version_patch);
  }
};

/// usearch's codes for types of numbers: those that it writes, and those that it finds in a stream of a version before
/// 2.10, in which they were others.
struct ScalarCodes {
  std::uint8_t f32, f16, i8, key, link;
};
inline constexpr std::uint16_t minor_version_of_codes = 10;
inline constexpr ScalarCodes codes_written{.f32 = static_cast<std::uint8_t>(unum::usearch::scalar_kind_t::f32_k),
                                           .f16 = static_cast<std::uint8_t>(unum::usearch::scalar_kind_t::f16_k),
                                           .i8 = static_cast<std::uint8_t>(unum::usearch::scalar_kind_t::i8_k),
                                           .key = static_cast<std::uint8_t>(unum::usearch::scalar_kind_t::u64_k),
                                           .link = static_cast<std::uint8_t>(unum::usearch::scalar_kind_t::u32_k)};
inline constexpr ScalarCodes codes_converted{.f32 = 5, .f16 = 6, .i8 = 14, .key = 8, .link = 9};

[[nodiscard]] inline const ScalarCodes& codes_of(const Head& head) noexcept {
  return head.version_minor < minor_version_of_codes ? codes_converted : codes_written;
}

/// Takes a head apart. Throws PersistError invalid_payload for what is none, or is of another version than 2, or of
/// other keys than index_dense_t has.
[[nodiscard]] inline Head parse_head(std::span<const std::byte> bytes, const Reader& reader) {
  constexpr std::string_view magic = "usearch";
  if (std::memcmp(bytes.data(), magic.data(), magic.size()) != 0) {
    reader.fail(PersistErrorKind::invalid_payload,
                "usearch's head does not stand behind the vectors: the stream is damaged, was written without vectors "
                "or with 64-bit dimensions, or is none of usearch's");
  }
  const Head head{.version_major = number_at<std::uint16_t>(bytes, 7),
                  .version_minor = number_at<std::uint16_t>(bytes, 9),
                  .version_patch = number_at<std::uint16_t>(bytes, 11),
                  .metric = number_at<std::uint8_t>(bytes, 13),
                  .scalar = number_at<std::uint8_t>(bytes, 14),
                  .key = number_at<std::uint8_t>(bytes, 15),
                  .link = number_at<std::uint8_t>(bytes, 16),
                  .dim = number_at<std::uint64_t>(bytes, 33),
                  .multi = number_at<std::uint8_t>(bytes, 41)};
  if (head.version_major != USEARCH_VERSION_MAJOR) {
    reader.fail(PersistErrorKind::invalid_payload,
                "usearch " + head.version() + " wrote it, which usearch " + std::to_string(USEARCH_VERSION_MAJOR) +
                    "." + std::to_string(USEARCH_VERSION_MINOR) + "." + std::to_string(USEARCH_VERSION_PATCH) +
                    " does not read; build with that version, or the stream is damaged");
  }
  const ScalarCodes& codes = codes_of(head);
  if (head.key != codes.key || head.link != codes.link) {
    reader.fail(PersistErrorKind::invalid_payload, "usearch's types of keys and links have the codes " +
                                                       std::to_string(head.key) + " and " + std::to_string(head.link) +
                                                       "; expected those of 64 and 32 bits, as index_dense_t has");
  }
  if (head.multi != 0) {
    reader.fail(PersistErrorKind::invalid_payload,
                "the usearch index may hold several vectors of one key, which cannot be taken over");
  }
  return head;
}

/// The metric that a head states, or nothing if it is none that can be used.
[[nodiscard]] inline std::optional<DistanceMetric> metric_of(const Head& head) noexcept {
  switch (head.metric) {
    case 'c':
      return DistanceMetric::cosine;
    case 'i':
      return DistanceMetric::dot_product;
    case 'e':
      return DistanceMetric::euclidean;
    default:
      return std::nullopt;
  }
}

/// How a head says that components are kept, or nothing if that cannot be used.
[[nodiscard]] inline std::optional<UsearchScalar> scalar_of(const Head& head) noexcept {
  const ScalarCodes& codes = codes_of(head);
  if (head.scalar == codes.f32) {
    return UsearchScalar::f32;
  }
  if (head.scalar == codes.f16) {
    return UsearchScalar::f16;
  }
  return head.scalar == codes.i8 ? std::optional(UsearchScalar::i8) : std::nullopt;
}

/// Whether no component of a stored vector is a NaN or an infinity.
[[nodiscard]] inline bool is_finite(std::span<const std::byte> row, UsearchScalar scalar) noexcept {
  // A NaN or an infinity is what has an exponent of ones.
  const auto none_has = [row]<class Bits>(Bits exponent) {
    Bits found = 0;
    for (std::size_t at = 0; at + sizeof(Bits) <= row.size(); at += sizeof(Bits)) {
      found = static_cast<Bits>(found | static_cast<Bits>((number_at<Bits>(row, at) & exponent) == exponent));
    }
    return found == 0;
  };
  switch (scalar) {
    case UsearchScalar::f32:
      return none_has(std::uint32_t{0x7F800000});
    case UsearchScalar::f16:
      return none_has(std::uint16_t{0x7C00});
    case UsearchScalar::i8:
      break;
  }
  return true;
}

/// usearch's stream as it is read, each part checked before usearch gets it. `TakeKey` is called with the key of each
/// node that is not erased, and gives the one that it is to have; it throws for one that must not be.
template <class TakeKey>
class CheckedStream {
 public:
  /// Reads how large the matrix of vectors is. Throws PersistError invalid_payload, truncated_payload where `reader`
  /// does not hold as much, or not of that shape.
  CheckedStream(Reader& reader, const Shape& shape, TakeKey take_key)
      : reader_(&reader),
        shape_(shape),
        take_key_(std::move(take_key)),
        rows_(reader.read_le<std::uint32_t>()),
        row_bytes_(reader.read_le<std::uint32_t>()) {
    if (row_bytes_ != shape.row_bytes()) {
      fail("usearch's vectors are stated to have " + std::to_string(row_bytes_) + " bytes each; expected " +
           std::to_string(shape.row_bytes()) + " for " + std::to_string(shape.dim) + " dimensions");
    }
    if (rows_ > most_nodes) {
      fail("usearch is stated to hold " + std::to_string(rows_) + " vectors; it has numbers for " +
           std::to_string(most_nodes));
    }
    reader.require_items(rows_, shape.row_bytes() + level_bytes + shape.node_bytes(0));
  }

  /// How many vectors there are, the erased ones included.
  [[nodiscard]] std::uint32_t rows() const noexcept { return rows_; }

  /// Gives usearch the next `length` bytes; false if there is something wrong, which rethrow_failure then tells.
  /// usearch calls this from functions through which no exception passes.
  [[nodiscard]] bool read(void* into, std::size_t length) noexcept {
    try {
      if (into == nullptr) {
        throw std::bad_alloc();  // usearch does not look whether it got the memory that it reads into
      }
      next({static_cast<std::byte*>(into), length});
      return true;
    } catch (...) {
      failure_ = std::current_exception();
      return false;
    }
  }

  /// Throws what was found wrong.
  void rethrow_failure() const {
    if (failure_) {
      std::rethrow_exception(failure_);
    }
  }

  /// Throws PersistError unsupported unless usearch has read everything.
  void require_whole() const {
    if (part_ != Part::end) {
      fail_reading_order("stopped");
    }
  }

 private:
  enum class Part : std::uint8_t { matrix_size, vectors, head, graph_header, levels, nodes, end };

  void next(std::span<std::byte> piece) {
    if (part_ == Part::end || piece.size() != expected_bytes()) {
      fail_reading_order("asked for " + std::to_string(piece.size()) + " bytes");
    }
    if (part_ != Part::matrix_size) {
      reader_->read(piece);
    }
    switch (part_) {
      case Part::matrix_size:
        std::memcpy(piece.data(), &rows_, sizeof rows_);
        std::memcpy(piece.data() + sizeof rows_, &row_bytes_, sizeof row_bytes_);
        advance(Part::vectors);
        break;
      case Part::vectors:
        if (!is_finite(piece, shape_.scalar)) {
          fail("vector " + std::to_string(done_) + " of usearch's has a component that is not finite");
        }
        advance_row(Part::head);
        break;
      case Part::head:
        check_head(piece);
        advance(Part::graph_header);
        break;
      case Part::graph_header:
        check_graph_header(piece);
        advance(rows_ == 0 ? Part::end : Part::levels);
        break;
      case Part::levels:
        check_levels(piece);
        advance(Part::nodes);
        break;
      case Part::nodes:
        check_node(piece);
        advance_row(Part::end);
        break;
      case Part::end:
        break;
    }
  }

  void advance(Part part) noexcept {
    part_ = part;
    done_ = 0;
    if (part == Part::vectors && rows_ == 0) {
      part_ = Part::head;
    }
  }

  // One row of a part that has as many as there are vectors.
  void advance_row(Part behind) noexcept {
    if (++done_ == rows_) {
      advance(behind);
    }
  }

  [[nodiscard]] std::size_t expected_bytes() const noexcept {
    switch (part_) {
      case Part::matrix_size:
        return matrix_size_bytes;
      case Part::vectors:
        return row_bytes_;
      case Part::head:
        return head_bytes;
      case Part::graph_header:
        return graph_header_bytes;
      case Part::levels:
        return rows_ * level_bytes;
      case Part::nodes:
        return shape_.node_bytes(levels_[done_]);
      case Part::end:
        break;
    }
    return 0;
  }

  void check_head(std::span<const std::byte> bytes) const {
    const Head head = parse_head(bytes, *reader_);
    if (metric_of(head) != shape_.metric || scalar_of(head) != shape_.scalar || head.dim != shape_.dim) {
      fail("usearch's head states the metric code " + std::to_string(head.metric) + ", the scalar code " +
           std::to_string(head.scalar) + " and " + std::to_string(head.dim) +
           " dimensions, which is not what the index is stated to be");
    }
  }

  void check_graph_header(std::span<const std::byte> bytes) {
    const auto nodes = number_at<std::uint64_t>(bytes, 0);
    const auto connectivity = number_at<std::uint64_t>(bytes, 8);
    const auto connectivity_base = number_at<std::uint64_t>(bytes, 16);
    const auto max_level = number_at<std::uint64_t>(bytes, 24);
    entry_ = number_at<std::uint64_t>(bytes, 32);
    if (nodes != rows_) {
      fail("usearch's graph is stated to have " + std::to_string(nodes) + " nodes for " + std::to_string(rows_) +
           " vectors");
    }
    if (connectivity != shape_.connectivity || connectivity_base != shape_.connectivity_base) {
      fail("usearch's graph is stated to have up to " + std::to_string(connectivity) + " links, " +
           std::to_string(connectivity_base) + " in the lowest level; expected " + std::to_string(shape_.connectivity) +
           " and " + std::to_string(shape_.connectivity_base));
    }
    if (rows_ > 0 && (max_level > most_level || entry_ >= rows_)) {
      fail("usearch's graph is stated to be entered at node " + std::to_string(entry_) + " of " +
           std::to_string(rows_) + ", in level " + std::to_string(max_level));
    }
    max_level_ = static_cast<std::uint16_t>(max_level);
  }

  void check_levels(std::span<const std::byte> bytes) {
    levels_.resize(rows_);
    std::memcpy(levels_.data(), bytes.data(), bytes.size());
    // A negative level is seen here as one above max_level_.
    const auto highest = std::ranges::max_element(levels_);
    if (*highest > max_level_) {
      fail("usearch's node " + std::to_string(highest - levels_.begin()) + " is stated to reach up to level " +
           std::to_string(*highest) + " of " + std::to_string(max_level_));
    }
    if (levels_[entry_] != max_level_) {
      fail("usearch's graph is stated to be entered at node " + std::to_string(entry_) + " in level " +
           std::to_string(max_level_) + ", but the node reaches up to level " + std::to_string(levels_[entry_]));
    }
    std::uint64_t left = 0;
    for (const std::uint16_t level : levels_) {
      left += shape_.node_bytes(level);
    }
    reader_->require(left);
  }

  void check_node(std::span<std::byte> node) {
    const auto level = number_at<std::uint16_t>(node, sizeof(std::uint64_t));
    if (level != levels_[done_]) {
      fail("usearch's node " + std::to_string(done_) + " is stated to reach up to level " + std::to_string(level) +
           " and to level " + std::to_string(levels_[done_]));
    }
    std::size_t offset = node_head_bytes;
    for (std::size_t at = 0; at <= level; ++at) {
      const std::size_t bytes = (1 + shape_.most_links(at)) * link_bytes;
      check_links(node.subspan(offset, bytes), at);
      offset += bytes;
    }
    if (const auto key = number_at<std::uint64_t>(node, 0); key != erased_key) {
      const std::uint64_t taken = take_key_(key);
      std::memcpy(node.data(), &taken, sizeof taken);
    }
  }

  void check_links(std::span<std::byte> links, std::size_t level) const {
    const auto count = number_at<std::uint32_t>(links, 0);
    if (count > shape_.most_links(level)) {
      fail("usearch's node " + std::to_string(done_) + " is stated to have " + std::to_string(count) +
           " links in level " + std::to_string(level) + "; there may be " + std::to_string(shape_.most_links(level)));
    }
    for (std::size_t link = 1; link <= count; ++link) {
      const auto neighbour = number_at<std::uint32_t>(links, link * link_bytes);
      if (neighbour >= rows_ || levels_[neighbour] < level) {
        fail("usearch's node " + std::to_string(done_) + " has a link to node " + std::to_string(neighbour) +
             " in level " + std::to_string(level) + ", where there is no such node");
      }
    }
    // usearch relies on zeros behind the links that there are.
    std::ranges::fill(links.subspan((1 + std::size_t{count}) * link_bytes), std::byte{0});
  }

  [[noreturn]] void fail(std::string message) const {
    reader_->fail(PersistErrorKind::invalid_payload, std::move(message));
  }

  [[noreturn]] void fail_reading_order(const std::string& what) const {
    reader_->fail(PersistErrorKind::unsupported,
                  "usearch " + what +
                      " where its stream has another part; this version of usearch reads its stream in "
                      "an order that this library does not know");
  }

  static constexpr std::uint64_t most_level = std::numeric_limits<std::int16_t>::max();

  Reader* reader_;
  Shape shape_;
  TakeKey take_key_;
  std::uint32_t rows_;
  std::uint32_t row_bytes_;
  Part part_ = Part::matrix_size;
  std::size_t done_ = 0;  // rows of this part
  std::uint64_t entry_ = 0;
  std::uint16_t max_level_ = 0;
  std::vector<std::uint16_t> levels_;
  std::exception_ptr failure_;
};

/// usearch's stream as it is written. `KeyOf` gives the key that a node is to have there for the one that it has.
template <class KeyOf>
class OutputStream {
 public:
  OutputStream(Writer& writer, std::uint64_t rows, KeyOf key_of)
      : writer_(&writer), rows_(rows), key_of_(std::move(key_of)) {}

  /// Takes what usearch writes; false if that could not be written, which rethrow_failure then tells. usearch calls
  /// this from functions through which no exception passes.
  [[nodiscard]] bool write(const void* from, std::size_t length) noexcept {
    try {
      next({static_cast<const std::byte*>(from), length});
      return true;
    } catch (...) {
      failure_ = std::current_exception();
      return false;
    }
  }

  /// Throws what went wrong, and PersistError unsupported unless usearch has written as many pieces as it should.
  void require_whole() const {
    if (failure_) {
      std::rethrow_exception(failure_);
    }
    if (pieces_ != pieces_before_nodes() + rows_) {
      throw_persist_error(PersistErrorKind::unsupported,
                          "this version of usearch writes its stream in " + std::to_string(pieces_) + " pieces; " +
                              std::to_string(pieces_before_nodes() + rows_) + " were expected");
    }
  }

 private:
  // The size of the matrix, each vector, the head, the header of the graph, each level.
  [[nodiscard]] std::uint64_t pieces_before_nodes() const noexcept { return 3 + 2 * rows_; }

  void next(std::span<const std::byte> piece) {
    constexpr std::size_t key_bytes = sizeof(std::uint64_t);
    if (pieces_++ < pieces_before_nodes() || piece.size() < key_bytes) {
      writer_->write(piece);
      return;
    }
    const auto key = number_at<std::uint64_t>(piece, 0);
    writer_->write_le(key == erased_key ? key : key_of_(key));
    writer_->write(piece.subspan(key_bytes));
  }

  Writer* writer_;
  std::uint64_t rows_;
  KeyOf key_of_;
  std::uint64_t pieces_ = 0;
  std::exception_ptr failure_;
};

/// The shape that the stream in a file states. Throws PersistError invalid_payload for one that cannot be used,
/// truncated_payload where it ends before.
template <ReadableFile F>
[[nodiscard]] Shape shape_in(F& file) {
  FileRange beginning(file, 0, file.size());
  Reader matrix(beginning, file.size(), LengthEvidence::stored, matrix_size_bytes);
  const auto rows = matrix.read_le<std::uint32_t>();
  const auto row_bytes = matrix.read_le<std::uint32_t>();
  const std::uint64_t vectors = std::uint64_t{rows} * row_bytes;
  matrix.require(vectors + head_bytes + graph_header_bytes);

  FileRange headers(file, matrix_size_bytes + vectors, file.size());
  Reader reader(headers, head_bytes + graph_header_bytes, LengthEvidence::stored, head_bytes + graph_header_bytes);
  std::array<std::byte, head_bytes> head_data{};
  reader.read(head_data);
  const Head head = parse_head(head_data, reader);
  const std::optional<DistanceMetric> metric = metric_of(head);
  const std::optional<UsearchScalar> scalar = scalar_of(head);
  if (!metric || !scalar) {
    reader.fail(PersistErrorKind::invalid_payload,
                "the usearch index has the metric code " + std::to_string(head.metric) + " and the scalar code " +
                    std::to_string(head.scalar) + "; expected l2sq, ip or cos of f32, f16 or i8");
  }
  static_cast<void>(reader.read_le<std::uint64_t>());  // how many nodes: CheckedStream compares it
  Shape shape{.dim = static_cast<std::size_t>(head.dim), .metric = *metric, .scalar = *scalar};
  shape.connectivity = static_cast<std::size_t>(reader.read_le<std::uint64_t>());
  shape.connectivity_base = static_cast<std::size_t>(reader.read_le<std::uint64_t>());
  return shape;
}

}  // namespace usearch_stream

}  // namespace iqdb::inline IQDB_PERSIST_ABI
