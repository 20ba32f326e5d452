// The target `snapshot`: a file is loaded as the snapshot of a flat index, without a log.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "fuzz/durable_files.hpp"
#include "fuzz/fuzz_target.hpp"
#include "fuzz/numbers.hpp"
#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/codec/compression.hpp"
#include "iqdb/persist/snapshot/snapshot_format.hpp"

namespace iqdb_fuzz {

/// Where the parts of a snapshot of a flat index lie: docs/format.md.
struct SnapshotLayout {
  static constexpr std::string_view type = iqdb::FlatIndex::index_type;
  static constexpr std::size_t version = 8;
  static constexpr std::size_t type_bytes = 12;
  static constexpr std::size_t dim = 20 + type.size();  // and behind it the metric and the number of vectors
  static constexpr std::size_t dim_to_vectors = 8 + 1 + 8;
  static constexpr std::size_t crc32 = dim + dim_to_vectors;
  static constexpr std::size_t region = crc32 + 4;
  static constexpr std::size_t payload_bytes = region + 1;
  static constexpr std::size_t data = region + iqdb::RegionPreamble::bytes;
};

/// Puts right what load checks before it looks at the payload.
inline void repair_snapshot(Bytes& snapshot, Random& random) {
  using Layout = SnapshotLayout;
  if (snapshot.size() < Layout::data || random.one_in(16)) {
    return;
  }
  const auto most_times = [&random] { return !random.one_in(32); };
  std::ranges::copy(std::as_bytes(std::span(iqdb::snapshot_magic)), snapshot.begin());
  if (number_at<std::uint32_t>(snapshot, Layout::version) != 1 && most_times()) {
    put_at(std::span(snapshot), Layout::version, iqdb::snapshot_version);
  }
  if (most_times()) {
    put_at(std::span(snapshot), Layout::type_bytes, std::uint64_t{Layout::type.size()});
    std::ranges::copy(std::as_bytes(std::span(Layout::type)),
                      snapshot.begin() + static_cast<std::ptrdiff_t>(Layout::type_bytes + 8));
  }
  const bool is_1 = number_at<std::uint32_t>(snapshot, Layout::version) == 1;
  const bool is_stored = snapshot[Layout::region] == std::byte{0};
  const std::size_t payload = is_1 ? Layout::region : Layout::data;
  if ((is_1 || is_stored) && snapshot.size() - payload >= Layout::dim_to_vectors && most_times()) {
    // The payload begins with the same fields.
    std::ranges::copy(std::span(snapshot).subspan(payload, Layout::dim_to_vectors),
                      snapshot.begin() + static_cast<std::ptrdiff_t>(Layout::dim));
  }
  if (!is_1 && is_stored && most_times()) {
    put_at(std::span(snapshot), Layout::payload_bytes, std::uint64_t{snapshot.size() - Layout::data});
  }
  put_at(std::span(snapshot), Layout::crc32, iqdb::Crc32(std::span(snapshot).subspan(Layout::region)).value());
}

/// Changes a field of the payload, or compresses it.
inline void reshape_snapshot(Bytes& snapshot, Random& random) {
  using Layout = SnapshotLayout;
  if (snapshot.size() < Layout::data + Layout::dim_to_vectors) {
    return;
  }
  switch (random.below(4)) {
    case 0:
      put_at(std::span(snapshot), Layout::data, awkward_number(random));  // its dimensions
      break;
    case 1:
      put_at(std::span(snapshot), Layout::data + 8 + 1, awkward_number(random));  // its vectors
      break;
    case 2:
      put_at(std::span(snapshot), Layout::payload_bytes, awkward_number(random));
      break;
    default: {
      if (snapshot[Layout::region] != std::byte{0}) {
        return;
      }
      class Sink final : public iqdb::ByteSink {
       public:
        void write(std::span<const std::byte> more) override { bytes.insert(bytes.end(), more.begin(), more.end()); }
        Bytes bytes;
      } data;
      const auto encoder =
          iqdb::make_encoder(compression(random.below(3)), data, {.buffer_bytes = 4096, .helper_threads = 0});
      const std::uint64_t payload_bytes = snapshot.size() - Layout::data;
      encoder->write(std::span(snapshot).subspan(Layout::data));
      encoder->finish();
      snapshot.resize(Layout::data);
      snapshot[Layout::region] = static_cast<std::byte>(encoder->scheme());
      put_at(std::span(snapshot), Layout::payload_bytes, payload_bytes);
      snapshot.insert(snapshot.end(), data.bytes.begin(), data.bytes.end());
    }
  }
}

inline constexpr FuzzTarget snapshot_target{
    .name = "snapshot", .examine = &examine_snapshot, .reshape = &reshape_snapshot, .repair = &repair_snapshot};

}  // namespace iqdb_fuzz
