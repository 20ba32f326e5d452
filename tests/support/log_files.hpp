// Logs as they lie in files, made by hand: empty ones, and ones that hold a mutation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/wal/wal_format.hpp"

namespace iqdb_test {

/// A log that was never written to: of version 1 (12 bytes), or of version 2 or 3 (64 bytes), which continues the
/// snapshot with this fingerprint, by default one that is nowhere.
[[nodiscard]] inline std::vector<std::byte> empty_log(std::uint32_t version, const iqdb::Fingerprint& base = {}) {
  return iqdb::bytes_of([&](iqdb::Writer& writer) {
    if (version == 1) {
      writer.write_array(iqdb::log_magic);
      writer.write_le(version);
    } else {
      iqdb::write_log_header(writer, {.log_id = 7, .base_lsn = 0, .base = base}, version);
    }
  });
}

/// Such a log that holds one erase, of the vector 1.
[[nodiscard]] inline std::vector<std::byte> log_with_a_mutation(std::uint32_t version,
                                                                const iqdb::Fingerprint& base = {}) {
  std::vector<std::byte> log = empty_log(version, base);
  if (version == 1) {
    const auto body = iqdb::bytes_of([](iqdb::Writer& writer) { iqdb::write_erase(writer, 1); });
    iqdb::Crc32 checksum;
    checksum.update(body);
    const auto frame = iqdb::bytes_of([&](iqdb::Writer& writer) {
      writer.write_le(static_cast<std::uint32_t>(body.size()));
      writer.write_le(checksum.value());
      writer.write(body);
    });
    log.insert(log.end(), frame.begin(), frame.end());
  } else {
    iqdb::FrameEncoder encoder;
    iqdb::write_erase(encoder.begin(), 1);
    const auto frame = encoder.finish(7, 1, log.size());
    log.insert(log.end(), frame.begin(), frame.end());
  }
  return log;
}

}  // namespace iqdb_test
