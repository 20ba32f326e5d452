// What the payload of an adapter begins with, and how a wrong one is refused.
#include "iqdb/index/support/payload.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/types.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/streams.hpp"

namespace {

using iqdb::DistanceMetric;
using iqdb::PersistErrorKind;
using iqdb::Reader;
using iqdb_test::Bytes;
using iqdb_test::hex;
using iqdb_test::mentions;
using iqdb_test::require_kind;
namespace index_support = iqdb::index_support;

constexpr unsigned dot_product_tag = 1;

index_support::PayloadHead read_head(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  return index_support::read_head(reader, "quick");
}

}  // namespace

TEST_CASE("write_head: a version, the dimension and the metric stand at the beginning", "[adapters]") {
  const auto written = iqdb_test::written_by([](iqdb::Writer& writer) {
    index_support::write_head(writer, {.dim = 770, .metric = DistanceMetric::dot_product});
  });
  CHECK(hex(written) == hex(Bytes().u8(1).u64(770).u8(dot_product_tag)));
}

TEST_CASE("read_head: gives what write_head wrote", "[adapters]") {
  const auto head = read_head(Bytes().u8(1).u64(770).u8(dot_product_tag));
  CHECK(head.dim == 770);
  CHECK(head.metric == DistanceMetric::dot_product);
}

TEST_CASE("read_head: another layout version is refused and told", "[adapters]") {
  for (const unsigned version : {0U, 2U}) {
    const auto error = require_kind(PersistErrorKind::invalid_payload,
                                    [&] { return read_head(Bytes().u8(version).u64(770).u8(dot_product_tag)); });
    CHECK(mentions(error, "quick index"));
    CHECK(mentions(error, "layout version " + std::to_string(version)));
  }
}

TEST_CASE("read_head: a tag that no metric has is invalid_metric", "[adapters]") {
  require_kind(PersistErrorKind::invalid_metric, [] { return read_head(Bytes().u8(1).u64(770).u8(9)); });
}

TEST_CASE("decode_whole: returns what the decoder returns", "[adapters]") {
  const Reader reader(std::span<const std::byte>{});
  CHECK(index_support::decode_whole(reader, "quick", [] { return 7; }) == 7);
}

TEST_CASE("decode_whole: a payload that ends early is invalid_payload", "[adapters]") {
  Reader reader(std::span<const std::byte>{});
  const auto error = require_kind(PersistErrorKind::invalid_payload, [&] {
    return index_support::decode_whole(reader, "quick", [&] { return reader.read_le<std::uint64_t>(); });
  });
  CHECK(mentions(error, "the quick index's payload ends early"));
}

TEST_CASE("decode_whole: other errors stay what they are", "[adapters]") {
  const Reader reader(std::span<const std::byte>{});
  const auto error = require_kind(PersistErrorKind::invalid_metric, [&] {
    return index_support::decode_whole(
        reader, "quick", [&]() -> int { reader.fail(PersistErrorKind::invalid_metric, "no such metric"); });
  });
  CHECK(mentions(error, "no such metric"));
}

TEST_CASE("make_as_stated: settings that the index refuses are the payload's fault", "[adapters]") {
  const Reader reader(std::span<const std::byte>{});
  CHECK(index_support::make_as_stated(reader, "quick", [] { return 7; }) == 7);
  const auto error = require_kind(PersistErrorKind::invalid_payload, [&] {
    return index_support::make_as_stated(reader, "quick", []() -> int {
      throw iqdb::IndexError(iqdb::IndexErrorKind::invalid_config, "too many links");
    });
  });
  CHECK(mentions(error, "quick index"));
  CHECK(mentions(error, "too many links"));
}
