// Gathers a file's bytes in blocks. Helper threads checksum and write full blocks while the caller fills the next ones.
//
//   write(bytes) --copied--> block 1, 2, 3, … --> one thread: checksum
//                                            \--> another thread: FileReplacement::append, several full blocks at once
//
// Invariants: the number of blocks is fixed, and they are adjacent in memory. A block is reused only after it was
// checksummed and written. Blocks reach the file in order, aligned in memory and in the file, so that the writes can
// bypass the page cache.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <utility>

#include "iqdb/persist/bytes/aligned_buffer.hpp"
#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/helper_threads.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/process_mark.hpp"
#include "iqdb/persist/storage/storage.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// A block is this many times PersistConfig::buffer_bytes: 2 MiB by default, about the size at which a disk is fastest.
inline constexpr std::size_t buffers_in_block = 8;

/// Appends to an empty file, and computes the checksum of what is appended. Used by one thread.
template <FileReplacement R>
class BlockStream final : public ByteSink {
 public:
  /// Appends to `file`, which must outlive this, in blocks of `block_bytes`, rounded up to a multiple of
  /// direct_block_bytes. Uses up to two of `helper_threads` threads besides the caller's, from the first full block on;
  /// with 0 the caller does everything. The checksum leaves out the first `unchecked` bytes. Memory is taken for six blocks, or for
  /// one without threads: their sizes must add up to a size_t.
  BlockStream(R& file, std::uint64_t unchecked, std::size_t block_bytes, unsigned helper_threads)
      : file_(&file),
        unchecked_(unchecked),
        block_bytes_(static_cast<std::size_t>(block_end(block_bytes))),
        rotation_(helper_threads == 0 ? 1 : most_blocks),
        turn_(std::make_unique<Turn>()),
        helpers_(std::min(helper_threads, 2U)) {}
  BlockStream(const BlockStream&) = delete;
  BlockStream& operator=(const BlockStream&) = delete;
  ~BlockStream() override { abandon(); }

  /// Appends `bytes`. Throws what the file throws, for these or earlier bytes, and std::bad_alloc.
  void write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      if (used_ == 0) {
        await_free_block();
      }
      const std::size_t count = std::min(bytes.size(), block_bytes_ - used_);
      std::memcpy(memory_of(filled_).data() + used_, bytes.data(), count);
      used_ += count;
      bytes = bytes.subspan(count);
      if (used_ == block_bytes_) {
        if (filled_ == 0) {
          started_ = helpers_.begin([this](unsigned number) { number == 0 ? write_blocks() : sum_blocks(); });
        }
        pass_on();
      }
    }
  }

  /// Waits until the file holds everything. write() must not be called afterwards. Throws what the file throws.
  void finish() {
    if (used_ > 0) {
      pass_on();
    }
    {
      const std::lock_guard guard(turn_->mutex);
      ending_ = true;
    }
    turn_->moved.notify_all();
    helpers_.end();
    if (error_) {
      std::rethrow_exception(error_);
    }
  }

  /// The checksum of everything written; known after finish().
  [[nodiscard]] const Crc32& checksum() const noexcept { return checksum_; }

  /// How many bytes were written so far.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return passed_on_bytes_ + used_; }

 private:
  // With helper threads: enough to keep the disk busy while the checksum or the caller lags.
  static constexpr std::uint64_t most_blocks = 6;

  // A disk is a little faster with several megabytes at a time. The other half of the blocks is filled meanwhile.
  static constexpr std::uint64_t most_written_at_once = most_blocks / 2;

  // The memory of block `number`.
  [[nodiscard]] std::span<std::byte> memory_of(std::uint64_t number) const noexcept {
    return memory_.bytes().subspan(static_cast<std::size_t>(number % rotation_) * block_bytes_, block_bytes_);
  }

  // The bytes of up to `most` blocks that were passed on, from block `first` on, as far as they are contiguous in
  // memory. A last block that is not full comes alone: it cannot bypass the page cache, and the blocks before it can.
  // Called with the mutex held, or by the caller's thread.
  [[nodiscard]] std::span<const std::byte> passed_on_from(std::uint64_t first, std::uint64_t most) const noexcept {
    const std::uint64_t bytes = passed_on_bytes_ - first * block_bytes_;
    const std::uint64_t full = std::max<std::uint64_t>(bytes / block_bytes_, 1);
    const std::uint64_t count = std::min({most, full, rotation_ - first % rotation_});
    return {memory_of(first).data(), static_cast<std::size_t>(std::min(bytes, count * block_bytes_))};
  }

  void await_free_block() {
    {
      std::unique_lock guard(turn_->mutex);
      turn_->moved.wait(guard, [this] { return filled_ < std::min(summed_, written_) + rotation_ || error_; });
      if (error_) {
        std::rethrow_exception(error_);
      }
    }
    if (memory_.size() == 0) {
      // A small file touches only the pages that it fills.
      memory_ = AlignedBuffer(static_cast<std::size_t>(rotation_) * block_bytes_);
    }
  }

  // Called when the block being filled is full, or is the last one.
  void pass_on() {
    const std::uint64_t number = filled_;
    {
      const std::lock_guard guard(turn_->mutex);
      passed_on_bytes_ += std::exchange(used_, 0);
      ++filled_;
    }
    turn_->moved.notify_all();
    const std::span<const std::byte> block = passed_on_from(number, 1);
    if (started_ < 2) {
      sum(number, block);
      const std::lock_guard guard(turn_->mutex);
      ++summed_;
    }
    if (started_ < 1) {
      file_->append(block);
      const std::lock_guard guard(turn_->mutex);
      ++written_;
    }
  }

  void sum(std::uint64_t number, std::span<const std::byte> block) noexcept {
    const std::uint64_t begin = number * block_bytes_;
    const std::uint64_t skipped = std::min<std::uint64_t>(unchecked_ - std::min(unchecked_, begin), block.size());
    checksum_.update(block.subspan(static_cast<std::size_t>(skipped)));
  }

  // The first helper writes, the second checksums. If the system gives fewer threads, the caller does the rest.
  void write_blocks() noexcept {
    process(written_, most_written_at_once, [this](std::uint64_t, auto blocks) { file_->append(blocks); });
  }

  void sum_blocks() noexcept {
    process(summed_, 1, [this](std::uint64_t number, auto block) { sum(number, block); });
  }

  // Processes blocks in order, up to `most` at once, and counts them in `done`.
  template <class Process>
  void process(std::uint64_t& done, std::uint64_t most, Process&& process_blocks) noexcept {
    std::unique_lock guard(turn_->mutex);
    for (;;) {
      turn_->moved.wait(guard, [&] { return done < filled_ || ending_ || error_ || abandoned_; });
      if (error_ || abandoned_ || done == filled_) {
        return;
      }
      const std::span<const std::byte> blocks = passed_on_from(done, most);
      guard.unlock();
      std::exception_ptr error;
      try {
        process_blocks(done, blocks);
      } catch (...) {
        error = std::current_exception();
      }
      guard.lock();
      if (error) {
        error_ = error;
      } else {
        done += (blocks.size() + block_bytes_ - 1) / block_bytes_;
      }
      turn_->moved.notify_all();
    }
  }

  void abandon() noexcept {
    if (turn_.inherited()) {
      return;  // the helpers do not exist in the child of a fork
    }
    {
      const std::lock_guard guard(turn_->mutex);
      abandoned_ = true;
    }
    turn_->moved.notify_all();
  }

  // How the threads wait for each other.
  struct Turn {
    std::mutex mutex;
    std::condition_variable moved;
  };

  R* file_;
  std::uint64_t unchecked_;
  std::size_t block_bytes_;
  std::uint64_t rotation_;  // the number of blocks
  AlignedBuffer memory_;    // all blocks
  std::size_t used_ = 0;    // bytes in the block being filled
  Crc32 checksum_;          // of the first summed_ blocks
  unsigned started_ = 0;    // the number of helpers that run

  LeftInFork<Turn> turn_;              // its mutex guards the members below
  std::uint64_t filled_ = 0;           // blocks passed on; only the caller's thread changes it
  std::uint64_t passed_on_bytes_ = 0;  // bytes in them; all but the last one are full
  std::uint64_t summed_ = 0;
  std::uint64_t written_ = 0;
  bool ending_ = false;     // no more blocks come
  bool abandoned_ = false;  // destroyed: the remaining blocks need not be written
  std::exception_ptr error_;
  HelperThreads helpers_;  // last, so destroyed first: its destructor waits for the threads
};

}  // namespace iqdb
