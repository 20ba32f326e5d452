// FaissIndex of codes: damaged payloads, handed to the decoder as behind a right checksum, and damaged files of faiss' own.
#include <faiss/impl/io.h>
#include <faiss/index_io.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/index/faiss.hpp"
#include "support/adapters.hpp"
#include "support/catch.hpp"
#include "support/faiss_codes.hpp"
#include "support/files.hpp"
#include "support/sample_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

using iqdb_test::coded_kinds;
using iqdb_test::CodedKind;

constexpr std::size_t damaged_dim = 4;

// Few bits and rows, so that the payload is small.
iqdb::FaissIndex damaged_sample(const CodedKind& kind) {
  CodedKind small = kind;
  small.config.bits = 2;
  iqdb::FaissIndex index = iqdb_test::coded_index(small, damaged_dim);
  iqdb_test::Random random(1);
  for (std::uint64_t number = 0; number < 9; ++number) {
    index.insert(iqdb_test::sample_id(number), random.vector(damaged_dim));
  }
  index.erase(iqdb_test::sample_id(0));
  return index;
}

// Whether the payload of a sample is refused when a number in it is replaced, so far behind the last of these letters.
template <class Number>
bool is_refused_where(const CodedKind& kind, std::string_view letters, std::size_t behind, Number number) {
  std::vector<std::byte> payload = iqdb_test::payload_of(damaged_sample(kind));
  std::string_view text(reinterpret_cast<const char*>(payload.data()), payload.size());
  const std::size_t at = text.rfind(letters);
  REQUIRE(at != std::string_view::npos);
  REQUIRE(at + behind + sizeof number <= payload.size());
  std::memcpy(payload.data() + at + behind, &number, sizeof number);
  return !iqdb_test::loads_and_works<iqdb::FaissIndex>(payload, damaged_dim);
}

constexpr std::size_t behind_header = 37;  // with the tag

}  // namespace

TEST_CASE("FaissIndex of codes: a payload cut at any byte is refused", "[faiss][codes][hostile]") {
  for (const CodedKind& kind : coded_kinds) {
    INFO(kind.name);
    iqdb_test::require_truncations_refused<iqdb::FaissIndex>(iqdb_test::payload_of(damaged_sample(kind)), damaged_dim);
  }
}

TEST_CASE("FaissIndex of codes: any bit flipped behind the checksum is refused or harmless",
          "[faiss][codes][hostile]") {
  // The others have no number that these do not have.
  for (const CodedKind& kind : {coded_kinds[0], coded_kinds[2], coded_kinds[4], coded_kinds[6], coded_kinds[9]}) {
    const std::vector<std::byte> payload = iqdb_test::payload_of(damaged_sample(kind));
    CAPTURE(kind.name, payload.size());
    CHECK(iqdb_test::flip_every_bit<iqdb::FaissIndex>(payload, damaged_dim) > payload.size() / 2);
  }
}

TEST_CASE("FaissIndex of codes: payloads with several bytes changed are refused or harmless",
          "[faiss][codes][hostile]") {
  iqdb_test::Random random(5);
  constexpr std::array<std::uint32_t, 8> numbers = {0, 1, 2, 11, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800000, 0x7F7FFFFF};
  for (const CodedKind& kind : coded_kinds) {
    const std::vector<std::byte> payload = iqdb_test::payload_of(damaged_sample(kind));
    for (int round = 0; round < 400; ++round) {
      std::vector<std::byte> damaged = payload;
      for (std::uint64_t changes = 1 + random.below(3); changes > 0; --changes) {
        const std::uint32_t number = numbers[random.below(numbers.size())];
        std::memcpy(damaged.data() + random.below(damaged.size() - 3), &number, sizeof number);
      }
      CAPTURE(kind.name, round);
      static_cast<void>(iqdb_test::loads_and_works<iqdb::FaissIndex>(damaged, damaged_dim));
    }
  }
}

TEST_CASE("FaissIndex of codes: a wrong number in a scalar quantizer is refused", "[faiss][codes][hostile]") {
  const CodedKind& kind = coded_kinds.front();
  constexpr std::size_t statistic = behind_header + 4;
  constexpr std::size_t stated_dim = behind_header + 12;
  constexpr std::size_t code_size = stated_dim + 8;
  constexpr std::size_t count = code_size + 8;
  constexpr std::size_t codes = count + 8 + 8 * damaged_dim;
  const auto refused = [&](std::size_t behind, auto number) { return is_refused_where(kind, "IxSQ", behind, number); };
  CHECK_FALSE(refused(behind_header, std::int32_t{0}));
  CHECK_FALSE(refused(statistic, std::int32_t{3}));
  for (const std::int32_t type : {-1, 1, 2, 4, 7, std::numeric_limits<std::int32_t>::max()}) {
    CHECK(refused(behind_header, type));
  }
  for (const std::int32_t wrong : {-1, 4}) {
    CHECK(refused(statistic, wrong));
  }
  for (const std::uint64_t wrong : {std::uint64_t{0}, std::uint64_t{5}, ~std::uint64_t{0}}) {
    CHECK(refused(stated_dim, wrong));
    CHECK(refused(code_size, wrong));
    CHECK(refused(count, wrong));
    CHECK(refused(codes, wrong));
  }
  for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::max()}) {
    CHECK(refused(count + 8, wrong));
    CHECK(refused(count + 8 + 4 * damaged_dim, wrong));
  }
}

TEST_CASE("FaissIndex of codes: a wrong number in a product quantizer is refused", "[faiss][codes][hostile]") {
  const CodedKind& kind = coded_kinds[2];
  constexpr std::size_t parts = behind_header + 8;
  constexpr std::size_t bits = parts + 8;
  constexpr std::size_t count = bits + 8;
  constexpr std::size_t codes = count + 8 + 4 * 4 * damaged_dim;
  constexpr std::size_t search_type = codes + 8 + 8;  // of eight vectors one byte each
  const auto refused = [&](std::size_t behind, auto number) { return is_refused_where(kind, "IxPq", behind, number); };
  for (const std::uint64_t wrong : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{17}, ~std::uint64_t{0}}) {
    CHECK(refused(behind_header, wrong));
    CHECK(refused(parts, wrong));
    CHECK(refused(bits, wrong));
    CHECK(refused(count, wrong));
    CHECK(refused(codes, wrong));
  }
  CHECK(refused(bits, std::uint64_t{64}));
  CHECK(refused(count + 8, std::numeric_limits<float>::quiet_NaN()));
  CHECK(refused(count + 8, std::numeric_limits<float>::max()));
  CHECK_FALSE(refused(search_type, std::int32_t{0}));
  CHECK(refused(search_type, std::int32_t{1}));
  CHECK(refused(search_type, std::int32_t{-1}));
  CHECK(refused(search_type + 4, std::uint8_t{2}));
}

TEST_CASE("FaissIndex of codes: a wrong number beside the quantizer of lists is refused", "[faiss][codes][hostile]") {
  // Before the lists: the trained numbers of SQ6, bytes of a code, by residual.
  const CodedKind& scalar = coded_kinds[4];
  const auto before_lists = [&](const CodedKind& kind, std::size_t before, auto number) {
    std::vector<std::byte> payload = iqdb_test::payload_of(damaged_sample(kind));
    const std::string_view text(reinterpret_cast<const char*>(payload.data()), payload.size());
    std::memcpy(payload.data() + text.rfind("ilar") - before, &number, sizeof number);
    return !iqdb_test::loads_and_works<iqdb::FaissIndex>(payload, damaged_dim);
  };
  CHECK_FALSE(before_lists(scalar, 1, std::uint8_t{0}));
  CHECK(before_lists(scalar, 1, std::uint8_t{2}));
  CHECK(before_lists(scalar, 9, std::uint64_t{4}));
  CHECK(before_lists(scalar, 9, ~std::uint64_t{0}));
  // Of a product quantizer: by residual, bytes of a code, dimension, parts, bits, count, centroids.
  const CodedKind& product = coded_kinds[6];
  constexpr std::size_t quantizer = 32 + 4 * 4 * damaged_dim;
  CHECK_FALSE(before_lists(product, quantizer + 9, std::uint8_t{0}));
  CHECK(before_lists(product, quantizer + 9, std::uint8_t{2}));
  CHECK(before_lists(product, quantizer + 8, std::uint64_t{0}));
  CHECK(before_lists(product, quantizer + 8, std::uint64_t{2}));
  // And in the lists themselves.
  CHECK(is_refused_where(product, "ilar", 12, std::uint64_t{2}));
  CHECK(is_refused_where(product, "full", 12, ~std::uint64_t{0}));
}

TEST_CASE("FaissIndex of codes: a centroid too large to keep differences from is refused", "[faiss][codes][hostile]") {
  constexpr std::size_t first = behind_header + 8;
  CHECK(is_refused_where(coded_kinds[4], "IxF2", first, std::numeric_limits<float>::max()));
  CHECK(is_refused_where(coded_kinds[6], "IxF2", first, std::numeric_limits<float>::max()));
  CHECK_FALSE(is_refused_where(coded_kinds[5], "IxF2", first, std::numeric_limits<float>::max()));
  CHECK(is_refused_where(coded_kinds[5], "IxF2", first, std::numeric_limits<float>::infinity()));
}

TEST_CASE("FaissIndex of codes: a code of 16 bits that is no finite number is refused", "[faiss][codes][hostile]") {
  const CodedKind half{"half", {.code = iqdb::FaissCode::half}};
  constexpr std::size_t codes = behind_header + 4 + 4 + 4 + 8 + 8 + 8 + 8;
  CHECK_FALSE(is_refused_where(half, "IxSQ", codes, std::uint16_t{0x7BFF}));
  CHECK(is_refused_where(half, "IxSQ", codes, std::uint16_t{0x7C00}));
  CHECK(is_refused_where(half, "IxSQ", codes + 6, std::uint16_t{0xFE01}));
  // In a list they lie behind the sizes of all.
  CHECK(is_refused_where(coded_kinds[3], "full", 12 + 4 * 8, std::uint16_t{0x7C00}));
}

TEST_CASE("FaissIndex of codes: 8bit_direct is refused where it would keep differences", "[faiss][codes][hostile]") {
  const CodedKind direct{"direct", {.lists = 2, .code = iqdb::FaissCode::scalar8_direct}};
  iqdb::FaissIndex index = iqdb_test::coded_index(direct, damaged_dim);
  index.insert(1, {1.0F, 2.0F, 3.0F, 4.0F});
  std::vector<std::byte> payload = iqdb_test::payload_of(index);
  CHECK(iqdb_test::loads_and_works<iqdb::FaissIndex>(payload, damaged_dim));
  const std::string_view text(reinterpret_cast<const char*>(payload.data()), payload.size());
  payload[text.rfind("ilar") - 1] = std::byte{1};
  CHECK_FALSE(iqdb_test::loads_and_works<iqdb::FaissIndex>(payload, damaged_dim));
}

TEST_CASE("FaissIndex that transforms: a wrong number in a transform is refused", "[faiss][codes][hostile]") {
  const CodedKind& kind = coded_kinds[9];
  const auto refused = [&](std::size_t behind, auto number) { return is_refused_where(kind, "IxPT", behind, number); };
  constexpr std::size_t type = behind_header + 4;
  constexpr std::size_t has_bias = type + 4;
  constexpr std::size_t count = has_bias + 1;
  constexpr std::size_t factors = count + 8;
  constexpr std::size_t biases = factors + 4 * damaged_dim * damaged_dim;
  constexpr std::size_t dimensions = biases + 8;
  CHECK_FALSE(refused(behind_header, std::int32_t{1}));
  for (const std::int32_t wrong : {0, -1, 2, 9, std::numeric_limits<std::int32_t>::max()}) {
    CHECK(refused(behind_header, wrong));
    CHECK(refused(type, wrong));
    CHECK(refused(dimensions, wrong));
    CHECK(refused(dimensions + 4, wrong));
  }
  CHECK(refused(has_bias, std::uint8_t{1}));
  CHECK(refused(has_bias, std::uint8_t{2}));
  for (const std::uint64_t wrong : {std::uint64_t{0}, std::uint64_t{15}, ~std::uint64_t{0}}) {
    CHECK(refused(count, wrong));
  }
  CHECK(refused(biases, ~std::uint64_t{0}));
  for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), 2e9F, 5.0F}) {
    CHECK(refused(factors, wrong));
  }
  CHECK(refused(dimensions + 8, std::uint8_t{0}));
  // The summands of principal components, which no length depends on.
  const CodedKind principal{"PCA", {.transform = iqdb::FaissTransform::principal}};
  CHECK_FALSE(is_refused_where(principal, "IxPT", biases + 8, 1.0F));
  for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), 2e9F}) {
    CHECK(is_refused_where(principal, "IxPT", biases + 8, wrong));
  }
  CHECK(is_refused_where(principal, "IxPT", biases, std::uint64_t{3}));
  // The header of what transforms, and of what is inside.
  CHECK(refused(4, std::int32_t{5}));
  CHECK(refused(8, std::int64_t{7}));
  CHECK(is_refused_where(kind, "IxF2", 4, std::int32_t{5}));
  CHECK(is_refused_where(kind, "IxF2", 33, std::int32_t{0}));
  CHECK(is_refused_where(kind, "IxF2", 0, std::uint32_t{0}));
}

TEST_CASE("faiss_import: a file of codes cut at any byte or with any bit flipped is refused or harmless",
          "[faiss][codes][hostile][import]") {
  const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());
  const std::vector<float> training = iqdb_test::coded_training(6, damaged_dim);
  for (const char* const description : {"IDMap,PQ2x2np", "PCA2,SQ8"}) {
    CAPTURE(description);
    const auto native = iqdb_test::native_coded(description, damaged_dim, faiss::METRIC_L2, 40);
    for (std::size_t number = 0; number < 6; ++number) {
      if (std::string_view(description).starts_with("I")) {
        const auto id = static_cast<faiss::Index::idx_t>(100 - number);
        native->add_with_ids(1, training.data() + number * damaged_dim, &id);
      } else {
        native->add(1, training.data() + number * damaged_dim);
      }
    }
    faiss::VectorIOWriter stream;
    faiss::write_index(native.get(), &stream);
    const auto bytes = std::as_bytes(std::span(stream.data));
    const std::vector<std::byte> whole(bytes.begin(), bytes.end());
    const std::size_t refused = iqdb_test::damage_file(whole, directory / "codes.bin", [](const auto& file) {
      return iqdb::faiss_import(file, iqdb::DistanceMetric::euclidean);
    });
    CHECK(refused > whole.size() / 2);
  }
}
