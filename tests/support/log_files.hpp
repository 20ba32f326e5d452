// Logs that hold nothing: no more than the header that every log begins with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "iqdb/persist/stream.hpp"

namespace iqdb_test {

/// A log that was never written to: of version 1 (12 bytes) or 2 (64 bytes, of which all but magic and version are 0).
[[nodiscard]] inline std::vector<std::byte> empty_log(std::uint32_t version) {
  constexpr std::string_view magic("IQDBWAL\0", 8);
  iqdb::MemorySink sink;
  iqdb::Writer writer(sink);
  writer.write_array(magic);
  writer.write_le(version);
  writer.flush();
  std::vector<std::byte> bytes = sink.bytes();
  bytes.resize(version == 1 ? 12 : 64);
  return bytes;
}

}  // namespace iqdb_test
