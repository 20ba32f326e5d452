// The model of a disk: what may have become of a file that was not synced.
#include "iqdb/persist/testing/disk_model.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/persist/testing/random.hpp"
#include "support/bytes.hpp"
#include "support/catch.hpp"

namespace of_disk_model {

namespace {

using namespace std::string_literals;
using iqdb::testing::FileChange;
using iqdb::testing::FileOutcomes;
using iqdb::testing::Random;
using iqdb::testing::saturating_product;
using iqdb::testing::saturating_sum;
using iqdb::testing::sector_bytes;
using iqdb::testing::SharedBytes;
using iqdb::testing::SimulatedFile;
using iqdb_test::Bytes;
using iqdb_test::shared;
using iqdb_test::text_of;
using Texts = std::set<std::string>;

// A file that was synced as `synced`, and is changed by what is called afterwards.
class EditedFile {
 public:
  explicit EditedFile(std::string_view synced) { file_.visible = file_.synced = shared(synced); }

  EditedFile& write(std::uint64_t offset, std::string_view text) {
    return change({.kind = FileChange::Kind::write, .offset = offset, .bytes = Bytes().text(text)});
  }
  EditedFile& truncate(std::uint64_t size) {
    return change({.kind = FileChange::Kind::truncate, .offset = size, .bytes = {}});
  }

  [[nodiscard]] const SimulatedFile& file() const { return file_; }
  [[nodiscard]] FileOutcomes outcomes(const SharedBytes& stale = {}, std::uint64_t seed = 1) const {
    return {file_, stale, seed};
  }

 private:
  EditedFile& change(FileChange change) {
    auto content = std::make_shared<std::vector<std::byte>>(*file_.visible);
    make_change(*content, change);
    file_.visible = content;
    file_.unsynced.push_back(std::move(change));
    return *this;
  }

  SimulatedFile file_;
};

std::vector<std::string> list(const FileOutcomes& outcomes) {
  std::vector<std::string> all;
  for (std::uint64_t number = 0; number < outcomes.count(); ++number) {
    all.push_back(text_of(*outcomes.at(number)));
  }
  return all;
}

Texts all_of(const FileOutcomes& outcomes) {
  const std::vector<std::string> all = list(outcomes);
  return {all.begin(), all.end()};
}

// What so many draws give.
Texts drawn_from(const FileOutcomes& outcomes, int draws) {
  Random random(3);
  Texts all;
  for (int draw = 0; draw < draws; ++draw) {
    all.insert(text_of(*outcomes.any(random)));
  }
  return all;
}

std::string sector_of(char each) { return std::string(sector_bytes, each); }

std::string changed(std::string content, const FileChange& change,
                    std::size_t most_bytes = std::numeric_limits<std::size_t>::max()) {
  std::vector<std::byte> bytes = Bytes().text(content);
  make_change(bytes, change, most_bytes);
  return text_of(bytes);
}

FileChange write_of(std::uint64_t offset, std::string_view text) {
  return {.kind = FileChange::Kind::write, .offset = offset, .bytes = Bytes().text(text)};
}

FileChange truncate_of(std::uint64_t size) { return {.kind = FileChange::Kind::truncate, .offset = size, .bytes = {}}; }

}  // namespace

// ---- A change -------------------------------------------------------------------------------------------------------

TEST_CASE("make_change: a write replaces bytes and lengthens the file where it must", "[testing]") {
  CHECK(changed("abcdef", write_of(2, "XY")) == "abXYef");
  CHECK(changed("abc", write_of(2, "XY")) == "abXY");
  CHECK(changed("abc", write_of(5, "X")) == "abc\0\0X"s);
}

TEST_CASE("make_change: a write of nothing changes nothing wherever it is", "[testing]") {
  CHECK(changed("abc", write_of(100, "")) == "abc");
}

TEST_CASE("make_change: of a write that is cut short only the first bytes are there", "[testing]") {
  CHECK(changed("abcd", write_of(1, "XYZ"), 2) == "aXYd");
  CHECK(changed("abcd", write_of(9, "XYZ"), 0) == "abcd");
  CHECK(changed("abcd", write_of(3, "XYZ"), 100) == "abcXYZ");
}

TEST_CASE("make_change: truncate cuts off or fills up with zeros", "[testing]") {
  CHECK(changed("abcd", truncate_of(1)) == "a");
  CHECK(changed("abcd", truncate_of(6)) == "abcd\0\0"s);
}

// ---- What may be on the disk ----------------------------------------------------------------------------------------

TEST_CASE("FileOutcomes: a synced file is as it was synced", "[testing]") {
  const FileOutcomes outcomes = EditedFile("abc").outcomes(shared(sector_of('s')));
  CHECK(outcomes.count() == 1);
  CHECK(text_of(*outcomes.at(0)) == "abc");
  CHECK(text_of(*outcomes.everything()) == "abc");
  CHECK(drawn_from(outcomes, 5) == Texts{"abc"});
}

TEST_CASE("FileOutcomes: a write within a sector is there or not there or any prefix of it is", "[testing]") {
  CHECK(list(EditedFile("abcdef").write(1, "BCD").outcomes()) ==
        std::vector<std::string>{"abcdef", "aBCDef", "aBcdef", "aBCdef"});
}

TEST_CASE("FileOutcomes: a prefix that changes nothing is no outcome of its own", "[testing]") {
  CHECK(list(EditedFile("abcde").write(0, "aBcDe").outcomes()) == std::vector<std::string>{"abcde", "aBcDe", "aBcde"});
  CHECK(EditedFile("abc").write(0, "abc").outcomes().count() == 1);
}

TEST_CASE("FileOutcomes: sectors are independent of each other", "[testing]") {
  const std::string before = sector_of('a').substr(1);
  const std::string behind = sector_of('z').substr(1);
  Texts expected;
  for (const std::string first : {"a", "1"}) {
    for (const std::string second : {"z", "2"}) {
      expected.insert(before + first + second + behind);
    }
  }
  const FileOutcomes outcomes = EditedFile(sector_of('a') + sector_of('z')).write(sector_bytes - 1, "12").outcomes();
  CHECK(outcomes.count() == 4);
  CHECK(all_of(outcomes) == expected);
}

TEST_CASE("FileOutcomes: a torn write is torn in each of its sectors at another place", "[testing]") {
  const FileOutcomes outcomes = EditedFile(sector_of('a') + sector_of('z')).write(sector_bytes - 2, "1234").outcomes();
  CHECK(outcomes.count() == 3 * 3);
  const Texts all = all_of(outcomes);
  CHECK(all.size() == 9);
  std::string torn_twice = sector_of('a') + sector_of('z');
  torn_twice[sector_bytes - 2] = '1';
  torn_twice[sector_bytes] = '3';
  CHECK(all.contains(torn_twice));
}

TEST_CASE("FileOutcomes: bytes outside of what was written stay", "[testing]") {
  Random content(1);
  std::string synced(2000, ' ');
  std::ranges::generate(synced, [&] { return static_cast<char>('a' + content.below(26)); });
  const FileOutcomes outcomes = EditedFile(synced).write(600, std::string(700, '#')).outcomes(shared(sector_of('s')));
  for (const std::string& drawn : drawn_from(outcomes, 300)) {
    REQUIRE(drawn.size() == synced.size());
    CHECK(drawn.substr(0, 600) == synced.substr(0, 600));
    CHECK(drawn.substr(1300) == synced.substr(1300));
  }
}

TEST_CASE("FileOutcomes: of several writes to a sector each may be the last that is there", "[testing]") {
  CHECK(all_of(EditedFile("abc").write(0, "XYZ").write(0, "PQR").outcomes()) ==
        Texts{"abc", "XYZ", "PQR",           // whole
              "Xbc", "XYc",                  // the first over what was synced
              "PYZ", "PQZ", "Pbc", "PQc"});  // the second over either
}

TEST_CASE("FileOutcomes: of writes to two sectors the later may be there without the earlier", "[testing]") {
  const FileOutcomes outcomes =
      EditedFile(sector_of('a') + sector_of('b')).write(0, "1").write(sector_bytes, "2").outcomes();
  const std::string second_alone = sector_of('a') + "2" + sector_of('b').substr(1);
  CHECK(outcomes.count() == 4);
  CHECK(all_of(outcomes).contains(second_alone));
}

// ---- Size -----------------------------------------------------------------------------------------------------------

TEST_CASE("FileOutcomes: the file may have every size that it had since the sync", "[testing]") {
  std::set<std::size_t> sizes;
  for (const std::string& each :
       list(EditedFile("ab").write(2, "cd").truncate(1).write(1, "xyz").truncate(7).truncate(0).outcomes())) {
    sizes.insert(each.size());
  }
  CHECK(sizes == std::set<std::size_t>{0, 1, 2, 4, 7});
}

TEST_CASE("FileOutcomes: the size is independent of the bytes", "[testing]") {
  // Longer without the bytes: they read as zeros. Shorter although the bytes were written: they are cut off.
  CHECK(all_of(EditedFile("ab").write(1, "XY").outcomes()) == Texts{"ab", "aX", "ab\0"s, "aX\0"s, "aXY"});
}

TEST_CASE("FileOutcomes: a file that was cut off may still be whole", "[testing]") {
  const Texts all = all_of(EditedFile("abcd").truncate(2).outcomes());
  CHECK(all.contains("abcd"));
  CHECK(all.contains("ab"));
  // The sector may be as the cut has made it, and the size not yet.
  CHECK(all.contains("ab\0\0"s));
}

TEST_CASE("FileOutcomes: what is written behind a cut may be there with what was cut off behind it", "[testing]") {
  const FileOutcomes outcomes = EditedFile("abcd").truncate(0).write(0, "XY").outcomes();
  const std::string versions[] = {"abcd", "\0\0\0\0"s, "XY\0\0"s};
  Texts whole = {versions[0], versions[1],              // and torn, the cut over what was synced:
                 "\0bcd"s,    "\0\0cd"s,   "\0\0\0d"s,  // the write over the cut:
                 versions[2], "X\0\0\0"s,               // and over what was synced:
                 "Xbcd"s,     "XYcd"s,     "XY\0d"s};
  Texts expected = whole;
  expected.insert("");
  for (const std::string& each : whole) {
    expected.insert(each.substr(0, 2));
  }
  CHECK(all_of(outcomes) == expected);
  CHECK(all_of(outcomes).contains("XYcd"));
}

// ---- Zeros and garbage ----------------------------------------------------------------------------------------------

TEST_CASE("FileOutcomes: a sector that held nothing may hold zeros or garbage once it was written", "[testing]") {
  CHECK(all_of(EditedFile("").write(0, "ab").outcomes(shared("PQRS"))) == Texts{"", "\0\0"s, "ab", "a\0"s, "PQ", "aQ"});
}

TEST_CASE("FileOutcomes: a sector that held synced bytes never holds garbage", "[testing]") {
  const SharedBytes stale = shared(sector_of('S'));
  CHECK(all_of(EditedFile("ab").write(0, "XYZ").outcomes(stale)) ==
        Texts{"ab", "ab\0"s, "Xb", "Xb\0"s, "XY", "XY\0"s, "XYZ"});
  for (const std::string& each : list(EditedFile("abcdef").truncate(0).write(0, "XY").outcomes(stale))) {
    CHECK(each.find('S') == std::string::npos);
  }
}

TEST_CASE("FileOutcomes: a sector that held synced bytes holds no zeros that nothing has put there", "[testing]") {
  for (const std::string& each : list(EditedFile("abcdef").write(0, "XY").write(4, "Z").outcomes())) {
    CHECK(each.find('\0') == std::string::npos);
  }
}

TEST_CASE("FileOutcomes: behind the last synced sector garbage is possible and before it not", "[testing]") {
  const std::string grown = sector_of('n') + sector_of('n');
  bool seen = false;
  for (const std::string& each :
       drawn_from(EditedFile("abc").write(0, grown).outcomes(shared(sector_of('S') + sector_of('S'))), 300)) {
    CHECK(each.substr(0, sector_bytes).find('S') == std::string::npos);
    seen = seen || each.find('S') != std::string::npos;
  }
  CHECK(seen);
}

TEST_CASE("FileOutcomes: what is only grown over and not written holds zeros", "[testing]") {
  const SharedBytes stale = shared(sector_of('S') + sector_of('S') + sector_of('S'));
  CHECK(all_of(EditedFile("").truncate(600).outcomes(stale)) == Texts{"", std::string(600, '\0')});
  // A write behind a hole.
  const FileOutcomes hole = EditedFile("").write(2 * sector_bytes, "x").outcomes(stale);
  const std::string zeros(2 * sector_bytes, '\0');
  CHECK(all_of(hole) == Texts{"", zeros + "x", zeros + "\0"s, zeros + "S"});
}

TEST_CASE("FileOutcomes: garbage is what stood at the same place of a file that is gone", "[testing]") {
  const SharedBytes stale = shared(sector_of('S') + "T");
  const FileOutcomes outcomes = EditedFile("").write(0, std::string(sector_bytes + 2, 'n')).outcomes(stale);
  const Texts all = drawn_from(outcomes, 300);
  const std::string new_sector = sector_of('n');
  CHECK(all.contains(sector_of('S') + "nn"));
  CHECK(all.contains(new_sector + "T\0"s));
  // A prefix of what was written, with garbage behind it.
  CHECK(std::ranges::any_of(all, [](const std::string& each) {
    const std::size_t first = each.find('S');
    return first != 0 && first < sector_bytes && each.find('n') == 0;
  }));
}

TEST_CASE("FileOutcomes: where no file is gone garbage follows from the seed", "[testing]") {
  const EditedFile edited = EditedFile("").write(0, "abcdefgh");
  const SharedBytes none;
  const Texts expected = all_of(edited.outcomes(none, 1));
  CHECK(all_of(edited.outcomes(none, 1)) == expected);
  CHECK(all_of(edited.outcomes(none, 2)) != expected);
  // Zeros are no garbage: they are an outcome already.
  CHECK(all_of(edited.outcomes(shared(std::string(8, '\0')), 1)) == expected);
}

// ---- Numbers --------------------------------------------------------------------------------------------------------

namespace {

std::vector<EditedFile> edited_files() {
  return {EditedFile("abc"),
          EditedFile("abcdef").write(1, "BCD"),
          EditedFile("ab").write(1, "XYZ"),
          EditedFile("abcd").truncate(1),
          EditedFile("abcd").truncate(0).write(0, "XY"),
          EditedFile("abc").write(0, "XYZ").write(0, "PQR"),
          EditedFile(sector_of('a') + sector_of('z')).write(sector_bytes - 2, "1234"),
          EditedFile("ab").truncate(600),
          EditedFile("").write(3, "x").write(0, "y")};
}

}  // namespace

TEST_CASE("FileOutcomes: the first number is what was synced", "[testing]") {
  for (const EditedFile& edited : edited_files()) {
    CHECK(*edited.outcomes().at(0) == *edited.file().synced);
  }
}

TEST_CASE("FileOutcomes: everything is what is visible and has a number", "[testing]") {
  for (const EditedFile& edited : edited_files()) {
    const FileOutcomes outcomes = edited.outcomes();
    CHECK(*outcomes.everything() == *edited.file().visible);
    CHECK(all_of(outcomes).contains(text_of(*edited.file().visible)));
  }
}

TEST_CASE("FileOutcomes: what is drawn is what has a number", "[testing]") {
  for (const EditedFile& edited : edited_files()) {
    const FileOutcomes outcomes = edited.outcomes(shared("STALE"));
    CHECK(drawn_from(outcomes, 3000) == all_of(outcomes));
  }
}

TEST_CASE("FileOutcomes: what is drawn is old or new or torn about as often", "[testing]") {
  const FileOutcomes outcomes = EditedFile(sector_of('a')).write(0, sector_of('b')).outcomes();
  CHECK(outcomes.count() == 1 + sector_bytes);
  Random random(1);
  int old_ones = 0;
  int new_ones = 0;
  constexpr int draws = 1000;
  for (int draw = 0; draw < draws; ++draw) {
    const std::string drawn = text_of(*outcomes.any(random));
    old_ones += drawn == sector_of('a') ? 1 : 0;
    new_ones += drawn == sector_of('b') ? 1 : 0;
  }
  CHECK(old_ones > draws / 5);
  CHECK(new_ones > draws / 5);
  CHECK(draws - old_ones - new_ones > draws / 5);
}

TEST_CASE("FileOutcomes: where each sector is written once and the size stays no number repeats another", "[testing]") {
  Random random(1);
  for (int round = 0; round < 30; ++round) {
    std::string synced(3 * sector_bytes, ' ');
    std::ranges::generate(synced, [&] { return static_cast<char>('a' + random.below(3)); });
    std::string written(1 + random.below(60), ' ');
    std::ranges::generate(written, [&] { return static_cast<char>('a' + random.below(3)); });
    // Across the border of two sectors, now and then.
    const FileOutcomes outcomes =
        EditedFile(synced).write(sector_bytes - random.below(written.size() + 1), written).outcomes();
    CHECK(list(outcomes).size() == outcomes.count());
    CHECK(all_of(outcomes).size() == outcomes.count());
  }
}

TEST_CASE("FileOutcomes: a number means the same whenever it is asked", "[testing]") {
  const FileOutcomes outcomes = EditedFile("").write(0, "abcdefgh").outcomes();
  CHECK(list(outcomes) == list(outcomes));
}

TEST_CASE("FileOutcomes: where there are more than numbers the count is the largest one and drawing goes on",
          "[testing]") {
  const std::string before(100 * sector_bytes, 'a');
  const std::string after(100 * sector_bytes, 'b');
  const FileOutcomes outcomes = EditedFile(before).write(0, after).outcomes();
  CHECK(outcomes.count() == std::numeric_limits<std::uint64_t>::max());
  Random random(1);
  const std::string drawn = text_of(*outcomes.any(random));
  CHECK(drawn.size() == before.size());
  CHECK(drawn.find_first_not_of("ab") == std::string::npos);
}

TEST_CASE("Saturating counts: beyond the largest number stands the largest number", "[testing]") {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  CHECK(saturating_sum(1, 2) == 3);
  CHECK(saturating_sum(most - 1, 1) == most);
  CHECK(saturating_sum(most, 1) == most);
  CHECK(saturating_sum(most, most) == most);
  CHECK(saturating_product(6, 7) == 42);
  CHECK(saturating_product(0, most) == 0);
  CHECK(saturating_product(most, 0) == 0);
  CHECK(saturating_product(most, 1) == most);
  CHECK(saturating_product(std::uint64_t{1} << 32U, (std::uint64_t{1} << 32U) - 1) == most - 0xFFFFFFFFU);
  CHECK(saturating_product(std::uint64_t{1} << 32U, std::uint64_t{1} << 32U) == most);
}

// ---- After a failed sync --------------------------------------------------------------------------------------------

TEST_CASE("FileOutcomes: what a failed sync has lost is visible and in no outcome", "[testing]") {
  SimulatedFile file;
  file.synced = shared("abc");
  file.visible = shared("LOSt");
  file.lost_some = true;
  file.unsynced.push_back(write_of(2, "Z"));
  const FileOutcomes outcomes(file, {}, 1);
  CHECK(text_of(*with_all_changes(file)) == "abZ");
  CHECK(text_of(*outcomes.everything()) == "abZ");
  CHECK(all_of(outcomes) == Texts{"abc", "abZ"});
}

}  // namespace of_disk_model
