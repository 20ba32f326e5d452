// The target `log`: a file is loaded as the log beside a snapshot that is always the same.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>
#include <vector>

#include "fuzz/durable_files.hpp"
#include "fuzz/fuzz_target.hpp"
#include "fuzz/numbers.hpp"
#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"
#include "support/files.hpp"
#include "support/memory_storage.hpp"

namespace iqdb_fuzz {

/// The snapshot: seven vectors of three dimensions, with metadata.
[[nodiscard]] inline const Bytes& fixed_snapshot() {
  static const Bytes bytes =
      iqdb_test::read_bytes(std::filesystem::path(TEST_GOLDEN_DIR) / "snap/none_d3_n7_euclidean_id0_meta2.iqdb");
  return bytes;
}

/// The fingerprint of a snapshot, as far as it has a header; what does not read as one gets some other.
[[nodiscard]] inline iqdb::Fingerprint fingerprint_of(Input snapshot) {
  try {
    iqdb::Reader reader(snapshot);
    return iqdb::fingerprint(iqdb::read_header(reader), snapshot.size());
  } catch (const iqdb::PersistError&) {
    return {};
  }
}

/// Where the parts of a log of version 2 lie: docs/format.md.
struct LogLayout {
  static constexpr std::size_t version = 8;
  static constexpr std::size_t crc32 = 12;
  static constexpr std::size_t log_id = 16;
  static constexpr std::size_t base_lsn = 24;
  static constexpr std::size_t base = 32;
  static constexpr std::size_t frame_crc32 = 4;
  static constexpr std::size_t lsn = 8;
  static constexpr std::size_t durable = 16;
  static constexpr std::size_t body = iqdb::FrameHeader::bytes;
};

/// Where frames of either version lie in a log, by their length fields alone; the last one may be cut short.
struct FrameLayout {
  std::size_t header_bytes;
  std::vector<std::size_t> begins;  // and the end of the last one, where the log ends or a length is 0

  explicit FrameLayout(Input log) {
    const bool is_1 = number_at<std::uint32_t>(log, LogLayout::version) == 1;
    header_bytes = is_1 ? iqdb::frame_header_1_bytes : iqdb::FrameHeader::bytes;
    begins = {std::min<std::size_t>(log.size(), is_1 ? iqdb::log_header_1_bytes : iqdb::log_header_bytes)};
    while (log.size() - begins.back() > header_bytes) {
      const std::size_t body_bytes = number_at<std::uint32_t>(log, begins.back());
      if (body_bytes == 0) {
        break;
      }
      begins.push_back(begins.back() + header_bytes + std::min(body_bytes, log.size() - begins.back() - header_bytes));
    }
  }

  [[nodiscard]] std::size_t frames() const noexcept { return begins.size() - 1; }
};

/// How many mutations a body states that it holds.
[[nodiscard]] inline std::uint64_t mutations_in(Input body) {
  switch (static_cast<iqdb::FrameOp>(body[0])) {
    case iqdb::FrameOp::insert:
    case iqdb::FrameOp::erase:
    case iqdb::FrameOp::upsert:
    case iqdb::FrameOp::metadata:
    case iqdb::FrameOp::typed_insert:
    case iqdb::FrameOp::typed_upsert:
      return 1;
    case iqdb::FrameOp::batch:
      return body.size() < 5 ? 0 : number_at<std::uint32_t>(body, 1);
    default:
      return 0;
  }
}

/// Puts a log of version 1 right.
inline void repair_log_1(Bytes& log, Random& random) {
  const FrameLayout layout(log);
  for (std::size_t at = 0; at < layout.frames(); ++at) {
    if (random.one_in(32)) {
      continue;
    }
    const auto frame = std::span(log).subspan(layout.begins[at], layout.begins[at + 1] - layout.begins[at]);
    const auto body = frame.subspan(layout.header_bytes);
    put_at(frame, 0, static_cast<std::uint32_t>(body.size()));
    put_at(frame, 4, iqdb::Crc32(body).value());
  }
}

/// Puts a log of version 2 or 3 right, which goes on from a snapshot with this fingerprint.
inline void repair_log_3(Bytes& log, const iqdb::Fingerprint& snapshot, Random& random) {
  using Layout = LogLayout;
  const auto most_times = [&random] { return !random.one_in(32); };
  const Bytes fingerprint = iqdb::bytes_of([&](iqdb::Writer& writer) { iqdb::write_fingerprint(writer, snapshot); });
  if (most_times()) {
    std::ranges::copy(fingerprint, log.begin() + Layout::base);
  }
  if (number_at<std::uint64_t>(log, Layout::base_lsn) > iqdb::largest_lsn && most_times()) {
    put_at(std::span(log), Layout::base_lsn, random.below(4));
  }
  iqdb::LogHeader header = iqdb::wal_format::fields_of(std::span(log).first(iqdb::log_header_bytes));
  const bool is_version_2 = number_at<std::uint32_t>(log, Layout::version) == 2;
  if (most_times()) {
    std::ranges::copy(iqdb::wal_format::encoded(header, is_version_2 ? 2 : iqdb::log_version), log.begin());
  }

  std::uint64_t lsn = header.base_lsn + 1;
  std::uint64_t mutations_before = 0;
  const FrameLayout layout(log);
  for (std::size_t at = 0; at < layout.frames(); ++at) {
    const std::size_t begin = layout.begins[at];
    const auto frame = std::span(log).subspan(begin, layout.begins[at + 1] - begin);
    const auto body = frame.subspan(Layout::body);
    const auto op = static_cast<iqdb::FrameOp>(body[0]);
    if (op == iqdb::FrameOp::abort && mutations_before > 0 && !random.one_in(8)) {
      const std::uint64_t first = lsn - mutations_before + random.below(mutations_before);
      if (is_version_2 && body.size() >= 1 + 8) {
        put_at(body, 1, first);
      } else if (!is_version_2 && body.size() >= 1 + 4 + 8 + 8) {
        put_at(body, 1, static_cast<std::uint32_t>((body.size() - 1 - 4) / (8 + 8)));
        put_at(body, 1 + 4, first);
        put_at(body, 1 + 4 + 8, first + random.below(lsn - first));
      }
    }
    if (op == iqdb::FrameOp::checkpoint && body.size() >= 1 + fingerprint.size()) {
      if (random.one_in(2)) {
        std::ranges::copy(fingerprint, body.begin() + 1);
      }
      if (!is_version_2 && body.size() >= 1 + fingerprint.size() + 8 && !random.one_in(8)) {
        put_at(body, 1 + fingerprint.size(), header.base_lsn + random.below(lsn - header.base_lsn));
      }
    }
    put_at(frame, 0, static_cast<std::uint32_t>(body.size()));
    if (most_times()) {
      put_at(frame, Layout::lsn, lsn);
    }
    if (number_at<std::uint64_t>(frame, Layout::durable) > begin || !random.one_in(8)) {
      put_at(frame, Layout::durable, std::uint64_t{begin});
    }
    if (most_times()) {
      const auto fields = iqdb::read_frame_header(frame.first<iqdb::FrameHeader::bytes>());
      put_at(frame, Layout::frame_crc32, iqdb::frame_checksum(header.log_id, fields, body));
    }
    mutations_before = mutations_in(body);
    lsn += mutations_before;
  }
}

/// Puts right what is checked before the mutations are looked at. Now and then damages a byte again, with frames behind
/// it that are good.
inline void repair_log_of(Input snapshot, Bytes& log, Random& random) {
  if (log.size() < iqdb::log_header_1_bytes || random.one_in(32)) {
    return;
  }
  std::ranges::copy(std::as_bytes(std::span(iqdb::log_magic)), log.begin());
  if (number_at<std::uint32_t>(log, LogLayout::version) == 1) {
    repair_log_1(log, random);
  } else if (log.size() >= iqdb::log_header_bytes) {
    repair_log_3(log, fingerprint_of(snapshot), random);
  }
  if (random.one_in(8)) {
    log[static_cast<std::size_t>(random.below(log.size()))] ^= static_cast<std::byte>(1U << random.below(8));
  }
}

/// A body that a writer could make, of an index of `dim` dimensions.
[[nodiscard]] inline Bytes some_body(std::size_t dim, Random& random) {
  const auto mutation = [&] {
    iqdb::Mutation made{.op = random.one_in(3)   ? iqdb::FrameOp::erase
                              : random.one_in(3) ? iqdb::FrameOp::upsert
                                                 : iqdb::FrameOp::insert,
                        .id = random.below(12),
                        .vector = std::vector<float>(dim, random.component())};
    if (random.one_in(2)) {
      made.metadata.emplace().emplace("key", static_cast<std::int64_t>(random.below(9)));
    }
    return made;
  };
  return iqdb::bytes_of([&](iqdb::Writer& writer) {
    switch (random.below(6)) {
      case 0:
        iqdb::write_abort(writer,
                          std::vector{iqdb::LsnRange{.first = 1 + random.below(9), .last = 1 + random.below(9)}});
        break;
      case 1:
        iqdb::write_checkpoint(writer, {}, random.below(9));
        break;
      case 2:
        iqdb::write_close(writer);
        break;
      case 3: {
        std::vector<iqdb::Mutation> mutations(static_cast<std::size_t>(1 + random.below(3)));
        std::ranges::generate(mutations, mutation);
        iqdb::write_batch(writer, mutations);
        break;
      }
      default:
        iqdb::write_mutation(writer, mutation());
    }
  });
}

/// Doubles, drops, moves, disturbs or adds frames, or what stands behind them.
inline void reshape_log_of(std::size_t dim, Bytes& log, Random& random) {
  if (log.size() < iqdb::log_header_bytes) {
    return;
  }
  const FrameLayout layout(log);
  const auto begin_of = [&](std::size_t frame) {
    return log.begin() + static_cast<std::ptrdiff_t>(layout.begins[frame]);
  };
  const auto framed = [&](const Bytes& body) {
    Bytes frame(layout.header_bytes);
    put_at(std::span(frame), 0, static_cast<std::uint32_t>(body.size()));
    frame.insert(frame.end(), body.begin(), body.end());
    return frame;
  };
  const auto any = static_cast<std::size_t>(random.below(layout.begins.size()));
  if (any == layout.frames() || random.one_in(3)) {
    const Bytes frame = framed(some_body(dim, random));
    log.insert(begin_of(any), frame.begin(), frame.end());
    return;
  }
  const Bytes frame(begin_of(any), begin_of(any + 1));
  const auto place = begin_of(any);
  switch (random.below(5)) {
    case 0:
      log.insert(place, frame.begin(), frame.end());
      break;
    case 1:
      log.erase(place, begin_of(any + 1));
      break;
    case 2:
      std::rotate(place, begin_of(any + 1), log.end());
      break;
    case 3: {
      Bytes body(frame.begin() + static_cast<std::ptrdiff_t>(layout.header_bytes), frame.end());
      disturb(body, random);
      const Bytes disturbed = framed(body);
      log.erase(place, begin_of(any + 1));
      log.insert(log.begin() + static_cast<std::ptrdiff_t>(layout.begins[any]), disturbed.begin(), disturbed.end());
      break;
    }
    default:
      log.resize(layout.begins[any]);
      log.resize(log.size() + static_cast<std::size_t>(random.below(64)));
  }
}

/// Whether behind `end` stands a frame that proves the bytes there to have been durable: rule 3 of docs/format.md, to
/// the letter and however long it takes.
[[nodiscard]] inline bool proves_damage(Input log, const iqdb::LogIdentity& identity, const iqdb::LogPosition& end) {
  for (auto at = static_cast<std::size_t>(end.offset); at + iqdb::FrameHeader::bytes <= log.size(); ++at) {
    const auto fields = iqdb::read_frame_header(log.subspan(at).first<iqdb::FrameHeader::bytes>());
    const Input behind = log.subspan(at + iqdb::FrameHeader::bytes);
    if (fields.body_bytes > 0 && fields.body_bytes <= behind.size() && fields.lsn >= end.next_lsn &&
        fields.durable > end.offset && fields.durable <= at &&
        fields.crc32 == iqdb::frame_checksum(identity.header.log_id, fields, behind.first(fields.body_bytes))) {
      return true;
    }
  }
  return false;
}

/// Examines the end that a scan finds, if it takes the log at all.
inline void examine_end(Input snapshot, Input log) {
  iqdb_test::MemoryFile file(Bytes(log.begin(), log.end()));
  try {
    const iqdb::LogScan scan = iqdb::scan_log(file, fingerprint_of(snapshot), 4096);
    require(scan.log.version == 1 || !proves_damage(log, scan.log, scan.end), "damage was taken for a torn tail");
  } catch (const iqdb::PersistError&) {
  }
}

inline constexpr FuzzTarget log_target{
    .name = "log",
    .examine =
        [](Input log) {
          examine_end(fixed_snapshot(), log);
          examine_durable(fixed_snapshot(), log);
        },
    .reshape = [](Bytes& log, Random& random) { reshape_log_of(3, log, random); },
    .repair = [](Bytes& log, Random& random) { repair_log_of(fixed_snapshot(), log, random); }};

}  // namespace iqdb_fuzz
