#include "iqdb/persist/codec/lz4_block.hpp"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/bytes.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::coding::find_lz4_ends;
using iqdb::coding::Lz4BlockJoiner;
using iqdb::coding::Lz4Ends;
using iqdb_test::Bytes;
using iqdb_test::hex;

using Block = std::vector<std::byte>;

// A token, and a number of literals that goes on behind it, as the block format has them.
[[nodiscard]] Bytes token(std::size_t literals, unsigned match = 0) {
  Bytes bytes;
  bytes.u8(static_cast<unsigned>(literals < 15 ? literals : 15) << 4U | match);
  if (literals >= 15) {
    for (literals -= 15; literals >= 255; literals -= 255) {
      bytes.u8(255);
    }
    bytes.u8(static_cast<unsigned>(literals));
  }
  return bytes;
}

// A sequence that ends with a match, one byte back; what goes on of its length stands in `longer`.
[[nodiscard]] Block sequence(std::string_view literals, unsigned match, std::initializer_list<unsigned> longer = {}) {
  return token(literals.size(), match).text(literals).raw({1, 0}).raw(longer);
}

[[nodiscard]] Block last_sequence(std::string_view literals) { return token(literals.size()).text(literals); }

[[nodiscard]] Block block_of(std::initializer_list<Block> sequences) {
  Bytes block;
  for (const Block& sequence : sequences) {
    block.append(sequence);
  }
  return block;
}

[[nodiscard]] Block joined(std::initializer_list<Block> blocks) {
  Lz4BlockJoiner joiner;
  for (const Block& block : blocks) {
    joiner.append(block, find_lz4_ends(block));
  }
  joiner.finish();
  Block whole;
  joiner.for_each([&](std::span<const std::byte> piece) { whole.insert(whole.end(), piece.begin(), piece.end()); });
  CHECK(joiner.size() == whole.size());
  return whole;
}

}  // namespace

TEST_CASE("find_lz4_ends: a block of literals alone is one sequence", "[lz4_block]") {
  for (const std::size_t count : {0U, 1U, 14U, 15U, 16U, 269U, 270U, 271U, 100'000U}) {
    CAPTURE(count);
    const Block block = last_sequence(std::string(count, 'x'));
    const Lz4Ends ends = find_lz4_ends(block);
    CHECK(ends.last.begin == 0);
    CHECK(ends.last.literals == block.size() - count);
    CHECK(ends.last.literals_end == block.size());
    CHECK(ends.first.literals == ends.last.literals);
    CHECK(ends.first.literals_end == ends.last.literals_end);
  }
}

TEST_CASE("find_lz4_ends: finds the last sequence behind matches of any length", "[lz4_block]") {
  const Block matches = block_of({sequence("a", 0), sequence("", 14), sequence("bc", 15, {0}),
                                  sequence(std::string(300, 'd'), 15, {255, 255, 3})});
  const Lz4Ends ends = find_lz4_ends(block_of({matches, last_sequence("efghi")}));
  CHECK(ends.first.begin == 0);
  CHECK(ends.first.literals == 1);
  CHECK(ends.first.literals_end == 2);
  CHECK(ends.last.begin == matches.size());
  CHECK(ends.last.literals == matches.size() + 1);
  CHECK(ends.last.literals_end == matches.size() + 6);
}

TEST_CASE("Lz4BlockJoiner: one block stays as it is", "[lz4_block]") {
  for (const Block& block : {last_sequence(""), last_sequence("abc"), last_sequence(std::string(1000, 'a')),
                             block_of({sequence("ab", 3), last_sequence("cdefg")}),
                             block_of({sequence("", 15, {7}), sequence("ab", 3), last_sequence("cdefg")})}) {
    CHECK(hex(joined({block})) == hex(block));
  }
}

TEST_CASE("Lz4BlockJoiner: no block at all is an empty sequence", "[lz4_block]") { CHECK(hex(joined({})) == "00"); }

TEST_CASE("Lz4BlockJoiner: the last literals of a block become the first ones of the next match", "[lz4_block]") {
  const Block first = block_of({sequence("ab", 3), last_sequence("cdefg")});
  const Block second = block_of({sequence("hi", 15, {4}), sequence("j", 1), last_sequence("klmno")});
  CHECK(hex(joined({first, second})) ==
        hex(block_of({sequence("ab", 3), sequence("cdefghi", 15, {4}), sequence("j", 1), last_sequence("klmno")})));
}

TEST_CASE("Lz4BlockJoiner: literals gather over blocks without a match", "[lz4_block]") {
  for (const std::size_t each : {1U, 5U, 84U, 85U, 100U, 50'000U}) {
    CAPTURE(each);
    const Block literals = last_sequence(std::string(each, 'x'));
    CHECK(hex(joined({literals, literals, literals})) == hex(last_sequence(std::string(3 * each, 'x'))));
    CHECK(hex(joined({literals, literals, block_of({sequence("y", 2), last_sequence("z")}), literals})) ==
          hex(block_of({sequence(std::string(2 * each, 'x') + "y", 2), last_sequence("z" + std::string(each, 'x'))})));
  }
}
