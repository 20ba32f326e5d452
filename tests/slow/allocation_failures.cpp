// Memory that runs out at any allocation: nothing is leaked, and a call that fails has changed nothing.
//
// Each call of a durable index is made again and again, and another one of its allocations is refused each time: that
// one alone, then that one and all that follow until the call returns, then these and all that are made while the index
// is destroyed. The call must do its work or throw std::bad_alloc; a load also index_build or replay_rejected with that
// in it, where it was the index that ran out of memory. If it throws:
//
//   - the index in memory is what it was (of a batch: the mutations before the one that failed stay, as documented)
//   - a process that is killed now leaves files that load as the index is; where no log was open, the files are what they
//     were
//   - the same call, made again, does what it does when memory lasts
//
// and whatever happens, no block of memory, no file descriptor and no temporary file is left, and nothing terminates.
//
// Refused is what the calling thread asks of operator new. zlib, zstd, LZ4 and the C library ask malloc, which always
// answers here.
//
//   allocation_failures [STEP [NAME]]     only every STEP-th allocation is refused, only calls whose name begins so are made
//
// Without STEP it is 4, and 47 under a sanitizer, and which allocation is the first depends on the day: in four days all
// have been refused.
#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigaction is POSIX, and not in namespace std
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <iterator>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/allocations.hpp"
#include "support/days.hpp"
#include "support/durable.hpp"
#include "support/files.hpp"
#include "support/operator_new.hpp"
#include "support/raw_log.hpp"
#include "support/sample_index.hpp"
#include "support/sanitized.hpp"

namespace {

using iqdb::Compression;
using iqdb::FlatIndex;
using iqdb::FsyncPolicy;
using iqdb::Metadata;
using iqdb::PersistConfig;
using iqdb::VectorId;
using iqdb_test::durable_dim;
using iqdb_test::DurableDirectory;
using iqdb_test::DurableIndex;
using iqdb_test::FileSet;
using iqdb_test::log_name;
using iqdb_test::snapshot_name;
using iqdb_test::torn_name;

// ---- What the calls are made with -----------------------------------------------------------------------------------

constexpr std::array<float, durable_dim> some_vector{1.5F, -2.5F};

const std::string long_text(100, 't');  // beyond what a std::string holds within itself

Metadata long_metadata() {
  Metadata metadata;
  metadata.emplace("a key that is longer than what a string holds within itself", long_text);
  metadata.emplace("another", iqdb::Value(std::in_place_type<std::string>, 50, 'a'));
  metadata.emplace("number", 1.5);
  return metadata;
}

VectorId byte_id() { return VectorId::from_bytes(std::string(60, 'i')); }

// So many rows that with the next one each of the containers inside the index has to grow, if it has room for these
// alone.
constexpr std::size_t few_rows = 13;

// So many that a snapshot does not fit one buffer.
constexpr std::size_t many_rows = 60;

FlatIndex sample(std::size_t rows) {
  const FlatIndex grown = iqdb_test::make_sample_index(durable_dim, iqdb::DistanceMetric::euclidean, rows);
  return FlatIndex(grown);  // a copy has no room to spare
}

// A directory for an index, the index if it is open, and what the next call takes.
struct World {
  DurableDirectory directory;
  PersistConfig config;
  std::optional<DurableIndex> db;

  std::optional<FlatIndex> index;
  std::optional<VectorId> id;
  std::optional<Metadata> metadata;
  iqdb::WriteBatch batch;
  iqdb::WriteBatch filled;
  std::string seen;  // what a call that only looks has found

  void insert(VectorId row) { db->insert(std::move(row), some_vector, long_metadata()); }
};

// Of the batch the fourth mutation, if it `is_rejected`: it depends on the first one, so that no check can tell.
iqdb::WriteBatch some_batch(bool is_rejected) {
  iqdb::WriteBatch batch;
  if (is_rejected) {
    const VectorId bytes = VectorId::from_bytes("the identifier of a vector in a batch that is rejected in part");
    batch.insert(3000, some_vector, long_metadata());
    batch.insert(bytes, some_vector, long_metadata());
    batch.erase(bytes);
    batch.insert(3000, some_vector, long_metadata());
    batch.insert(3002, some_vector);
    return batch;
  }
  batch.insert(2000, some_vector, long_metadata());
  batch.insert(byte_id(), some_vector, long_metadata());
  batch.erase(VectorId(0));
  batch.insert(2001, some_vector, long_metadata());
  batch.insert(2002, some_vector);
  return batch;
}

struct Operation {
  std::string name;
  PersistConfig settings;               // but for the path
  std::function<void(World&)> prepare;  // makes the files, and opens the index if the call is one of an open index
  std::function<void(World&)> call;
  std::string outcome = "ok";  // when memory lasts
  bool takes_the_index = false;
  bool batch_is_rejected = false;
  bool removes_an_empty_log = false;  // before anything else: a load sees no difference
};

// Makes what the call takes, anew.
void arm(World& world, const Operation& operation) {
  if (operation.takes_the_index) {
    world.index.emplace(sample(many_rows));
  }
  world.id.emplace(byte_id());
  world.metadata.emplace(long_metadata());
  world.batch = some_batch(operation.batch_is_rejected);
  world.filled.clear();
  world.seen.clear();
}

// ---- What there is before and after ---------------------------------------------------------------------------------

std::string told(const iqdb::RecoveryReport& report) {
  return "version " + std::to_string(report.log_version) + ", replayed " + std::to_string(report.replayed) +
         ", skipped " + std::to_string(report.skipped) + ", aborted " + std::to_string(report.aborted) +
         ", tolerated " + std::to_string(report.tolerated) + ", dropped " + std::to_string(report.dropped_bytes) +
         ", kept as '" + report.torn_log.filename().string() + "'";
}

struct State {
  std::optional<FlatIndex> in_memory;
  std::uint64_t lsn = 0;
  std::string report;
  std::string seen;
  FileSet files;
  // What a load makes of the files.
  std::optional<FlatIndex> on_disk;
  std::string load_error;
  std::uint64_t lsn_on_disk = 0;
  std::uint64_t dropped_bytes = 0;
};

State state_of(const World& world) {
  State state;
  if (world.db) {
    state.in_memory.emplace(world.db->index());
    state.lsn = world.db->lsn();
    state.report = told(world.db->recovery());
  }
  state.seen = world.seen;
  state.files = world.directory.files();
  if (state.files.contains(snapshot_name)) {
    static const DurableDirectory another;
    another.put(state.files);
    PersistConfig config = world.config;
    config.path = another.path();
    try {
      const DurableIndex loaded = DurableIndex::load(config);
      state.on_disk.emplace(loaded.index());
      state.lsn_on_disk = loaded.lsn();
      state.dropped_bytes = loaded.recovery().dropped_bytes;
    } catch (const iqdb::PersistError& error) {
      state.load_error = error.what();
    }
  }
  return state;
}

std::string difference(const std::optional<FlatIndex>& found, const std::optional<FlatIndex>& expected) {
  if (found && expected) {
    return iqdb_test::difference(*found, *expected);
  }
  return found.has_value() == expected.has_value() ? "" : found ? "there is one" : "there is none";
}

// The states that a call of this kind may leave in memory if it fails: of a batch, those between its mutations.
std::vector<std::optional<FlatIndex>> states_between(const Operation& operation, const State& before,
                                                     const State& after) {
  std::vector<std::optional<FlatIndex>> states{before.in_memory};
  if (operation.name.find("apply") == std::string::npos) {
    return states;
  }
  FlatIndex index = *before.in_memory;
  const iqdb::WriteBatch batch = some_batch(operation.batch_is_rejected);
  for (const iqdb::Mutation& mutation : batch.mutations()) {
    if (difference(states.back(), after.in_memory).empty()) {
      break;
    }
    if (mutation.op == iqdb::FrameOp::insert) {
      index.insert(mutation.id, std::span<const float>(mutation.vector), mutation.metadata);
    } else {
      index.erase(mutation.id);
    }
    states.emplace_back(index);
  }
  return states;
}

constexpr std::string_view out_of_memory = "std::bad_alloc";

// Of an error of the index itself: what the index threw.
bool comes_from_bad_alloc(const iqdb::PersistError& error) {
  if (error.kind() != iqdb::PersistErrorKind::index_build && error.kind() != iqdb::PersistErrorKind::replay_rejected) {
    return false;
  }
  try {
    std::rethrow_if_nested(error);
  } catch (const std::bad_alloc&) {
    return true;
  } catch (...) {
    return false;
  }
  return false;
}

std::string outcome_of(const std::function<void()>& call) {
  try {
    call();
    return "ok";
  } catch (const iqdb::PersistError& error) {
    return comes_from_bad_alloc(error) ? std::string(out_of_memory)
                                       : "PersistError " + std::string(to_string(error.kind()));
  } catch (const iqdb::IndexError& error) {
    return "IndexError " + std::string(to_string(error.kind()));
  } catch (const std::bad_alloc&) {
    return std::string(out_of_memory);
  } catch (const std::exception& error) {
    return std::string("another exception: ") + error.what();
  }
}

std::ptrdiff_t open_files() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return std::distance(begin(files), end(files));
}

// ---- The examination of one call ------------------------------------------------------------------------------------

enum class Refusal : std::uint8_t { once, until_it_returns, until_it_is_destroyed };
constexpr std::array refusals{Refusal::once, Refusal::until_it_returns, Refusal::until_it_is_destroyed};

std::string_view to_string(Refusal refusal) {
  switch (refusal) {
    case Refusal::once:
      return "once";
    case Refusal::until_it_returns:
      return "for good until it returns";
    case Refusal::until_it_is_destroyed:
      return "for good until the index is destroyed";
  }
  return "";
}

// What is being done, for the last words of a program that dies of it.
std::array<char, 200> present_deed{};

std::array<struct sigaction, 2> former_actions{};
constexpr std::array signals{SIGABRT, SIGSEGV};

extern "C" void say_what_was_done(int signal) {
  constexpr std::string_view what = "\nENDED BY A SIGNAL, so by std::terminate or undefined behaviour: ";
  std::ignore = ::write(STDOUT_FILENO, what.data(), what.size());
  std::ignore = ::write(STDOUT_FILENO, present_deed.data(), std::strlen(present_deed.data()));
  std::ignore = ::write(STDOUT_FILENO, "\n", 1);
  // Returning does again what raised it, now for whoever was asked before: a sanitizer reports it, the system ends it.
  const std::size_t which = signal == signals[0] ? 0 : 1;
  ::sigaction(signal, &former_actions[which], nullptr);
}

void have_last_words() {
  struct sigaction action {};
  action.sa_handler = say_what_was_done;
  for (std::size_t at = 0; at < signals.size(); ++at) {
    ::sigaction(signals[at], &action, &former_actions[at]);
  }
}

class Examination {
 public:
  // Refuses the allocation `first`, which is 1 or more, and every step-th behind it.
  Examination(std::uint64_t first, std::uint64_t step) : first_(first), step_(step) {}

  void examine(const Operation& operation) {
    const auto started = std::chrono::steady_clock::now();
    const std::uint64_t refused_before = refused_;
    const std::uint64_t violations_before = violations_;
    std::snprintf(present_deed.data(), present_deed.size(), "%s, nothing refused", operation.name.c_str());
    const Reference reference = reference_of(operation);
    if (reference.outcome != operation.outcome) {
      ++violations_;
      std::printf("VIOLATION: %s:\n    it ended with: %s; expected: %s\n", present_deed.data(),
                  reference.outcome.c_str(), operation.outcome.c_str());
    }
    for (const Refusal refusal : refusals) {
      for (std::uint64_t number = first_; refuse(operation, reference, number, refusal); number += step_) {
      }
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started;
    std::printf("%-62s %4llu allocations, %5llu refused, %llu violations, %.2f s\n", operation.name.c_str(),
                static_cast<unsigned long long>(reference.allocations),
                static_cast<unsigned long long>(refused_ - refused_before),
                static_cast<unsigned long long>(violations_ - violations_before), elapsed.count());
    std::fflush(stdout);
  }

  [[nodiscard]] std::uint64_t refused() const noexcept { return refused_; }
  [[nodiscard]] std::uint64_t violations() const noexcept { return violations_; }

 private:
  // The call when memory lasts.
  struct Reference {
    State before;
    State after;
    std::string outcome;
    std::uint64_t allocations = 0;
    std::vector<std::optional<FlatIndex>> between;
  };

  static void set_up(World& world, const Operation& operation) {
    world.config = operation.settings;
    world.config.path = world.directory.path();
    operation.prepare(world);
    arm(world, operation);
  }

  static Reference reference_of(const Operation& operation) {
    Reference reference;
    World world;
    set_up(world, operation);
    reference.before = state_of(world);
    reference.outcome = outcome_of([&] { iqdb_test::refusing_allocation(0, [&] { operation.call(world); }); });
    reference.allocations = iqdb_test::last_allocations().count;
    reference.after = state_of(world);
    reference.between = states_between(operation, reference.before, reference.after);
    return reference;
  }

  // Makes the call with its allocation `number` refused; whether it got so far.
  bool refuse(const Operation& operation, const Reference& reference, std::uint64_t number, Refusal refusal) {
    std::snprintf(present_deed.data(), present_deed.size(), "%s, allocation %llu refused %s", operation.name.c_str(),
                  static_cast<unsigned long long>(number), std::string(to_string(refusal)).c_str());
    std::uint64_t refused = 0;
    const std::ptrdiff_t files_before = open_files();
    const std::int64_t memory_before = iqdb_test::live_allocations();
    std::array<char, 4000> faults{};  // takes no memory that would be counted
    {
      std::string all;
      for (const std::string& fault : in_a_world(operation, reference, number, refusal, refused)) {
        all += "\n    " + fault;
      }
      std::snprintf(faults.data(), faults.size(), "%s", all.c_str());
    }
    const std::int64_t leaked = iqdb_test::live_allocations() - memory_before;
    const std::ptrdiff_t left_open = open_files() - files_before;
    std::string all = faults.data();
    if (leaked != 0) {
      all += "\n    " + std::to_string(leaked) + " blocks of memory were not given back";
    }
    if (left_open != 0) {
      all += "\n    " + std::to_string(left_open) + " files were left open";
    }
    if (!all.empty()) {
      ++violations_;
      std::printf("VIOLATION: %s:%s\n", present_deed.data(), all.c_str());
      std::fflush(stdout);
    }
    refused_ += refused;
    return refused > 0;
  }

  // What is not as it must be.
  static std::vector<std::string> in_a_world(const Operation& operation, const Reference& reference,
                                             std::uint64_t number, Refusal refusal, std::uint64_t& refused) {
    std::vector<std::string> faults;
    const auto require = [&faults](bool good, const std::string& otherwise) {
      if (!good) {
        faults.push_back(otherwise);
      }
      return good;
    };
    World world;
    set_up(world, operation);
    const bool was_open = world.db.has_value();
    const bool logs = world.config.wal_enabled && was_open;

    const std::string outcome = outcome_of([&] {
      if (refusal == Refusal::once) {
        iqdb_test::refusing_allocation(number, [&] { operation.call(world); });
      } else {
        iqdb_test::refusing_allocations_from(number, [&] { operation.call(world); });
      }
    });
    refused = iqdb_test::last_allocations().refused;
    const bool failed = outcome != reference.outcome;
    require(!failed || outcome == out_of_memory,
            "it ended with: " + outcome + "; expected std::bad_alloc or: " + reference.outcome);
    require(!failed || refused > 0, "it failed although no allocation was refused");
    require(!any_temporary(world), "a temporary file is left");

    const State found = state_of(world);
    require(found.load_error == reference.before.load_error, "a load fails: " + found.load_error);
    require(found.dropped_bytes == (logs ? 0 : reference.before.dropped_bytes) ||
                (!failed && found.dropped_bytes == reference.after.dropped_bytes),
            "half a record is left in the log: a load drops " + std::to_string(found.dropped_bytes) + " bytes");
    if (failed) {
      bool is_allowed = false;
      for (const auto& state : reference.between) {
        is_allowed = is_allowed || difference(found.in_memory, state).empty();
      }
      require(is_allowed, "the index has changed: " + difference(found.in_memory, reference.before.in_memory));
      require(reference.before.lsn <= found.lsn && found.lsn <= reference.after.lsn,
              "the LSN is " + std::to_string(found.lsn) + ", it was " + std::to_string(reference.before.lsn));
      if (!logs) {
        require(same_files(operation, found.files, reference.before.files),
                "files have changed: now " + names(found.files) + ", before " + names(reference.before.files));
        require(difference(found.on_disk, reference.before.on_disk).empty(),
                "a load gives another index: " + difference(found.on_disk, reference.before.on_disk));
      }
    } else {
      require_same(require, found, reference.after);
    }
    if (logs && world.db) {
      require(difference(found.on_disk, found.in_memory).empty(),
              "a load gives another index than is in memory: " + difference(found.on_disk, found.in_memory));
      require(found.lsn_on_disk == found.lsn, "a load gives the LSN " + std::to_string(found.lsn_on_disk) +
                                                  ", in memory it is " + std::to_string(found.lsn));
    }

    if (refusal == Refusal::until_it_is_destroyed) {
      iqdb_test::refusing_allocations_from(1, [&] { world.db.reset(); });
      const State last = state_of(world);
      require(difference(last.on_disk, found.on_disk).empty(),
              "after its end a load gives another index: " + difference(last.on_disk, found.on_disk));
      require(last.lsn_on_disk == found.lsn_on_disk,
              "after its end a load gives the LSN " + std::to_string(last.lsn_on_disk));
    } else if (failed && difference(found.in_memory, reference.before.in_memory).empty()) {
      arm(world, operation);
      const std::string again = outcome_of([&] { operation.call(world); });
      if (require(again == reference.outcome,
                  "made again, it ends with: " + again + "; expected " + reference.outcome)) {
        State last = state_of(world);
        if (was_open) {
          // A mutation that failed behind its record has taken a number.
          last.lsn -= found.lsn - reference.before.lsn;
          last.lsn_on_disk -= found.lsn_on_disk - reference.before.lsn_on_disk;
        }
        require_same(require, last, reference.after);
      }
    }
    world.db.reset();
    require(!any_temporary(world), "a temporary file is left in the end");
    return faults;
  }

  template <class Require>
  static void require_same(const Require& require, const State& found, const State& expected) {
    require(difference(found.in_memory, expected.in_memory).empty(),
            "the index is another than without a failure: " + difference(found.in_memory, expected.in_memory));
    require(found.lsn == expected.lsn,
            "the LSN is " + std::to_string(found.lsn) + ", without a failure " + std::to_string(expected.lsn));
    require(found.report == expected.report,
            "recovery() says: " + found.report + "; without a failure: " + expected.report);
    require(found.seen == expected.seen, "it answers: " + found.seen + "; without a failure: " + expected.seen);
    require(names(found.files) == names(expected.files),
            "the files are " + names(found.files) + ", without a failure " + names(expected.files));
    require(difference(found.on_disk, expected.on_disk).empty(),
            "a load gives another index than without a failure: " + difference(found.on_disk, expected.on_disk));
    require(found.load_error == expected.load_error, "a load fails: " + found.load_error);
    require(found.lsn_on_disk == expected.lsn_on_disk, "a load gives the LSN " + std::to_string(found.lsn_on_disk) +
                                                           ", without a failure " +
                                                           std::to_string(expected.lsn_on_disk));
  }

  static bool any_temporary(const World& world) {
    for (const auto& entry : std::filesystem::directory_iterator(world.directory.directory())) {
      if (entry.path().extension() == ".tmp") {
        return true;
      }
    }
    return false;
  }

  // But for what a load does not see: an empty log that is gone, a second name that a torn log was given.
  static bool same_files(const Operation& operation, FileSet found, FileSet expected) {
    if (operation.removes_an_empty_log) {
      found.erase(log_name);
      expected.erase(log_name);
    }
    const auto torn = found.find(torn_name);
    if (torn != found.end() && torn->second == expected[log_name]) {
      found.erase(torn);
    }
    return found == expected;
  }

  static std::string names(const FileSet& files) {
    std::string all;
    for (const auto& [name, bytes] : files) {
      all += (all.empty() ? "" : ", ") + name;
    }
    return "[" + all + "]";
  }

  std::uint64_t first_;
  std::uint64_t step_;
  std::uint64_t refused_ = 0;
  std::uint64_t violations_ = 0;
};

// ---- The calls ------------------------------------------------------------------------------------------------------

PersistConfig settings(FsyncPolicy policy, Compression compression = Compression::none(), bool log = true) {
  return {.path = {},
          .wal_enabled = log,
          .fsync_policy = policy,
          .compression = compression,
          .buffer_bytes = 4096,
          .helper_threads = 0,
          .log_extent_bytes = 1024};
}

PersistConfig settings_without_log(Compression compression = Compression::none()) {
  return settings(FsyncPolicy::always(), compression, false);
}

struct Named {
  std::string name;
  Compression compression;
};

std::vector<Named> codecs() {
  std::vector<Named> all{{"none", Compression::none()}};
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    all.push_back({"zstd", Compression::zstd(1)});
  }
  if (IQDB_PERSIST_HAS_LZ4 != 0) {
    all.push_back({"lz4", Compression::lz4()});
  }
  return all;
}

struct NamedPolicy {
  std::string name;
  FsyncPolicy policy;
};

std::vector<NamedPolicy> policies() {
  return {{"always", FsyncPolicy::always()},
          {"never", FsyncPolicy::never()},
          {"periodic", FsyncPolicy::periodic(std::chrono::milliseconds(2))}};
}

// Opens an index that has mutations of its own in its log already, or none.
std::function<void(World&)> opened(std::size_t rows, std::size_t mutations = 0) {
  return [rows, mutations](World& world) {
    world.db.emplace(DurableIndex::open_with(sample(rows), world.config));
    for (std::size_t done = 0; done < mutations; ++done) {
      world.insert(3000 + done);
    }
  };
}

std::function<void(World&)> with_files(FileSet files) {
  return [files = std::move(files)](World& world) { world.directory.put(files); };
}

// The files of a process that was killed, after inserts, erases, batches, and rejected ones among them.
FileSet files_with_a_log(Compression compression, bool closed = false) {
  World world;
  world.config = settings(FsyncPolicy::always(), compression);
  world.config.path = world.directory.path();
  world.db.emplace(DurableIndex::open_with(sample(few_rows), world.config));
  world.insert(1000);
  world.insert(VectorId::from_bytes("the identifier of a vector that is erased"));
  std::ignore = outcome_of([&] { world.insert(1000); });
  world.db->erase(VectorId::from_bytes("the identifier of a vector that is erased"));
  world.db->apply(some_batch(false));
  world.db->save();
  world.insert(1001);
  std::ignore = outcome_of([&] { world.db->apply(some_batch(true)); });
  world.db->erase(VectorId(4));
  if (closed) {
    world.db->close();
  }
  return world.directory.files();
}

FileSet with_a_torn_tail(FileSet files) {
  auto& log = files.at(log_name);
  const auto frames = iqdb_test::frames_of(log);
  log.resize(frames.back().end - 3);
  return files;
}

// The process was killed between the record of a mutation that the index rejects and the word that it did.
FileSet without_the_last_abort(FileSet files) {
  auto& log = files.at(log_name);
  auto frames = iqdb_test::frames_of(log);
  while (!frames.empty() && frames.back().op != static_cast<unsigned>(iqdb::FrameOp::abort)) {
    frames.pop_back();
  }
  if (frames.empty()) {
    throw std::runtime_error("the log says of no mutation that it was rejected");
  }
  log.resize(frames.back().offset);
  return files;
}

FileSet golden(const std::string& name) {
  const std::filesystem::path path = std::filesystem::path(TEST_GOLDEN_DIR) / "wal" / (name + ".iqdb");
  return {{snapshot_name, iqdb_test::read_bytes(path)}, {log_name, iqdb_test::read_bytes(path.string() + ".wal")}};
}

FileSet files_without_a_log(Compression compression) {
  World world;
  world.config = settings_without_log(compression);
  world.config.path = world.directory.path();
  world.db.emplace(DurableIndex::open_with(sample(many_rows), world.config));
  world.db->save();
  return world.directory.files();
}

// The same, and a log that continues the snapshot and was never written to.
FileSet files_with_an_empty_log() {
  FileSet files = files_without_a_log(Compression::none());
  files[log_name] = iqdb_test::raw_header(7, 0, iqdb_test::fingerprint_of(files.at(snapshot_name)));
  return files;
}

void load(World& world) { world.db.emplace(DurableIndex::load(world.config)); }

void open_with(World& world) {
  world.config.replace_existing = true;
  world.db.emplace(DurableIndex::open_with(std::move(*world.index), world.config));
}

void load_or_create(World& world) {
  world.db.emplace(DurableIndex::load_or_create(world.config, [&] { return std::move(*world.index); }));
}

void add_beginnings(std::vector<Operation>& all) {
  const auto nothing = [](World&) {};
  for (const auto& [name, compression] : codecs()) {
    all.push_back({.name = "open_with, " + name,
                   .settings = settings(FsyncPolicy::always(), compression),
                   .prepare = nothing,
                   .call = open_with,
                   .takes_the_index = true});
  }
  all.push_back({.name = "open_with, periodic",
                 .settings = settings(policies()[2].policy),
                 .prepare = nothing,
                 .call = open_with,
                 .takes_the_index = true});
  all.push_back({.name = "open_with over an older snapshot",
                 .settings = settings(FsyncPolicy::always()),
                 .prepare = with_files(files_without_a_log(Compression::none())),
                 .call = open_with,
                 .takes_the_index = true});
  all.push_back({.name = "open_with over an older snapshot and an empty log",
                 .settings = settings(FsyncPolicy::always()),
                 .prepare = with_files(files_with_an_empty_log()),
                 .call = open_with,
                 .takes_the_index = true,
                 .removes_an_empty_log = true});
  all.push_back({.name = "open_with over a log with mutations (would_discard_log)",
                 .settings = settings(FsyncPolicy::always()),
                 .prepare = with_files(files_with_a_log(Compression::none())),
                 .call = open_with,
                 .outcome = "PersistError would_discard_log",
                 .takes_the_index = true});
  all.push_back({.name = "load_or_create where there is nothing",
                 .settings = settings(FsyncPolicy::never()),
                 .prepare = nothing,
                 .call = load_or_create,
                 .takes_the_index = true});
  all.push_back({.name = "load_or_create where there are snapshot and log",
                 .settings = settings(FsyncPolicy::never()),
                 .prepare = with_files(files_with_a_log(Compression::none())),
                 .call = load_or_create,
                 .takes_the_index = true});
}

void add_loads(std::vector<Operation>& all) {
  for (const auto& [name, compression] : codecs()) {
    all.push_back({.name = "load, " + name,
                   .settings = settings(FsyncPolicy::always(), compression),
                   .prepare = with_files(files_with_a_log(compression)),
                   .call = load});
  }
  const FileSet files = files_with_a_log(Compression::none());
  const std::vector<std::pair<std::string, FileSet>> logs{
      {"load, a log that was closed", files_with_a_log(Compression::none(), true)},
      {"load, a torn tail", with_a_torn_tail(files)},
      {"load, the index rejects the last record", without_the_last_abort(files)},
      {"load, an empty log", files_with_an_empty_log()},
      {"load, version 1, inserts", golden("w02_inserts_meta")},
      {"load, version 1, erases", golden("w03_deletes")},
      {"load, version 1, a checkpoint", golden("w05_checkpoint_then_append")}};
  for (const auto& [name, set] : logs) {
    all.push_back(
        {.name = name, .settings = settings(FsyncPolicy::always()), .prepare = with_files(set), .call = load});
  }
  all.push_back({.name = "load, through a symbolic link",
                 .settings = settings(FsyncPolicy::always()),
                 .prepare =
                     [files](World& world) {
                       world.directory.put(files);
                       world.config.path = world.directory.directory() / "link";
                       std::filesystem::create_symlink(snapshot_name, world.config.path);
                     },
                 .call = load});
  all.push_back({.name = "load, periodic",
                 .settings = settings(policies()[2].policy),
                 .prepare = with_files(with_a_torn_tail(files)),
                 .call = load});
}

// Files that cannot be loaded: a damaged byte, with what a load says of it.
void add_refused_loads(std::vector<Operation>& all) {
  const FileSet whole = files_with_a_log(Compression::none());
  const auto damaged = [&whole](const std::string& name, std::size_t offset) {
    FileSet files = whole;
    files.at(name).at(offset) ^= std::byte{0x10};
    return files;
  };
  FileSet mixed = whole;
  mixed.at(snapshot_name) = files_without_a_log(Compression::none()).at(snapshot_name);
  const auto first_frame = iqdb_test::frames_of(whole.at(log_name)).front().offset;
  const std::vector<std::tuple<std::string, FileSet, std::string>> refused{
      {"load, nothing is there", {}, "io"},
      {"load, the snapshot is damaged", damaged(snapshot_name, 200), "checksum_mismatch"},
      {"load, the log is damaged", damaged(log_name, first_frame), "log_corrupted"},
      {"load, the log's header is damaged", damaged(log_name, 20), "log_corrupted"},
      {"load, the log continues another snapshot", mixed, "log_mismatch"}};
  for (const auto& [name, files, kind] : refused) {
    all.push_back({.name = name,
                   .settings = settings(FsyncPolicy::always()),
                   .prepare = with_files(files),
                   .call = load,
                   .outcome = "PersistError " + kind});
  }
  all.push_back({.name = "load, log off, a log with mutations beside",
                 .settings = settings_without_log(),
                 .prepare = with_files(whole),
                 .call = load,
                 .outcome = "PersistError log_present"});
}

void add_mutations(std::vector<Operation>& all) {
  using Call = std::function<void(World&)>;
  struct Change {
    std::string name;
    Call call;
    std::string outcome = "ok";
  };
  const std::vector<Change> changes{
      {"insert, an integer", [](World& world) { world.db->insert(1000, some_vector, std::move(world.metadata)); }},
      {"insert, bytes",
       [](World& world) { world.db->insert(std::move(*world.id), some_vector, std::move(world.metadata)); }},
      {"insert, braced",
       [](World& world) {
         world.db->insert(1000, {1.5F, 2.5F}, {{"key", long_text}, {"another", 1}});
       }},
      {"insert, a record beyond the buffer of its encoder",
       [](World& world) {
         world.metadata->emplace("text", iqdb::Value(std::in_place_type<std::string>, 9000, 't'));
         world.db->insert(1000, some_vector, std::move(world.metadata));
       }},
      {"insert, rejected", [](World& world) { world.db->insert(0, some_vector, std::move(world.metadata)); },
       "IndexError duplicate"},
      {"insert, of another dimension", [](World& world) { world.db->insert(1000, {1.0F}); },
       "IndexError dimension_mismatch"},
      {"upsert, of a vector that is there",
       [](World& world) { world.db->upsert(0, some_vector, std::move(world.metadata)); }},
      {"upsert, of a new vector",
       [](World& world) { world.db->upsert(std::move(*world.id), some_vector, std::move(world.metadata)); }},
      {"erase, an integer", [](World& world) { world.db->erase(VectorId(0)); }},
      {"erase, bytes", [](World& world) { world.db->erase(iqdb_test::sample_id(1)); }},
      {"erase, rejected", [](World& world) { world.db->erase(*world.id); }, "IndexError not_found"},
      {"apply", [](World& world) { world.db->apply(world.batch); }},
      {"apply, rejected", [](World& world) { world.db->apply(world.batch); }, "IndexError duplicate"}};
  for (const auto& [policy_name, policy] : policies()) {
    for (const Change& change : changes) {
      all.push_back({.name = change.name + ", " + policy_name,
                     .settings = settings(policy),
                     .prepare = opened(few_rows),
                     .call = change.call,
                     .outcome = change.outcome,
                     .batch_is_rejected = change.name == "apply, rejected"});
    }
  }
  for (const Change& change : changes) {
    if (!change.name.starts_with("apply")) {
      all.push_back({.name = change.name + ", log off",
                     .settings = settings_without_log(),
                     .prepare = opened(few_rows),
                     .call = change.call,
                     .outcome = change.outcome});
    }
  }
  all.push_back({.name = "a batch is filled",
                 .settings = settings_without_log(),
                 .prepare = opened(few_rows),
                 .call = [](World& world) {
                   world.filled.insert(std::move(*world.id), some_vector, std::move(world.metadata));
                   world.filled.insert(2, {1.0F, 2.0F}, {{"key", long_text}});
                   world.filled.erase(VectorId(3));
                 }});
  all.push_back(
      {.name = "search", .settings = settings_without_log(), .prepare = opened(few_rows), .call = [](World& world) {
         for (const iqdb::Hit& hit : world.db->index().search(some_vector)) {
           world.seen += to_string(hit.id) + " ";
         }
       }});
}

void add_saves(std::vector<Operation>& all) {
  const auto save = [](World& world) { world.db->save(); };
  const auto checkpoint = [](World& world) { world.db->checkpoint(); };
  for (const auto& [name, compression] : codecs()) {
    all.push_back({.name = "save, " + name,
                   .settings = settings(FsyncPolicy::always(), compression),
                   .prepare = opened(many_rows, 3),
                   .call = save});
    all.push_back({.name = "checkpoint, " + name,
                   .settings = settings(FsyncPolicy::always(), compression),
                   .prepare = opened(many_rows, 3),
                   .call = checkpoint});
    all.push_back({.name = "save, log off, " + name,
                   .settings = settings_without_log(compression),
                   .prepare = opened(many_rows),
                   .call = save});
  }
  for (const auto& [name, policy] : policies()) {
    all.push_back({.name = "checkpoint, " + name,
                   .settings = settings(policy),
                   .prepare = opened(few_rows, 2),
                   .call = checkpoint});
    all.push_back({.name = "checkpoint of an index without mutations, " + name,
                   .settings = settings(policy),
                   .prepare = opened(few_rows),
                   .call = checkpoint});
  }
  if (IQDB_PERSIST_HAS_ZSTD != 0) {
    PersistConfig with_helpers = settings_without_log(Compression::zstd(1));
    with_helpers.helper_threads = 2;
    all.push_back({.name = "save, log off, zstd and threads that help",
                   .settings = with_helpers,
                   .prepare = opened(many_rows),
                   .call = save});
  }
  const auto over = [](bool with_log) {
    return [with_log](World& world) {
      world.directory.put(with_log ? files_with_an_empty_log() : files_without_a_log(Compression::none()));
      world.db.emplace(DurableIndex::load(world.config));
      world.insert(1000);
    };
  };
  all.push_back({.name = "save, log off, over an older snapshot",
                 .settings = settings_without_log(),
                 .prepare = over(false),
                 .call = save});
  all.push_back({.name = "save, log off, an empty log beside",
                 .settings = settings_without_log(),
                 .prepare = over(true),
                 .call = save,
                 .removes_an_empty_log = true});
}

void add_ends(std::vector<Operation>& all) {
  for (const auto& [name, policy] : policies()) {
    for (const std::size_t mutations : {std::size_t{0}, std::size_t{3}}) {
      const std::string after = " after " + std::to_string(mutations) + " mutations, " + name;
      all.push_back({.name = "sync" + after,
                     .settings = settings(policy),
                     .prepare = opened(few_rows, mutations),
                     .call = [](World& world) { world.db->sync(); }});
      all.push_back({.name = "close" + after,
                     .settings = settings(policy),
                     .prepare = opened(few_rows, mutations),
                     .call = [](World& world) { world.db->close(); }});
      all.push_back({.name = "destructor" + after,
                     .settings = settings(policy),
                     .prepare = opened(few_rows, mutations),
                     .call = [](World& world) { world.db.reset(); }});
    }
  }
}

// An index that was just loaded has a log with mutations, and a writer that has not written yet.
void add_calls_after_a_load(std::vector<Operation>& all) {
  const std::vector<std::pair<std::string, std::function<void(World&)>>> calls{
      {"insert", [](World& world) { world.db->insert(5000, some_vector, std::move(world.metadata)); }},
      {"save", [](World& world) { world.db->save(); }},
      {"checkpoint", [](World& world) { world.db->checkpoint(); }},
      {"close", [](World& world) { world.db->close(); }},
      {"destructor", [](World& world) { world.db.reset(); }}};
  const FileSet files = files_with_a_log(Compression::none());
  for (const auto& [policy_name, policy] : policies()) {
    for (const auto& [name, call] : calls) {
      all.push_back({.name = name + " after a load, " + policy_name,
                     .settings = settings(policy),
                     .prepare =
                         [files](World& world) {
                           world.directory.put(files);
                           load(world);
                         },
                     .call = call});
    }
  }
}

void add_looks(std::vector<Operation>& all) {
  for (const auto& [name, compression] : codecs()) {
    const auto files = with_files(files_without_a_log(compression));
    all.push_back({.name = "load, log off, " + name,
                   .settings = settings_without_log(compression),
                   .prepare = files,
                   .call = load});
    all.push_back({.name = "verify_snapshot, " + name,
                   .settings = settings_without_log(compression),
                   .prepare = files,
                   .call = [](World& world) {
                     world.seen = std::to_string(iqdb::verify_snapshot(world.directory.path()).payload_bytes);
                   }});
    all.push_back({.name = "read_header, " + name,
                   .settings = settings_without_log(compression),
                   .prepare = files,
                   .call = [](World& world) { world.seen = iqdb::read_header(world.directory.path()).index_type; }});
  }
  all.push_back({.name = "load, log off, an empty log beside",
                 .settings = settings_without_log(),
                 .prepare = with_files(files_with_an_empty_log()),
                 .call = load});
}

std::vector<Operation> operations() {
  std::vector<Operation> all;
  add_beginnings(all);
  add_loads(all);
  add_refused_loads(all);
  add_mutations(all);
  add_saves(all);
  add_ends(all);
  add_calls_after_a_load(all);
  add_looks(all);
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  constexpr std::uint64_t usual_step = iqdb_test::sanitized ? 47 : 4;
  const std::uint64_t step = argc > 1 ? std::stoull(argv[1]) : usual_step;
  const std::uint64_t first = argc > 1 ? 1 : 1 + iqdb_test::days_since_1970() % step;
  const std::string_view only = argc > 2 ? argv[2] : "";
  try {
    have_last_words();
    Examination examination(first, step);
    for (const Operation& operation : operations()) {
      if (operation.name.starts_with(only)) {
        examination.examine(operation);
      }
    }
    std::printf("%llu allocations refused, %llu violations\n", static_cast<unsigned long long>(examination.refused()),
                static_cast<unsigned long long>(examination.violations()));
    return examination.violations() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
  } catch (const std::exception& error) {
    std::printf("allocation_failures: %s: %s\n", present_deed.data(), error.what());
    return EXIT_FAILURE;
  }
}
