// The body of a frame: mutations, or a note for recovery. Encodes fields to bytes and back; docs/format.md has the
// rules.
//
//   body:  op 1 | …
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Writes the body of an insert. Precondition: check_storable(metadata) does not throw.
inline void write_insert(Writer& writer, const VectorId& id, std::span<const float> vector,
                         const std::optional<Metadata>& metadata) {
  writer.write_le(static_cast<std::uint8_t>(FrameOp::insert));
  write_id(writer, id);
  writer.write_le(static_cast<std::uint32_t>(vector.size()));
  writer.write_array(vector);
  write_metadata(writer, metadata);
}

/// Writes the body of an erase.
inline void write_erase(Writer& writer, const VectorId& id) {
  writer.write_le(static_cast<std::uint8_t>(FrameOp::erase));
  write_id(writer, id);
}

/// Writes the body of an abort frame for the mutation `lsn`.
inline void write_abort(Writer& writer, std::uint64_t lsn) {
  writer.write_le(static_cast<std::uint8_t>(FrameOp::abort));
  writer.write_le(lsn);
}

/// Writes the body of a close frame.
inline void write_close(Writer& writer) { writer.write_le(static_cast<std::uint8_t>(FrameOp::close)); }

/// Writes the body of a checkpoint frame: the snapshot with this fingerprint holds exactly the mutations before the
/// frame.
inline void write_checkpoint(Writer& writer, const Fingerprint& snapshot) {
  writer.write_le(static_cast<std::uint8_t>(FrameOp::checkpoint));
  write_fingerprint(writer, snapshot);
}

/// One mutation of a log. Callers reuse one object for many mutations, so that its memory is reused.
struct Mutation {
  FrameOp op = FrameOp::erase;       ///< insert or erase
  VectorId id = 0;                   ///< the vector that it inserts or erases
  std::vector<float> vector;         ///< for an insert
  std::optional<Metadata> metadata;  ///< for an insert
};

/// Writes the body of a batch.
inline void write_batch(Writer& writer, std::span<const Mutation> mutations) {
  writer.write_le(static_cast<std::uint8_t>(FrameOp::batch));
  writer.write_le(static_cast<std::uint32_t>(mutations.size()));
  for (const Mutation& mutation : mutations) {
    if (mutation.op == FrameOp::insert) {
      write_insert(writer, mutation.id, mutation.vector, mutation.metadata);
    } else {
      write_erase(writer, mutation.id);
    }
  }
}

/// Reads the fields behind the op byte of an insert or erase. Throws as read_id and read_metadata do, and PersistError
/// truncated_payload if the vector is cut short.
inline void read_mutation(Reader& reader, FrameOp op, Mutation& mutation) {
  mutation.op = op;
  mutation.id = read_id(reader);
  if (op == FrameOp::insert) {
    const auto components = reader.read_le<std::uint32_t>();
    reader.require_items(components, sizeof(float));
    mutation.vector.resize(components);
    reader.read_array(std::span<float>(mutation.vector));
    mutation.metadata = read_metadata(reader);
  }
}

/// A decoded body. Its mutations are not decoded yet: read_next reads them one by one.
class FrameBody {
 public:
  /// Decodes the op and the fields of a control frame. `bytes` must outlive this object. Throws PersistError
  /// invalid_payload or truncated_payload if `bytes` is not a body of a log of this `version`.
  explicit FrameBody(std::span<const std::byte> bytes, std::uint32_t version);

  [[nodiscard]] FrameOp op() const noexcept { return op_; }

  /// The number of mutations in the body: 0 for a control frame.
  [[nodiscard]] std::uint32_t mutations() const noexcept { return mutations_; }

  /// The LSN of the mutation that an abort names; 0 for other frames.
  [[nodiscard]] std::uint64_t aborted_lsn() const noexcept { return aborted_lsn_; }

  /// The fingerprint of the snapshot that a checkpoint names.
  [[nodiscard]] const Fingerprint& fingerprint() const noexcept { return fingerprint_; }

  /// Reads the next mutation. Call it at most mutations() times. Throws PersistError invalid_payload or
  /// truncated_payload if the bytes are not a mutation.
  void read_next(Mutation& mutation);

  /// Throws PersistError invalid_payload if bytes are left unread.
  void require_end() const {
    if (reader_.remaining() > 0) {
      reader_.fail(PersistErrorKind::invalid_payload,
                   "a record has " + std::to_string(reader_.remaining()) + " bytes too many");
    }
  }

 private:
  static bool is_mutation(FrameOp op) noexcept { return op == FrameOp::insert || op == FrameOp::erase; }

  FrameOp read_op() { return static_cast<FrameOp>(reader_.read_le<std::uint8_t>()); }

  Reader reader_;
  FrameOp op_;
  std::uint32_t mutations_ = 0;
  std::uint64_t aborted_lsn_ = 0;
  Fingerprint fingerprint_;
};

#if IQDB_PERSIST_DEFINITIONS

IQDB_PERSIST_INLINE FrameBody::FrameBody(std::span<const std::byte> bytes, std::uint32_t version)
    : reader_(bytes), op_(read_op()) {
  const bool known = version == 1 ? is_mutation(op_) : op_ >= FrameOp::insert && op_ <= FrameOp::close;
  if (!known) {
    reader_.fail(PersistErrorKind::invalid_payload,
                 "a record has the op " + std::to_string(static_cast<unsigned>(op_)) + ", which is none");
  }
  if (is_mutation(op_)) {
    mutations_ = 1;
  } else if (op_ == FrameOp::batch) {
    mutations_ = reader_.read_le<std::uint32_t>();
    if (mutations_ == 0) {
      reader_.fail(PersistErrorKind::invalid_payload, "a batch has no mutation");
    }
  } else if (op_ == FrameOp::abort) {
    aborted_lsn_ = reader_.read_le<std::uint64_t>();
  } else if (op_ == FrameOp::checkpoint) {
    fingerprint_ = read_fingerprint(reader_);
  }
}

IQDB_PERSIST_INLINE void FrameBody::read_next(Mutation& mutation) {
  FrameOp op = op_;
  if (op_ == FrameOp::batch) {
    op = read_op();
    if (!is_mutation(op)) {
      reader_.fail(PersistErrorKind::invalid_payload,
                   "a batch holds the op " + std::to_string(static_cast<unsigned>(op)) + "; expected 1 or 2");
    }
  }
  read_mutation(reader_, op, mutation);
}

#endif  // IQDB_PERSIST_DEFINITIONS

}  // namespace iqdb
