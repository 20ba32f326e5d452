// What a log knows its snapshot by.
#include "iqdb/persist/snapshot/snapshot_format.hpp"

#include <cstdint>

#include "iqdb/persist/bytes/checksum.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/types.hpp"
#include "support/catch.hpp"

TEST_CASE("fingerprint: the size of the file and the checksums of its header and its region", "[format]") {
  const iqdb::FileHeader header{.version = 2,
                                .index_type = "flat",
                                .dim = 3,
                                .metric = iqdb::DistanceMetric::euclidean,
                                .vectors = 7,
                                .crc32 = 0x01020304};
  const iqdb::Fingerprint found = iqdb::fingerprint(header, 1234);
  const iqdb::Crc32 of_header(iqdb::bytes_of([&](iqdb::Writer& writer) { iqdb::write_header(writer, header); }));
  CHECK(found.file_bytes == 1234);
  CHECK(found.header_crc32 == of_header.value());
  CHECK(found.region_crc32 == 0x01020304);
}
