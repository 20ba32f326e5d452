// The least that any durable log must do, as bare system calls: what the others are measured against.
#include <fcntl.h>
#include <zlib.h>

#include <cstring>
#include <vector>

#include "benchmarks.hpp"
#include "inserts.hpp"

namespace iqdb_benchmarks {

namespace {

constexpr std::size_t extent_bytes = std::size_t{1} << 20U;

class RawLog {
 public:
  explicit RawLog(const InsertPlan& plan)
      : plan_(plan), file_(plan.directory / "log", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC) {}

  void finish(std::uint64_t next_key) {
    if (end_ != next_key * Records::record_bytes || file_.size() < end_) {
      throw std::runtime_error("the log does not hold what was written to it");
    }
  }

 protected:
  std::span<std::byte> records(std::uint64_t first_key) { return records_.records(first_key, plan_.batch); }

  void write(std::span<const std::byte> bytes) {
    file_.write_at(end_, bytes);
    end_ += bytes.size();
  }

  void write_zeros(std::uint64_t begin, std::uint64_t end) {
    static const std::vector<std::byte> zeros(extent_bytes);
    while (begin < end) {
      const auto piece =
          std::span(zeros).first(static_cast<std::size_t>(std::min<std::uint64_t>(extent_bytes, end - begin)));
      file_.write_at(begin, piece);
      begin += piece.size();
    }
  }

  InsertPlan plan_;
  Records records_;
  File file_;
  std::uint64_t end_ = 0;
};

// The file grows with each commit, so that each must make its new size durable as well.
class AppendFsync : public RawLog {
 public:
  using RawLog::RawLog;
  void commit(std::uint64_t first_key) {
    write(records(first_key));
    file_.sync();
  }
};

// Zeros were written before the clock started: a commit overwrites what is there already. No log that begins small can
// do this, it is the limit.
class ZeroedBefore : public RawLog {
 public:
  explicit ZeroedBefore(const InsertPlan& plan) : RawLog(plan) {
    write_zeros(0, plan.bytes());
    file_.sync();
  }
  void commit(std::uint64_t first_key) {
    write(records(first_key));
    file_.sync_data();
  }
};

// The same with the work that a log has: it writes the zeros ahead itself, and gives each record a checksum.
class ZeroedWithin : public RawLog {
 public:
  using RawLog::RawLog;
  void commit(std::uint64_t first_key) {
    const std::span<std::byte> batch = records(first_key);
    for (std::size_t at = 0; at < batch.size(); at += Records::record_bytes) {
      const auto body = batch.subspan(at + sizeof(std::uint32_t), Records::record_bytes - sizeof(std::uint32_t));
      const auto checksum = static_cast<std::uint32_t>(::crc32_z(0, reinterpret_cast<const unsigned char*>(body.data()),
                                                                 body.size()));  // NOLINT(*-reinterpret-cast)
      std::memcpy(batch.data() + at, &checksum, sizeof(checksum));
    }
    while (prepared_ < end_ + batch.size()) {
      write_zeros(prepared_, prepared_ + extent_bytes);
      prepared_ += extent_bytes;
    }
    write(batch);
    file_.sync_data();
  }

 private:
  std::uint64_t prepared_ = 0;
};

// Nothing is synced: what a record costs on its way into the page cache.
class BareWrite : public RawLog {
 public:
  using RawLog::RawLog;
  void commit(std::uint64_t first_key) { write(records(first_key)); }
};

}  // namespace

void add_log_anchors(const Options& options) {
  add_durable_inserts<AppendFsync>("append_fsync", options);
  add_durable_inserts<ZeroedBefore>("zeroed_before", options);
  add_durable_inserts<ZeroedWithin>("zeroed_within", options);
  add_inserts<BareWrite>("unsynced_insert/1/bare_pwrite", options, 1, options.unsynced_records);
}

}  // namespace iqdb_benchmarks
