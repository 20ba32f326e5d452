// Snapshots as bytes: what is refused and as what, what an index's own save_to and load_from may do, and what the
// caller is told meanwhile.
#include "iqdb/persist/snapshot/snapshot.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist/persisted_index.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"
#include "support/files.hpp"
#include "support/memory_storage.hpp"
#include "support/outcome.hpp"
#include "support/sample_index.hpp"
#include "support/scripted_index.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace fs = std::filesystem;
using iqdb::Compression;
using iqdb::CompressionScheme;
using iqdb::FlatIndex;
using iqdb::PersistConfig;
using iqdb::PersistError;
using iqdb::PersistErrorKind;
using iqdb::Progress;
using iqdb::Reader;
using iqdb::Writer;
using iqdb_test::error_of;
using iqdb_test::MemoryFile;
using iqdb_test::MemoryStorage;
using iqdb_test::outcome_of;
using iqdb_test::require_kind;
using iqdb_test::Script;
using iqdb_test::ScriptedIndex;
using iqdb_test::TemporaryDirectory;

using FileBytes = std::vector<std::byte>;
using Db = iqdb::PersistedIndex<ScriptedIndex>;

// Offsets in the snapshot of a FlatIndex, whose tag has four bytes.
constexpr std::size_t version_at = 8;
constexpr std::size_t type_length_at = 12;
constexpr std::size_t type_at = 20;
constexpr std::size_t dim_at = 24;
constexpr std::size_t metric_at = 32;
constexpr std::size_t vectors_at = 33;
constexpr std::size_t checksum_at = 41;
constexpr std::size_t region_at = 45;
constexpr std::size_t data_at = region_at + 9;

const fs::path memory_path = "/memory/index.iqdb";

FlatIndex small_index() { return iqdb_test::make_sample_index(2, iqdb::DistanceMetric::manhattan, 4); }

template <class I>
FileBytes saved(const I& index, PersistConfig config = {}) {
  MemoryStorage storage;
  const auto lock = storage.lock(memory_path, std::chrono::milliseconds::zero());
  iqdb::save_snapshot(index, storage, lock, memory_path, config);
  return storage.files().at(memory_path);
}

FileBytes saved_with(Compression compression) { return saved(small_index(), {.compression = compression}); }

FlatIndex load(FileBytes bytes, const PersistConfig& config = {}) {
  return iqdb::load_snapshot<FlatIndex>(MemoryFile(std::move(bytes)), config).index;
}

// Makes the checksum fit what now stands in the region.
FileBytes with_right_checksum(FileBytes bytes) {
  iqdb::Crc32 checksum;
  checksum.update(std::span(bytes).subspan(region_at));
  std::ranges::copy(iqdb::to_little_endian(checksum.value()), bytes.begin() + checksum_at);
  return bytes;
}

template <class T>
FileBytes with_field(FileBytes bytes, std::size_t at, T value) {
  std::ranges::copy(iqdb::to_little_endian(value), bytes.begin() + static_cast<std::ptrdiff_t>(at));
  return bytes;
}

#if IQDB_PERSIST_HAS_LZ4
// The small index as LZ4 frames, which save() writes only for payloads of over 2 GB.
FileBytes saved_as_lz4_frames() {
  iqdb::MemorySink data;
  iqdb::coding::Lz4Encoder encoder(data, {.buffer_bytes = 4096, .helper_threads = 0}, 16);
  Writer payload(encoder);
  small_index().save_to(payload);
  payload.flush();
  encoder.finish();
  REQUIRE(encoder.scheme() == CompressionScheme::lz4_frames);

  FileBytes bytes = saved_with(Compression::none());
  bytes.resize(data_at);
  bytes[region_at] = static_cast<std::byte>(CompressionScheme::lz4_frames);
  bytes.insert(bytes.end(), data.bytes().begin(), data.bytes().end());
  return with_right_checksum(std::move(bytes));
}
#endif

// A snapshot of the small index in every scheme that this program can read.
std::vector<std::pair<std::string, FileBytes>> one_of_each_scheme() {
  std::vector<std::pair<std::string, FileBytes>> files{{"none", saved_with(Compression::none())}};
#if IQDB_PERSIST_HAS_ZSTD
  files.emplace_back("zstd", saved_with(Compression::zstd()));
#endif
#if IQDB_PERSIST_HAS_LZ4
  files.emplace_back("lz4 block", saved_with(Compression::lz4()));
  files.emplace_back("lz4 frames", saved_as_lz4_frames());
#endif
  return files;
}

// What a load says of a file in which something before the region was changed.
bool is_right_kind(std::size_t changed_at, const std::string& outcome) {
  if (changed_at < version_at) {
    return outcome == "bad_magic";
  }
  if (changed_at < type_length_at) {
    return outcome == "unsupported_version";
  }
  if (changed_at < type_at) {  // over the limit, over the file's end, or just not the tag any more
    return outcome == "invalid_payload" || outcome == "truncated_header" || outcome == "invalid_index_type";
  }
  if (changed_at < dim_at) {  // no UTF-8, or another type
    return outcome == "invalid_payload" || outcome == "invalid_index_type";
  }
  if (changed_at < metric_at) {
    return outcome == "invalid_payload";
  }
  if (changed_at < vectors_at) {  // no metric, or another than that of the index
    return outcome == "invalid_metric" || outcome == "invalid_payload";
  }
  if (changed_at < checksum_at) {
    return outcome == "invalid_payload";
  }
  return outcome == "checksum_mismatch";
}

using Strings = std::vector<std::string>;

std::string text_of(const std::exception_ptr& nested) {
  try {
    std::rethrow_exception(nested);
  } catch (const std::exception& error) {
    return error.what();
  } catch (int number) {
    return "the int " + std::to_string(number);
  }
}

// What is nested in the error that `callable` throws.
template <class Callable>
std::string nested_in_error_of(Callable&& callable) {
  try {
    callable();
  } catch (const std::nested_exception& error) {
    return text_of(error.nested_ptr());
  } catch (...) {
    return "nothing is nested";
  }
  return "nothing was thrown";
}

// A place where a text was saved.
class Scene {
 public:
  Scene() : path_(directory_ / "index.iqdb") {
    Db::open_with(ScriptedIndex("the old text"), {.path = path_}).save();
    old_file_ = iqdb_test::read_bytes(path_);
  }

  [[nodiscard]] PersistConfig config(std::function<void(const Progress&)> on_progress = {}) const {
    return {.path = path_, .on_progress = std::move(on_progress)};
  }
  // For an index that takes the place of the text.
  [[nodiscard]] PersistConfig replacing(std::function<void(const Progress&)> on_progress = {}) const {
    PersistConfig config = this->config(std::move(on_progress));
    config.replace_existing = true;
    return config;
  }
  [[nodiscard]] Db load() const { return Db::load(config()); }
  [[nodiscard]] const fs::path& path() const { return path_; }
  [[nodiscard]] bool has_old_file() const { return iqdb_test::read_bytes(path_) == old_file_; }
  [[nodiscard]] bool has_temporary() const { return fs::exists(path_.string() + ".tmp"); }

 private:
  TemporaryDirectory directory_;
  fs::path path_;
  FileBytes old_file_;
};

// Enough for several reports of progress.
std::string long_text() { return std::string(40 * 1024 * 1024, 'x'); }

struct Cancelled : std::runtime_error {
  Cancelled() : std::runtime_error("the user has had enough") {}
};

}  // namespace

// ---- Damage ---------------------------------------------------------------------------------------------------------

TEST_CASE("Every file that is undamaged loads", "[snapshot]") {
  for (const auto& [scheme, file] : one_of_each_scheme()) {
    INFO(scheme);
    CHECK(iqdb_test::difference(load(file), small_index()).empty());
  }
}

TEST_CASE("Every flipped bit is refused as the kind of what it damages", "[snapshot][damage]") {
  for (const auto& [scheme, file] : one_of_each_scheme()) {
    INFO(scheme);
    Strings wrong;
    for (std::size_t at = 0; at < file.size(); ++at) {
      for (unsigned bit = 0; bit < 8; ++bit) {
        FileBytes damaged = file;
        damaged[at] ^= static_cast<std::byte>(1U << bit);
        if (const std::string outcome = outcome_of([&] { return load(damaged); }); !is_right_kind(at, outcome)) {
          wrong.push_back("byte " + std::to_string(at) + " bit " + std::to_string(bit) + ": " + outcome);
        }
      }
    }
    CHECK(wrong == Strings{});
  }
}

TEST_CASE("Every truncation is refused as that of the header or as a wrong checksum", "[snapshot][damage]") {
  for (const auto& [scheme, file] : one_of_each_scheme()) {
    INFO(scheme);
    Strings wrong;
    for (std::size_t length = 0; length < file.size(); ++length) {
      const FileBytes cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length));
      const std::string outcome = outcome_of([&] { return load(cut); });
      if (outcome != (length < region_at ? "truncated_header" : "checksum_mismatch")) {
        wrong.push_back(std::to_string(length) + " bytes: " + outcome);
      }
    }
    CHECK(wrong == Strings{});
  }
}

TEST_CASE("Appended bytes are refused whatever they are", "[snapshot][damage]") {
  for (const auto& [scheme, file] : one_of_each_scheme()) {
    INFO(scheme);
    for (const std::size_t count : {1U, 4U, 45U, 70'000U}) {
      for (const std::byte value : {std::byte{0}, std::byte{0xFF}}) {
        FileBytes longer = file;
        longer.resize(file.size() + count, value);
        CHECK(outcome_of([&] { return load(longer); }) == "checksum_mismatch");
      }
    }
  }
}

TEST_CASE("A truncation with a checksum made to fit is refused by the codec or the length", "[snapshot][damage]") {
  for (const auto& [scheme, file] : one_of_each_scheme()) {
    INFO(scheme);
    Strings wrong;
    for (std::size_t length = region_at; length < file.size(); ++length) {
      const FileBytes cut =
          with_right_checksum(FileBytes(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length)));
      const std::string outcome = outcome_of([&] { return load(cut); });
      const std::string expected = length < data_at   ? "truncated_payload"
                                   : scheme == "none" ? "invalid_payload"
                                                      : "compression";
      if (outcome != expected) {
        wrong.push_back(std::to_string(length) + " bytes: " + outcome);
      }
    }
    CHECK(wrong == Strings{});
  }
}

TEST_CASE("Appended bytes with a checksum made to fit are refused", "[snapshot][damage]") {
  for (const auto& [scheme, file] : one_of_each_scheme()) {
    INFO(scheme);
    FileBytes longer = file;
    longer.push_back(std::byte{0});
    CHECK(outcome_of([&] { return load(with_right_checksum(longer)); }) ==
          (scheme == "none" ? "invalid_payload" : "compression"));
  }
}

TEST_CASE("A flipped bit with a checksum made to fit gives an error or an index but never a crash",
          "[snapshot][damage]") {
  // Without a codec, a flip in the scheme may name it.
  constexpr bool has_every_codec = IQDB_PERSIST_HAS_ZSTD != 0 && IQDB_PERSIST_HAS_LZ4 != 0;
  for (const auto& [scheme, file] : one_of_each_scheme()) {
    INFO(scheme);
    std::size_t refused = 0;
    Strings wrong;
    for (std::size_t at = region_at; at < file.size(); ++at) {
      for (unsigned bit = 0; bit < 8; ++bit) {
        FileBytes forged = file;
        forged[at] ^= static_cast<std::byte>(1U << bit);
        const std::string outcome = outcome_of([&] { return load(with_right_checksum(forged)); });
        refused += outcome == "ok" ? 0U : 1U;
        if (outcome != "ok" && outcome != "compression" && outcome != "invalid_payload" &&
            outcome != "invalid_metric" && !(outcome == "unsupported" && !has_every_codec)) {
          wrong.push_back("byte " + std::to_string(at) + " bit " + std::to_string(bit) + ": " + outcome);
        }
      }
    }
    CHECK(wrong == Strings{});
    CHECK(refused > 0);
  }
}

TEST_CASE("The header has to agree with the index that the payload gives", "[snapshot][damage]") {
  const FileBytes file = saved_with(Compression::none());
  const auto refusal = [](FileBytes bytes) {
    return std::string(require_kind(PersistErrorKind::invalid_payload, [&] { return load(std::move(bytes)); }).what());
  };
  CHECK(refusal(with_field(file, dim_at, std::uint64_t{3})).find("dimensions") != std::string::npos);
  CHECK(refusal(with_field(file, metric_at, std::uint8_t{0})).find("metric") != std::string::npos);
  CHECK(refusal(with_field(file, vectors_at, std::uint64_t{5})).find("number of vectors") != std::string::npos);
}

TEST_CASE("A damaged file is refused before anything of it reaches the index", "[snapshot][damage]") {
  FileBytes file = saved(ScriptedIndex("text"));
  file.back() ^= std::byte{1};
  bool reached = false;
  const Script script = Script::loading([&](Reader& reader) {
    reached = true;
    return ScriptedIndex::decode(reader);
  });
  require_kind(PersistErrorKind::checksum_mismatch,
               [&] { return iqdb::load_snapshot<ScriptedIndex>(MemoryFile(file), PersistConfig{}); });
  CHECK_FALSE(reached);
}

TEST_CASE("A file of another type of index is refused by both names", "[snapshot]") {
  const FileBytes file = saved(ScriptedIndex("text"));
  const PersistError error = require_kind(PersistErrorKind::invalid_index_type, [&] { return load(file); });
  CHECK(std::string(error.what()).find("scripted") != std::string::npos);
  CHECK(std::string(error.what()).find("flat") != std::string::npos);
}

TEST_CASE("The checks come in the order of the format", "[snapshot][damage]") {
  // Everything is wrong; each repair uncovers the next thing.
  const FileBytes good = saved_with(Compression::none());
  FileBytes file = good;
  file[0] = std::byte{'?'};
  file[version_at] = std::byte{9};
  file[type_length_at + 7] = std::byte{1};
  file[type_at] = std::byte{'F'};
  file[metric_at] = std::byte{9};
  file[checksum_at] ^= std::byte{1};
  Strings order;
  for (const std::size_t repaired : {std::size_t{0}, version_at, type_length_at + 7, type_at, metric_at, checksum_at}) {
    order.push_back(outcome_of([&] { return load(file); }));
    file[repaired] = good[repaired];
  }
  CHECK(order == Strings{"bad_magic", "unsupported_version", "invalid_payload", "invalid_index_type", "invalid_metric",
                         "checksum_mismatch"});
  CHECK(outcome_of([&] { return load(file); }) == "ok");
}

TEST_CASE("A version 1 file is its payload behind the header", "[snapshot]") {
  const FileBytes file = saved_with(Compression::none());
  FileBytes version_1 = with_field(file, version_at, std::uint32_t{1});
  version_1.erase(version_1.begin() + region_at, version_1.begin() + data_at);
  CHECK(iqdb_test::difference(load(with_right_checksum(version_1)), small_index()).empty());
}

// ---- What an index's load_from does ---------------------------------------------------------------------------------

TEST_CASE("An exception of the index's load_from becomes index_build with the exception nested",
          "[snapshot][load_from]") {
  const Scene scene;
  const Script script = Script::loading([](Reader&) -> ScriptedIndex { throw std::runtime_error("bad graph"); });
  const PersistError error = require_kind(PersistErrorKind::index_build, [&] { return scene.load(); });
  CHECK(std::string(error.what()).find("bad graph") != std::string::npos);
  CHECK(std::string(error.what()).find(scene.path().string()) != std::string::npos);
  CHECK(nested_in_error_of([&] { return scene.load(); }) == "bad graph");
}

TEST_CASE("The error of an index that could not be built names the file", "[snapshot][load_from]") {
  const Scene scene;
  const Script script = Script::loading([](Reader&) -> ScriptedIndex { throw std::runtime_error("bad graph"); });
  CHECK(error_of([&] { return scene.load(); }).path() == scene.path());
}

TEST_CASE("What is no std::exception becomes index_build too", "[snapshot][load_from]") {
  const Scene scene;
  const Script script = Script::loading([](Reader&) -> ScriptedIndex { throw 42; });
  require_kind(PersistErrorKind::index_build, [&] { return scene.load(); });
  CHECK(nested_in_error_of([&] { return scene.load(); }) == "the int 42");
}

TEST_CASE("Memory that runs out in the index's load_from is std::bad_alloc and no wrong file",
          "[snapshot][load_from]") {
  const Scene scene;
  const Script script = Script::loading([](Reader&) -> ScriptedIndex { throw std::bad_alloc(); });
  CHECK_THROWS_AS(scene.load(), std::bad_alloc);
}

TEST_CASE("A PersistError of the index's load_from keeps its kind and gets the file's name", "[snapshot][load_from]") {
  const Scene scene;
  const Script script = Script::loading([](Reader& reader) -> ScriptedIndex {
    std::ignore = reader.read_le<std::uint32_t>();
    reader.fail(PersistErrorKind::invalid_payload, "no such layer");
  });
  const PersistError error = require_kind(PersistErrorKind::invalid_payload, [&] { return scene.load(); });
  CHECK(error.path() == scene.path());
  CHECK(error.offset() == 4U);
  CHECK(std::string(error.what()).find("no such layer") != std::string::npos);
}

TEST_CASE("An index that leaves bytes of its payload unread is refused", "[snapshot][load_from]") {
  const Scene scene;
  const Script script = Script::loading([](Reader& reader) {
    std::ignore = reader.read_le<std::uint64_t>();
    return ScriptedIndex(reader.read_string(reader.remaining() - 1));
  });
  const PersistError error = require_kind(PersistErrorKind::invalid_payload, [&] { return scene.load(); });
  CHECK(std::string(error.what()).find("1 bytes") != std::string::npos);
}

TEST_CASE("An index that reads beyond its payload gets truncated_payload", "[snapshot][load_from]") {
  const Scene scene;
  const Script script = Script::loading([](Reader& reader) {
    std::ignore = reader.read_string(reader.remaining());
    return ScriptedIndex(std::string(1, reader.read_le<char>()));
  });
  require_kind(PersistErrorKind::truncated_payload, [&] { return scene.load(); });
}

// ---- What an index's save_to does -----------------------------------------------------------------------------------

TEST_CASE("An exception of the index's save_to passes unchanged and the old file stands", "[snapshot][save_to]") {
  const Scene scene;
  const bool after_some_bytes = GENERATE(false, true);
  const Script script = Script::saving([&](Writer& writer) {
    if (after_some_bytes) {
      writer.write(FileBytes(1'000'000));
    }
    throw std::out_of_range("half a graph");
  });
  Db db = Db::open_with(ScriptedIndex("new"), scene.replacing());
  CHECK_THROWS_MATCHES(db.save(), std::out_of_range, Catch::Matchers::Message("half a graph"));
  CHECK(scene.has_old_file());
  CHECK_FALSE(scene.has_temporary());
}

TEST_CASE("What is no std::exception passes through a save unchanged", "[snapshot][save_to]") {
  const Scene scene;
  const Script script = Script::saving([](Writer&) { throw 42; });
  Db db = Db::open_with(ScriptedIndex("new"), scene.replacing());
  CHECK_THROWS_AS(db.save(), int);
  CHECK(scene.has_old_file());
  CHECK_FALSE(scene.has_temporary());
}

TEST_CASE("After a save_to that threw the next save works", "[snapshot][save_to]") {
  const Scene scene;
  Db db = Db::open_with(ScriptedIndex("new"), scene.replacing());
  {
    const Script script = Script::saving([](Writer&) { throw std::runtime_error("not yet"); });
    CHECK_THROWS_AS(db.save(), std::runtime_error);
  }
  db.save();
  CHECK(scene.load().index().text() == "new");
}

// ---- Progress -------------------------------------------------------------------------------------------------------

TEST_CASE("A save reports bytes of the payload and once more at the end", "[snapshot][progress]") {
  const TemporaryDirectory directory;
  std::vector<Progress> reports;
  Db db = Db::open_with(ScriptedIndex(long_text()), {.path = directory / "index.iqdb",
                                                     .on_progress = [&](const Progress& p) { reports.push_back(p); }});
  const std::uint64_t payload = db.save().payload_bytes;
  REQUIRE(reports.size() >= 3);
  for (std::size_t at = 0; at < reports.size(); ++at) {
    CHECK(reports[at].phase == Progress::Phase::save);
    CHECK(reports[at].total == 0);  // an index need not know what it is going to write
    CHECK((at == 0 || reports[at - 1].done <= reports[at].done));
  }
  CHECK(reports.back().done == payload);
}

TEST_CASE("A load reports its verification and then its decoding each up to the total", "[snapshot][progress]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  const std::uint64_t payload = Db::open_with(ScriptedIndex(long_text()), {.path = path}).save().payload_bytes;
  std::vector<Progress> reports;
  // Alone: with helpers it depends on who is quicker how often the calling thread has something to report.
  std::ignore =
      Db::load({.path = path, .on_progress = [&](const Progress& p) { reports.push_back(p); }, .helper_threads = 0});
  const auto first_of_load =
      std::ranges::find_if(reports, [](const Progress& report) { return report.phase != Progress::Phase::verify; });
  const std::vector<Progress> verify(reports.begin(), first_of_load);
  const std::vector<Progress> decode(first_of_load, reports.end());
  REQUIRE(verify.size() >= 3);
  REQUIRE(decode.size() >= 2);
  CHECK(std::ranges::all_of(decode, [](const Progress& report) { return report.phase == Progress::Phase::load; }));
  CHECK(std::ranges::all_of(verify, [&](const Progress& report) { return report.total == payload + 9; }));
  CHECK(std::ranges::all_of(decode, [&](const Progress& report) { return report.total == payload; }));
  CHECK(std::ranges::is_sorted(verify, {}, &Progress::done));
  CHECK(std::ranges::is_sorted(decode, {}, &Progress::done));
  CHECK(verify.back().done == payload + 9);
  CHECK(decode.back().done == payload);
}

TEST_CASE("The total of a compressed load is the payload's and not the file's", "[snapshot][progress]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  std::vector<Compression> codecs;
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    codecs.push_back(Compression::zstd());
  }
  if (IQDB_PERSIST_HAS_LZ4 != 0) {
    codecs.push_back(Compression::lz4());
  }
  for (const Compression compression : codecs) {
    const std::uint64_t payload = Db::open_with(ScriptedIndex(std::string(100'000, 'x')),
                                                {.path = path, .compression = compression, .replace_existing = true})
                                      .save()
                                      .payload_bytes;
    std::optional<Progress> last;
    std::ignore = Db::load({.path = path, .on_progress = [&](const Progress& p) { last = p; }});
    REQUIRE(last);
    CHECK(last->phase == Progress::Phase::load);
    CHECK(last->done == payload);
    CHECK(last->total == payload);
  }
}

TEST_CASE("An exception from on_progress cancels a save at any report and the old file stands",
          "[snapshot][progress]") {
  const Scene scene;
  const std::size_t at_report = GENERATE(0U, 1U, 2U);
  std::size_t reports = 0;
  Db db = Db::open_with(ScriptedIndex(long_text()), scene.replacing([&](const Progress&) {
    if (reports++ == at_report) {
      throw Cancelled();
    }
  }));
  CHECK_THROWS_AS(db.save(), Cancelled);
  CHECK(scene.has_old_file());
  CHECK_FALSE(scene.has_temporary());
}

TEST_CASE("An exception from on_progress cancels a load at any report and passes unchanged", "[snapshot][progress]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  Db::open_with(ScriptedIndex(long_text()), {.path = path}).save();
  std::size_t all = 0;
  // With helpers it is not certain how many reports there are.
  std::ignore = Db::load({.path = path, .on_progress = [&](const Progress&) { ++all; }, .helper_threads = 0});
  REQUIRE(all >= 5);
  for (std::size_t at_report = 0; at_report < all; ++at_report) {
    std::size_t reports = 0;
    const auto cancel = [&](const Progress&) {
      if (reports++ == at_report) {
        throw Cancelled();
      }
    };
    CHECK_THROWS_AS(Db::load({.path = path, .on_progress = cancel, .helper_threads = 0}), Cancelled);
    CHECK(reports == at_report + 1);
  }
}

TEST_CASE("What is no std::exception cancels a load and passes unchanged", "[snapshot][progress]") {
  const Scene scene;
  const auto phase = GENERATE(Progress::Phase::verify, Progress::Phase::load);
  CHECK_THROWS_AS(Db::load(scene.config([&](const Progress& progress) {
                    if (progress.phase == phase) {
                      throw 42;
                    }
                  })),
                  int);
}

TEST_CASE("What is no std::exception cancels a load while the index is made and passes unchanged",
          "[snapshot][progress]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  Db::open_with(ScriptedIndex(long_text()), {.path = path}).save();
  const auto cancel = [](const Progress& progress) {
    if (progress.phase == Progress::Phase::load) {
      REQUIRE(progress.done < progress.total);
      throw 42;
    }
  };
  CHECK_THROWS_AS(Db::load({.path = path, .on_progress = cancel, .helper_threads = 0}), int);
}

// ---- What is written ------------------------------------------------------------------------------------------------

TEST_CASE("SnapshotInfo says what is in the file", "[snapshot]") {
  const TemporaryDirectory directory;
  const fs::path path = directory / "index.iqdb";
  std::vector<Compression> codecs{Compression::none()};
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    codecs.push_back(Compression::zstd());
  }
  if (IQDB_PERSIST_HAS_LZ4 != 0) {
    codecs.push_back(Compression::lz4());
  }
  for (const Compression compression : codecs) {
    const iqdb::SnapshotInfo info = Db::open_with(ScriptedIndex(std::string(100'000, 'x')),
                                                  {.path = path, .compression = compression, .replace_existing = true})
                                        .save();
    CHECK(info.file_bytes == fs::file_size(path));
    CHECK(info.payload_bytes == 100'008);
    CHECK(info.vectors == 100'000);
    CHECK(info.lsn == 0);
    CHECK(info.elapsed.count() > 0);
    CHECK((compression == Compression::none()) == (info.file_bytes > info.payload_bytes));
  }
}

TEST_CASE("A file of any codec loads whatever compression is configured", "[snapshot]") {
  std::vector<Compression> codecs{Compression::none()};
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    codecs.push_back(Compression::zstd(1));
  }
  if (IQDB_PERSIST_HAS_LZ4 != 0) {
    codecs.push_back(Compression::lz4());
  }
  for (const Compression configured : codecs) {
    for (const auto& [scheme, file] : one_of_each_scheme()) {
      INFO(scheme);
      CHECK(iqdb_test::difference(load(file, {.compression = configured}), small_index()).empty());
    }
  }
}

TEST_CASE("Neither buffers nor helpers change what is written without compression", "[snapshot]") {
  const FlatIndex index = iqdb_test::make_sample_index(64, iqdb::DistanceMetric::cosine, 1000);
  const FileBytes usual = saved(index);
  CHECK(saved(index, {.buffer_bytes = 4096, .helper_threads = 0}) == usual);
  CHECK(saved(index, {.buffer_bytes = 4097, .helper_threads = 8}) == usual);
  CHECK(saved(index, {.buffer_bytes = std::size_t{16} << 20U}) == usual);
}

TEST_CASE("Files of every codec load through the smallest buffers and without helpers", "[snapshot]") {
  const FlatIndex index = iqdb_test::make_sample_index(64, iqdb::DistanceMetric::cosine, 1000);
  std::vector<Compression> codecs{Compression::none()};
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    codecs.push_back(Compression::zstd());
  }
  if (IQDB_PERSIST_HAS_LZ4 != 0) {
    codecs.push_back(Compression::lz4());
  }
  for (const Compression compression : codecs) {
    const PersistConfig config{.compression = compression, .buffer_bytes = 4096, .helper_threads = 0};
    CHECK(iqdb_test::difference(load(saved(index, config), config), index).empty());
  }
}

TEST_CASE("What was loaded and saved again is the same file", "[snapshot]") {
  const FileBytes file = saved_with(Compression::none());
  CHECK(saved(load(file)) == file);
}
