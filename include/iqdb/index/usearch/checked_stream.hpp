// CheckedStream: the reader of usearch's stream. usearch trusts its input and turns a link into an address.
//
// Invariant: every byte is checked before usearch reads it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "iqdb/index/usearch/config.hpp"
#include "iqdb/index/usearch/stream_layout.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace usearch_stream {

/// Whether each component of a stored vector is a finite float, or a double that becomes one.
[[nodiscard]] inline bool is_finite(std::span<const std::byte> row, UsearchScalar scalar) noexcept {
  // A NaN or an infinity has an exponent whose bits are all ones.
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
    case UsearchScalar::bf16:
      return none_has(std::uint16_t{0x7F80});
    case UsearchScalar::f64:
      for (std::size_t at = 0; at + sizeof(double) <= row.size(); at += sizeof(double)) {
        // A double that is beyond the range of float becomes infinite.
        if (!std::isfinite(static_cast<float>(number_at<double>(row, at)))) {
          return false;
        }
      }
      return true;
    case UsearchScalar::i8:
      break;
  }
  return true;
}

/// Reads usearch's stream and checks each part before usearch gets it. `TakeKey` is called with the key of each node
/// that is not erased and returns the key that the node gets. It throws for a key that must not occur. `NameOf` is
/// called with such a key and returns what the user calls that vector: "the vector 7050".
///
/// The vector of an erased node is never found, but usearch measures how far it is while it walks through the graph. If
/// a component is not finite, usearch gets zeros instead.
template <class TakeKey, class NameOf>
class CheckedStream {
 public:
  /// Reads the size of the matrix of vectors. Throws PersistError invalid_payload for another shape, truncated_payload
  /// if `reader` holds less than the matrix.
  CheckedStream(Reader& reader, const Shape& shape, TakeKey take_key, NameOf name_of)
      : reader_(&reader),
        shape_(shape),
        take_key_(std::move(take_key)),
        name_of_(std::move(name_of)),
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

  /// The number of vectors, including the erased ones.
  [[nodiscard]] std::uint32_t rows() const noexcept { return rows_; }

  /// Gives usearch the next `length` bytes. Returns false if something is wrong; rethrow_failure then throws it.
  /// usearch calls this from functions that no exception may pass.
  [[nodiscard]] bool read(void* into, std::size_t length) noexcept {
    try {
      if (into == nullptr) {
        throw std::bad_alloc();  // usearch does not check that it got the memory that it reads into
      }
      next({static_cast<std::byte*>(into), length});
      return true;
    } catch (...) {
      failure_ = std::current_exception();
      return false;
    }
  }

  /// Throws what read() found wrong.
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
          not_finite_.push_back(done_);  // an error unless the node is erased, which the stream says later
          std::ranges::fill(piece, std::byte{0});
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

  // Counts one row of a part that has one row per vector.
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
      fail("usearch's head states the metric " + name_of_metric(head) + ", the scalar " +
           name_of_scalar(head, head.scalar) + " and " + std::to_string(head.dim) +
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
    // A negative level appears here as one above max_level_.
    const auto highest = std::ranges::max_element(levels_);
    if (*highest > max_level_) {
      fail("node " + std::to_string(highest - levels_.begin()) + " of usearch's graph is stated to reach up to level " +
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
      fail(name_of(node) + " is stated to reach up to level " + std::to_string(level) + " and to level " +
           std::to_string(levels_[done_]));
    }
    std::size_t offset = node_head_bytes;
    for (std::size_t at = 0; at <= level; ++at) {
      const std::size_t bytes = (1 + shape_.most_links(at)) * link_bytes;
      check_links(node, node.subspan(offset, bytes), at);
      offset += bytes;
    }
    if (const auto key = number_at<std::uint64_t>(node, 0); key != erased_key) {
      if (std::ranges::binary_search(not_finite_, done_)) {
        fail(name_of(node) + " has a component that is not finite");
      }
      const std::uint64_t taken = take_key_(key);
      std::memcpy(node.data(), &taken, sizeof taken);
    }
  }

  // `node` is the node that has the links.
  void check_links(std::span<const std::byte> node, std::span<std::byte> links, std::size_t level) const {
    const auto count = number_at<std::uint32_t>(links, 0);
    if (count > shape_.most_links(level)) {
      fail(name_of(node) + " is stated to have " + std::to_string(count) + " links in level " + std::to_string(level) +
           "; there may be " + std::to_string(shape_.most_links(level)));
    }
    for (std::size_t link = 1; link <= count; ++link) {
      const auto neighbour = number_at<std::uint32_t>(links, link * link_bytes);
      if (neighbour >= rows_ || levels_[neighbour] < level) {
        fail(name_of(node) + " has a link to node " + std::to_string(neighbour) + " in level " + std::to_string(level) +
             ", where there is no such node");
      }
    }
    // usearch relies on zeros behind the last link.
    std::ranges::fill(links.subspan((1 + std::size_t{count}) * link_bytes), std::byte{0});
  }

  // What to call the node that is read, for a message.
  [[nodiscard]] std::string name_of(std::span<const std::byte> node) const {
    const auto key = number_at<std::uint64_t>(node, 0);
    return (key == erased_key ? "an erased vector" : name_of_(key)) + " (node " + std::to_string(done_) +
           " of usearch's graph)";
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
  NameOf name_of_;
  std::uint32_t rows_;
  std::uint32_t row_bytes_;
  Part part_ = Part::matrix_size;
  std::size_t done_ = 0;  // rows of this part
  std::uint64_t entry_ = 0;
  std::uint16_t max_level_ = 0;
  std::vector<std::uint16_t> levels_;
  std::vector<std::size_t> not_finite_;  // rising: the rows of which usearch got zeros
  std::exception_ptr failure_;
};

}  // namespace usearch_stream

}  // namespace iqdb::inline IQDB_PERSIST_ABI
