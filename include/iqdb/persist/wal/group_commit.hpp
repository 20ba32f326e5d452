// Commits the calls of a group: checks them, logs those that the index will take as one frame, and applies them.
//
// Invariant: when commit_group returns, each mutation of the frame was applied, or an abort that names it stands behind
// the frame, or the log is poisoned and no call of the group is told success. What is wrong with one call touches no
// other.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/apply_group.hpp"
#include "iqdb/persist/wal/apply_mutation.hpp"
#include "iqdb/persist/wal/batch_error.hpp"
#include "iqdb/persist/wal/commit_queue.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/insert_run.hpp"
#include "iqdb/persist/wal/mutation.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/persist/wal/wal_writer.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// Encodes the mutations of a call into a buffer that is reused.
class CallEncoder {
 public:
  /// The bodies of the call's mutations, valid until the next call. Throws std::bad_alloc.
  [[nodiscard]] std::span<const std::byte> encode(const MutationCall& call) {
    writer_.flush();  // what is left of a call whose encoding failed
    buffer_.clear();
    switch (call.op) {
      case FrameOp::insert:
        write_insert(writer_, call.id, call.vector, call.metadata);
        break;
      case FrameOp::upsert:
        write_upsert(writer_, call.id, call.vector, call.metadata);
        break;
      case FrameOp::metadata:
        write_update_metadata(writer_, call.id, call.metadata);
        break;
      case FrameOp::batch:
        for (const Mutation& mutation : call.batch) {
          write_mutation(writer_, mutation);
        }
        break;
      default:
        write_erase(writer_, call.id);
    }
    writer_.flush();
    return buffer_.bytes();
  }

  /// Gives back the memory of a huge call, which a thread would else hold for as long as it lives.
  void release_if_large() noexcept { buffer_.release_if_large(); }

 private:
  class Buffer final : public ByteSink {
   public:
    void clear() noexcept { bytes_.clear(); }
    void release_if_large() noexcept {
      if (bytes_.capacity() > most_kept_bytes) {
        bytes_ = {};
      }
    }
    void write(std::span<const std::byte> bytes) override { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

   private:
    std::vector<std::byte> bytes_;
  };

  static constexpr std::size_t writer_buffer_bytes = 4096;
  static constexpr std::size_t most_kept_bytes = std::size_t{1} << 20;

  Buffer buffer_;
  Writer writer_{buffer_, writer_buffer_bytes};
};

/// Lends the thread an encoder, whose memory the next call of the thread uses again. A call within a call, as of an
/// index that is stored in another one, gets an encoder of its own.
class EncoderLoan {
 public:
  /// Throws std::bad_alloc.
  EncoderLoan() : encoder_(spare() ? std::move(spare()) : std::make_unique<CallEncoder>()) {}
  EncoderLoan(const EncoderLoan&) = delete;
  EncoderLoan& operator=(const EncoderLoan&) = delete;
  ~EncoderLoan() {
    encoder_->release_if_large();
    spare() = std::move(encoder_);
  }

  [[nodiscard]] CallEncoder* operator->() const noexcept { return encoder_.get(); }

 private:
  static std::unique_ptr<CallEncoder>& spare() noexcept {
    thread_local std::unique_ptr<CallEncoder> encoder;
    return encoder;
  }

  std::unique_ptr<CallEncoder> encoder_;
};

namespace group_commit {

// Throws what the index would throw for the call whatever it holds, if it can tell; and IndexError for metadata that
// cannot be stored.
template <Index I>
void check_without_state(const I& index, const MutationCall& call) {
  const auto check = [&](FrameOp op, std::span<const float> vector, const std::optional<Metadata>& metadata) {
    if (op != FrameOp::erase) {
      check_storable(metadata);
    }
    if constexpr (ChecksVector<I>) {
      if (op != FrameOp::erase && op != FrameOp::metadata) {
        index.check_vector(vector, metadata);
      }
    }
  };
  if (call.op != FrameOp::batch) {
    check(call.op, call.vector, call.metadata);
    return;
  }
  for (std::size_t position = 0; position < call.batch.size(); ++position) {
    const Mutation& mutation = call.batch[position];
    try {
      check(mutation.op, mutation.vector, mutation.metadata);
    } catch (const IndexError&) {
      batch_errors::rethrow_for(call.batch, position);
    }
  }
}

// Throws what applying the call would, if the index can tell.
template <Index I>
void check(const I& index, const MutationCall& call) {
  switch (call.op) {
    case FrameOp::insert:
      check_before_insert(index, call.id, call.vector, call.metadata);
      return;
    case FrameOp::upsert:
      check_before_upsert(index, call.id, call.vector, call.metadata);
      return;
    case FrameOp::metadata:
      check_before_update_metadata(index, call.id, call.metadata);
      return;
    case FrameOp::batch:
      check_before_batch(index, call.batch,
                         [&](std::size_t position) { batch_errors::rethrow_for(call.batch, position); });
      return;
    default:
      check_before_erase(index, call.id);
  }
}

// Writes the body of the frame of a group: of one mutation its own, otherwise a batch.
template <class Calls>
void write_group(Writer& writer, const Calls& calls, std::uint64_t mutations, bool is_batch) {
  if (is_batch) {
    writer.write_le(static_cast<std::uint8_t>(FrameOp::batch));
    writer.write_le(static_cast<std::uint32_t>(mutations));
  }
  for (const MutationCall& call : calls) {
    if (!call.error) {
      writer.write(call.encoded);
    }
  }
}

// What a group is made to fail with: the exception being handled, for each call that has no error of its own. Each gets
// an exception of its own where the type is known, since its thread may change it.
template <class Calls>
void fail_all(const Calls& calls) noexcept {
  for (MutationCall& call : calls) {
    if (!call.error) {
      try {
        throw;
      } catch (const PersistError& error) {
        call.error = std::make_exception_ptr(error);
      } catch (...) {
        call.error = std::current_exception();
      }
    }
  }
}

}  // namespace group_commit

/// What a group was.
struct CommittedGroup {
  std::uint64_t applied = 0;               ///< mutations that the index was given
  std::chrono::nanoseconds applying = {};  ///< how long it took
};

/// Commits the calls of a group: `calls` is a range of objects derived from MutationCall, no two of which concern the
/// same identifier. With a null `writer` nothing is logged. `alone(apply)` calls `apply(is_enough)` while nobody else
/// uses the index: it applies calls until there is none left or `is_enough()`, which is asked behind each. A call of
/// more than `whole` mutations may also be divided. With `runs`, an index that InsertsMany is given up to `whole`
/// insertions at a time, of several calls, behind which `is_enough()` is asked. `index` may be read by others
/// otherwise. Sets the error of each call that fails. Errors of the log name `path`.
template <Index I, Storage S, class Calls, class Alone>
CommittedGroup commit_group(I& index, LogWriter<S>* writer, const std::filesystem::path& path, const Calls& calls,
                            std::uint64_t whole, Alone&& alone, InsertRuns* runs = nullptr) noexcept {
  CommittedGroup done;
  group_commit::Application<I, Calls> application(index, calls, runs, whole);
  std::uint64_t mutations = 0;
  std::uint64_t lsn = 0;
  try {
    std::size_t count = 0;
    bool is_batch = false;
    for (MutationCall& call : calls) {
      try {
        group_commit::check(index, call);
        mutations += call.size();
        ++count;
        is_batch = is_batch || call.op == FrameOp::batch;
      } catch (...) {
        call.error = std::current_exception();
      }
    }
    if (mutations == 0) {
      return done;
    }
    application.reserve(count);  // before the frame is in the log: behind it nothing may fail that could have been done
    if (writer != nullptr) {
      lsn = naming_file(path, [&] {
        return writer->append(
            mutations, [&](Writer& body) { group_commit::write_group(body, calls, mutations, is_batch || count > 1); });
      });
    }
  } catch (...) {
    group_commit::fail_all(calls);
    return done;
  }

  application.begin(lsn);
  while (!application.is_done()) {
    alone([&](auto&& is_enough) {
      // Without the wait for the readers, which says nothing about the mutations.
      const auto started = std::chrono::steady_clock::now();
      for (bool enough = false; !enough && !application.is_done();) {
        const bool may_stop = application.step();
        enough = may_stop && !application.is_done() && is_enough();
      }
      done.applying += std::chrono::steady_clock::now() - started;
    });
  }
  done.applied = application.applied();

  if (writer != nullptr && !application.rejected().empty()) {
    const bool aborted = writer->abort(application.rejected(), application.need_not_repeat());
    if (application.half_done_error()) {
      try {
        std::rethrow_exception(application.half_done_error());
      } catch (...) {
        writer->poison("an upsert removed the old vector, and the index did not take the new one",
                       message_of_current_exception());
      }
    }
    if (!aborted || application.half_done_error()) {
      try {
        naming_file(path, [&] { writer->require_not_poisoned(); });
      } catch (...) {
        group_commit::fail_all(calls);
      }
    }
  }
  return done;
}

}  // namespace iqdb
