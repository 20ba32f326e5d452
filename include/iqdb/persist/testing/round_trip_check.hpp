// check_round_trip: checks that a saved and loaded index equals the original.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/config.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/snapshot/snapshot.hpp"
#include "iqdb/persist/storage/file_storage.hpp"
#include "iqdb/persist/testing/conformance_options.hpp"
#include "iqdb/persist/testing/observation.hpp"
#include "iqdb/persist/testing/random_mutations.hpp"
#include "iqdb/persist/testing/simulated_file_system.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/persist/wal/wal_format.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

namespace conformance {

// The codecs in this build.
[[nodiscard]] inline std::vector<Compression> built_in_codecs() {
  std::vector<Compression> codecs = {Compression::none()};
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    codecs.push_back(Compression::zstd(1));
  }
  if (IQDB_PERSIST_HAS_LZ4 != 0) {
    codecs.push_back(Compression::lz4());
  }
  return codecs;
}

[[nodiscard]] constexpr std::string_view name_of(Compression::Codec codec) noexcept {
  return codec == Compression::Codec::none ? "uncompressed" : codec == Compression::Codec::zstd ? "zstd" : "LZ4";
}

// Calls `action`. An exception breaks a promise.
template <class Action>
decltype(auto) must_not_throw(std::string_view action_in_words, const History& history, std::string_view promise,
                              std::string_view advice, Action&& action) {
  std::string thrown;
  try {
    return std::forward<Action>(action)();
  } catch (const Violation&) {
    throw;
  } catch (const std::exception& error) {
    thrown = error.what();
  } catch (...) {
    thrown = "what is no std::exception";
  }
  violated(std::string(action_in_words) + " throws: " + thrown, history, promise, advice);
}

template <Persistable I>
[[nodiscard]] std::string save_payload(const I& index, const History& history) {
  return must_not_throw("save_to", history, "an index that was made by valid calls can be saved",
                        "what does save_to throw of its own?", [&] { return payload_of(index); });
}

// Makes an index from its payload, which must be read to its end.
template <Persistable I>
[[nodiscard]] I load_payload(const std::string& payload, const History& history) {
  constexpr std::string_view promise = "load_from reads what save_to has written, exactly";
  Reader reader(std::as_bytes(std::span(payload)));
  try {
    I loaded = PersistTraits<I>::load_from(reader);
    if (reader.remaining() > 0) {
      violated("load_from left " + std::to_string(reader.remaining()) + " of " + std::to_string(payload.size()) +
                   " bytes unread",
               history, promise, "which field does save_to write that load_from does not read?");
    }
    return loaded;
  } catch (const Violation&) {
    throw;
  } catch (const PersistError& error) {
    if (error.kind() != PersistErrorKind::truncated_payload) {
      violated(std::string("load_from refuses what save_to has written: ") + error.what(), history, promise,
               "which check of load_from does a payload of its own not pass?");
    }
    violated("load_from wants more than the " + std::to_string(payload.size()) +
                 " bytes that save_to has written: " + error.what(),
             history, promise, "which field does load_from read that save_to does not write, or of another size?");
  } catch (const std::exception& error) {
    violated(std::string("load_from throws on what save_to has written: ") + error.what(), history, promise,
             "which check of load_from does a payload of its own not pass?");
  } catch (...) {
    violated("load_from throws what is no std::exception on what save_to has written", history, promise,
             "which check of load_from does a payload of its own not pass?");
  }
}

template <Persistable I>
void require_loaded_equal(const Subject<I>& subject, const Observation& before, const I& loaded,
                          const History& history) {
  const auto found = difference(subject, before, observe(subject, loaded), history.options());
  if (found) {
    violated("an index that was saved and loaded is not what it was: " + found->words, history,
             "an index that was saved and loaded holds what it held", advice_after_load(found->aspect));
  }
}

inline constexpr std::string_view saving_changes_nothing = "saving an index does not change it";
inline constexpr std::string_view advice_on_saving =
    "does save_to change anything, say a mutable or static member, or what a pointer leads to?";

template <Persistable I>
void require_unchanged_by_saving(const Subject<I>& subject, const Observation& before, const I& index,
                                 const History& history) {
  if (const auto found = difference(subject, before, observe(subject, index), history.options())) {
    violated("an index is not what it was before it was saved: " + found->words, history, saving_changes_nothing,
             advice_on_saving);
  }
}

// Saves `index` and loads it, by its payload and by whole snapshots. Returns the index loaded from the payload.
template <Persistable I>
[[nodiscard]] I save_and_load(const Subject<I>& subject, const I& index, History& history, ConformanceReport& report) {
  const bool by_payload = contents_are_payload(subject);
  history.begin("save_to");
  const std::string payload_before = by_payload ? save_payload(index, history) : std::string();
  const Observation before = observe(subject, index);
  const std::string payload = save_payload(index, history);
  if (by_payload && payload_before != payload) {
    violated(
        "saved twice, an index gives different bytes: the second payload " + first_difference(payload, before.contents),
        history, "the same contents are saved as the same bytes, unless Subject::contents is set",
        "does save_to write what changes by itself: a clock, a counter, random bits, padding, an address? Does it "
        "change the index? If the bytes may differ, set Subject::contents to what counts");
  }
  require_unchanged_by_saving(subject, before, index, history);

  history.begin("load_from");
  I result = load_payload<I>(payload, history);
  require_loaded_equal(subject, before, result, history);
  ++report.round_trips;

  const std::filesystem::path path = "/index";
  for (const Compression codec : built_in_codecs()) {
    history.begin("save and load a snapshot, " + std::string(name_of(codec.codec())));
    BasicFileStorage<SimulatedFileSystem> storage;
    const PersistConfig config{.path = path, .compression = codec, .buffer_bytes = 4096, .helper_threads = 0};
    const auto lock = storage.lock(path, std::chrono::milliseconds::zero());
    save_snapshot(index, storage, lock, path, config);
    const I loaded = must_not_throw(
        "the load", history, "what was saved can be loaded",
        "a payload longer than a buffer comes to load_from in pieces: does it read all of its fields from the Reader?",
        [&] { return std::move(load_snapshot<I>(storage.open(path).value(), config).index); });
    require_loaded_equal(subject, before, loaded, history);
    ++report.round_trips;
  }
  return result;
}

// An index that was never saved, the same index saved, and the same index loaded, under the same mutations.
template <Persistable I>
class Siblings {
 public:
  Siblings(I& untouched, I& saved, I& loaded, History& history, ConformanceReport& report)
      : untouched_(&untouched), saved_(&saved), loaded_(&loaded), history_(&history), report_(&report) {}

  // Makes a mutation of all three. Returns whether all took it.
  bool ask_all(const Mutation& mutation) {
    history_->begin(in_words(mutation));
    const Answer expected = ask(*untouched_, mutation, *history_);
    ++report_->mutations;
    report_->rejections += expected.rejected ? 1U : 0U;
    const Answer of_saved = ask(*saved_, mutation, *history_);
    if (of_saved != expected) {
      violated(in_words(mutation) + " is answered differently by an index that was saved: it " + of_saved.text() +
                   "; one that was never saved " + expected.text(),
               *history_, saving_changes_nothing, advice_on_saving);
    }
    const Answer of_loaded = ask(*loaded_, mutation, *history_);
    if (of_loaded != expected) {
      violated(in_words(mutation) + " is answered differently by an index that was loaded: it " + of_loaded.text() +
                   "; one that was never saved " + expected.text(),
               *history_,
               "whether an index rejects a mutation depends only on what it saves and on the mutations before",
               "what does the decision depend on (a limit, a counter, identifiers once used)? Does save_to write it, "
               "and load_from restore it?");
    }
    return !expected.rejected;
  }

 private:
  I* untouched_;
  I* saved_;
  I* loaded_;
  History* history_;
  ConformanceReport* report_;
};

// Makes the same mutations of an index that was never saved, of a saved one and of a loaded one.
template <Persistable I>
void live_on_alike(const Subject<I>& subject, Filled<I>& filled, I& loaded, History& history,
                   ConformanceReport& report) {
  I untouched = subject.make();
  for (std::size_t at = 0; at < filled.mutations.size(); ++at) {
    const Answer answer = ask(untouched, filled.mutations[at], history);
    if (answer != filled.answers[at]) {
      violated("two indexes that make() gave answer the same mutation differently: " + in_words(filled.mutations[at]) +
                   ": one " + filled.answers[at].text() + ", the other one " + answer.text(),
               history, "make() gives the same index each time, and an index answers the same mutations alike",
               "what does the index depend on beside its mutations: a static member, a clock, a random number?");
    }
  }

  history.begin("go on with it, with it as it was before it was saved, and with it as it was loaded");
  Siblings<I> siblings(untouched, filled.index, loaded, history, report);
  const auto require_alike = [&] {
    const Observation expected = observe(subject, untouched);
    if (const auto found = difference(subject, expected, observe(subject, filled.index), history.options())) {
      violated("the same mutations make another index of one that was saved: " + found->words, history,
               "the same mutations make the same index, saved in between or not",
               "does save_to change anything, or is there randomness in the index? If there is, set Subject::contents "
               "to what counts");
    }
    if (const auto found = difference(subject, expected, observe(subject, loaded), history.options())) {
      violated("the same mutations make another index of one that was saved and loaded: " + found->words, history,
               "the same mutations make the same index, loaded in between or not", advice_after_load(found->aspect));
    }
  };
  constexpr std::size_t further = 24;
  for (std::size_t step = 0; step < further; ++step) {
    const Mutation mutation = filled.source.next();
    if (siblings.ask_all(mutation)) {
      filled.source.took(mutation);
    }
  }
  require_alike();
  const std::vector<VectorId> present = filled.source.present();
  for (const VectorId& id : present) {
    const Mutation mutation = RandomMutations<I>::erase_of(id);
    if (siblings.ask_all(mutation)) {
      filled.source.took(mutation);
    }
  }
  require_alike();
  static_cast<void>(save_and_load(subject, filled.index, history, report));  // after erasing
}

// The numbers from which the vectors of an index, and their identifiers and metadata, follow.
struct Rows {
  std::uint64_t first_id = 0;
  std::uint64_t first_metadata = 0;
  std::uint64_t first_vector = 0;
  bool all_alike = false;  // all but the identifiers, so that their order changes nothing else
};

// An index made from eight of these vectors, and which of them it took.
template <Persistable I>
struct FilledWith {
  I index;
  std::vector<bool> taken;
};

template <Persistable I>
[[nodiscard]] FilledWith<I> make_filled_with(const Subject<I>& subject, const Rows& rows, History& history) {
  FilledWith<I> filled{.index = subject.make(), .taken = {}};
  const std::size_t dim = persisted_dim(filled.index);
  for (std::uint64_t row = 0; row < 8; ++row) {
    const std::uint64_t number = rows.all_alike ? 2 : row;
    const Mutation insert{.op = FrameOp::insert,
                          .id = any_id(rows.first_id + row),
                          .vector = subject.vector(rows.first_vector + number, dim),
                          .metadata = any_metadata(rows.first_metadata + number)};
    history.begin(in_words(insert));
    filled.taken.push_back(!ask(filled.index, insert, history).rejected);
  }
  return filled;
}

// Checks that indexes that differ in only one thing have different payloads. What an index keeps elsewhere, for example
// in a static member, survives a load in this process but in no other.
template <Persistable I>
void check_told_apart(const Subject<I>& subject, const ConformanceOptions& options, ConformanceReport& report) {
  History history("make() and 8 inserts, twice, the second time with one thing different", options);
  constexpr std::string_view promise = "what an index holds is in its payload";

  // Calls `judge(same_payload, the visible difference)` if both indexes took the same vectors.
  const auto compare = [&](const Rows& some, const Rows& others, const auto& judge) {
    const FilledWith<I> first = make_filled_with(subject, some, history);
    const std::string payload = save_payload(first.index, history);
    const Observation seen = observe(subject, first.index);
    const FilledWith<I> second = make_filled_with(subject, others, history);
    if (first.taken == second.taken && std::ranges::find(first.taken, true) != first.taken.end()) {
      judge(payload == save_payload(second.index, history),
            difference(subject, seen, observe(subject, second.index), options));
    }
  };

  compare({}, {.first_metadata = 2}, [&](bool same_payload, const std::optional<Difference>& visible) {
    report.metadata_seen = report.metadata_seen || !same_payload || visible.has_value();
    if (same_payload && visible) {
      violated("the index forgets metadata: two indexes that differ in their metadata are saved as the same bytes: " +
                   visible->words,
               history, promise, "does save_to write the metadata of every vector, and is all of it in the index?");
    }
  });
  constexpr std::uint64_t distant = 1009;
  const std::size_t dim = persisted_dim(subject.make());
  if (subject.vector(0, dim) != subject.vector(distant, dim)) {
    compare({}, {.first_vector = distant}, [&](bool same_payload, const auto& /*visible*/) {
      if (same_payload) {
        violated("the index forgets its vectors: two indexes that differ in their vectors are saved as the same bytes",
                 history, promise, "does save_to write every component of every vector?");
      }
    });
  }
  compare({.all_alike = true}, {.first_id = 96, .all_alike = true}, [&](bool same_payload, const auto& /*visible*/) {
    if (same_payload) {
      violated(
          "the index forgets identifiers: two indexes that differ in their identifiers are saved as the same bytes",
          history, promise, "does save_to write every identifier, integers and bytes, and which of both it is?");
    }
  });
}

}  // namespace conformance

/// Saves and loads indexes of several sizes, by their payloads and as snapshots with every codec in this build.
/// Contents, size, dim and metric must stay the same, and so must the results of a search with their metadata, where
/// the type has one. Saving must change nothing. A loaded index must answer further mutations as one that was never
/// saved. An index type without insert and erase is checked as make() returns it. Throws Violation, and what `make` and
/// the functions of `subject` throw.
template <Persistable I>
ConformanceReport check_round_trip(const Subject<I>& subject, const ConformanceOptions& options = {}) {
  ConformanceReport report;
  if constexpr (Index<I>) {
    for (const std::size_t vectors : options.sizes) {
      conformance::History history("make()", options);
      conformance::Filled<I> filled = conformance::make_filled(subject, vectors, options.seed + vectors, history);
      report.mutations += filled.mutations.size();
      I loaded = conformance::save_and_load(subject, filled.index, history, report);
      conformance::live_on_alike(subject, filled, loaded, history, report);
    }
    conformance::check_told_apart(subject, options, report);
  } else {
    conformance::History history("make()", options);
    const I index = subject.make();
    static_cast<void>(conformance::save_and_load(subject, index, history, report));
  }
  return report;
}

}  // namespace testing
}  // namespace iqdb
