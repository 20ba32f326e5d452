// OutputStream: writes usearch's stream with the keys replaced.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <utility>

#include "iqdb/index/usearch/stream_layout.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace usearch_stream {

/// Writes usearch's stream. `KeyOf` maps the key that a node has in usearch to the key that is written.
template <class KeyOf>
class OutputStream {
 public:
  OutputStream(Writer& writer, std::uint64_t rows, KeyOf key_of)
      : writer_(&writer), rows_(rows), key_of_(std::move(key_of)) {}

  /// Takes what usearch writes. Returns false if it could not be written; require_whole then throws the error. usearch
  /// calls this from functions that no exception may pass.
  [[nodiscard]] bool write(const void* from, std::size_t length) noexcept {
    try {
      next({static_cast<const std::byte*>(from), length});
      return true;
    } catch (...) {
      failure_ = std::current_exception();
      return false;
    }
  }

  /// Throws the error that write() caught, and PersistError unsupported unless usearch has written the expected number
  /// of pieces.
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
  // The pieces: the size of the matrix, each vector, the head, the header of the graph, each level.
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

}  // namespace usearch_stream

}  // namespace iqdb::inline IQDB_PERSIST_ABI
