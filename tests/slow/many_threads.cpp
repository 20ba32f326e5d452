// Many threads at one SharedIndex: for ThreadSanitizer, which sees a race whether or not it does harm, and for the
// outcome, which must be what each thread was told.
//
// Each thread has identifiers of its own, so that it knows how each of its calls must end, and identifiers that all
// threads insert and erase, of which as many insertions as erasures succeed, or one more. Threads search and read beside
// it, more of them than usearch searches at a time. In the end a load must find what the threads were told.
//
//   many_threads [SEED [ROUNDS]]
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "iqdb/persist/shared_index.hpp"
#include "support/sanitized.hpp"
#include "support/temporary_directory.hpp"

#ifdef TEST_HAS_HNSWLIB
#include "iqdb/index/hnswlib.hpp"
#endif
#ifdef TEST_HAS_USEARCH
#include "iqdb/index/usearch.hpp"
#endif

// hnswlib takes two of its locks in either order. Here insertions run one at a time, so that none waits for another.
// NOLINTNEXTLINE(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the name that ThreadSanitizer asks for
extern "C" const char* __tsan_default_suppressions() { return "deadlock:hnswlib::HierarchicalNSW\n"; }

namespace {

using iqdb::FsyncPolicy;
using iqdb::IndexErrorKind;

constexpr std::size_t dimension = 8;
constexpr std::uint64_t threads = 8;
constexpr std::uint64_t own_ids = 40;     // of each thread: few, so that duplicates and absent ones are common
constexpr std::uint64_t common_ids = 10;  // of all threads
constexpr std::uint64_t steps = iqdb_test::sanitized ? 400 : 1500;

std::uint64_t own_id(std::uint64_t thread, std::uint64_t number) { return 1000 * (thread + 1) + number; }

std::vector<float> vector_of(float number) {
  std::vector<float> vector(dimension, 0.5F);
  vector[0] = number;
  return vector;
}

// What a thread knows is there: the number that the vector is made of, by identifier.
using Model = std::map<std::uint64_t, float>;

// How often the insertions of each common identifier succeeded more often than its erasures.
using Common = std::array<std::atomic<int>, common_ids>;

void require(bool condition, const std::string& what) {
  if (!condition) {
    throw std::runtime_error(what);
  }
}

// The kind of the IndexError that a call throws; nothing if it returns.
template <class Call>
std::optional<IndexErrorKind> refusal_of(Call&& call) {
  try {
    std::forward<Call>(call)();
    return {};
  } catch (const iqdb::IndexError& error) {
    return error.kind();
  }
}

// One of the threads that mutate.
template <class I>
class Caller {
 public:
  Caller(iqdb::SharedIndex<I>& db, std::uint64_t thread, std::uint64_t seed, Common& common,
         const std::filesystem::path& copies)
      : db_(&db), thread_(thread), random_(seed), common_(&common), copies_(&copies) {}

  void run() {
    for (std::uint64_t step = 0; step < steps; ++step) {
      const std::uint64_t before = db_->lsn();
      const auto choice = random_() % 100;
      choice < 35   ? mutate_own()
      : choice < 50 ? mutate_common()
      : choice < 65 ? apply_batch()
      : choice < 70 ? offer_wrong_ones()
                    : look(step);
      require(db_->lsn() >= before, "the number of the last mutation went back");
    }
  }

  [[nodiscard]] const Model& model() const noexcept { return model_; }

 private:
  void mutate_own() {
    const std::uint64_t id = own_id(thread_, random_() % own_ids);
    const auto number = static_cast<float>(random_() % 1000);
    const auto vector = vector_of(number);
    const bool is_there = model_.contains(id);
    switch (random_() % 3) {
      case 0:
        require(refusal_of([&] { db_->insert(id, std::span<const float>(vector)); }) ==
                    (is_there ? std::optional(IndexErrorKind::duplicate) : std::nullopt),
                "an insert ended otherwise than what was there says");
        model_.emplace(id, number);
        break;
      case 1:
        db_->upsert(id, std::span<const float>(vector), iqdb::Metadata{{"number", static_cast<double>(number)}});
        model_[id] = number;
        break;
      default:
        require(
            refusal_of([&] { db_->erase(id); }) == (is_there ? std::nullopt : std::optional(IndexErrorKind::not_found)),
            "an erase ended otherwise than what was there says");
        model_.erase(id);
    }
  }

  void mutate_common() {
    const std::uint64_t id = random_() % common_ids;
    const auto vector = vector_of(1);
    if (random_() % 2 == 0) {
      if (!refusal_of([&] { db_->insert(id, std::span<const float>(vector)); })) {
        ++(*common_)[id];
      }
    } else if (!refusal_of([&] { db_->erase(id); })) {
      --(*common_)[id];
    }
  }

  void apply_batch() {
    iqdb::WriteBatch batch;
    Model after = model_;
    for (auto count = 1 + random_() % 5; count > 0; --count) {
      const std::uint64_t id = own_id(thread_, random_() % own_ids);
      const auto number = static_cast<float>(random_() % 1000);
      if (after.contains(id) && random_() % 2 == 0) {
        batch.erase(id);
        after.erase(id);
      } else {
        const auto vector = vector_of(number);
        batch.upsert(id, std::span<const float>(vector));
        after[id] = number;
      }
    }
    db_->apply(batch);
    model_ = std::move(after);
  }

  void offer_wrong_ones() {
    const std::vector<float> short_one(dimension - 1);
    require(refusal_of([&] { db_->insert(own_id(thread_, 0), std::span<const float>(short_one)); }) ==
                IndexErrorKind::dimension_mismatch,
            "a vector of another dimension was taken");
    iqdb::WriteBatch batch;
    batch.erase(own_id(thread_, own_ids));  // which is never there
    try {
      db_->apply(batch);
      require(false, "a batch erased what is not there");
    } catch (const iqdb::BatchError& error) {
      require(error.position() == 0, "a batch failed elsewhere");
    }
  }

  // Everything that is no mutation.
  void look(std::uint64_t step) {
    switch (random_() % 10) {
      case 0:
        db_->sync();
        break;
      case 1:
        require(!db_->poisoned(), "it is poisoned");
        std::ignore = db_->log_bytes();
        std::ignore = db_->recovery().replayed;
        std::ignore = db_->config().path.native().size();
        break;
      case 2:
        require(db_->tune([](I& index) { return index.dim(); }) == dimension, "it has another dimension");
        break;
      case 3:
        if (step % 10 == 0) {
          db_->checkpoint();
        }
        break;
      case 4:
        if (step % 20 == 0) {
          const auto copy = *copies_ / (std::to_string(thread_) + "-" + std::to_string(step));
          db_->save_copy(copy);
          require(iqdb::PersistedIndex<I>::load({.path = copy}).index().size() > 0, "a copy is empty");
        }
        break;
      default:
        // What this thread was told is there, in the midst of what others do.
        db_->read([&](const I& index) {
          for (const auto& [id, number] : model_) {
            require(index.contains(id), "what was acknowledged is not there");
          }
        });
    }
  }

  iqdb::SharedIndex<I>* db_;
  std::uint64_t thread_;
  std::mt19937_64 random_;
  Common* common_;
  const std::filesystem::path* copies_;
  Model model_;
};

template <class I>
Model model_of(const I& index) {
  Model model;
  index.for_each([&](const iqdb::VectorId& id, std::span<const float> vector, const auto& metadata) {
    require(!metadata || std::get<double>(metadata->at("number")) == static_cast<double>(vector[0]),
            "a vector has the metadata of another");
    model.emplace(id.integer(), vector[0]);
  });
  return model;
}

// Runs `work(number)` in threads. Throws what the first of them threw.
template <class Work>
void in_threads(std::uint64_t count, std::vector<std::thread>& running, std::vector<std::exception_ptr>& thrown,
                Work work) {
  for (std::uint64_t number = 0; number < count; ++number) {
    std::exception_ptr& mine = thrown[number];
    running.emplace_back([&mine, work, number] {
      try {
        work(number);
      } catch (...) {
        mine = std::current_exception();
      }
    });
  }
}

template <class I>
void run(I empty, std::uint64_t seed, FsyncPolicy policy, std::uint64_t searchers) {
  const iqdb_test::TemporaryDirectory directory(iqdb_test::memory_directory());
  const iqdb::PersistConfig config{.path = directory / "index.iqdb",
                                   .wal_enabled = true,
                                   .fsync_policy = policy,
                                   .buffer_bytes = 4096,
                                   .helper_threads = 1};
  Common common{};
  Model expected;
  std::uint64_t lsn = 0;
  {
    auto db = iqdb::SharedIndex<I>::load_or_create(config, std::move(empty));
    const auto vector = vector_of(1);
    db.insert(999, std::span<const float>(vector));  // so that no copy is empty
    expected.emplace(999, 1.0F);
    std::vector<Caller<I>> callers;
    for (std::uint64_t thread = 0; thread < threads; ++thread) {
      callers.emplace_back(db, thread, seed * 100 + thread, common, directory.path());
    }
    std::atomic<bool> done = false;
    std::vector<std::exception_ptr> thrown(threads);
    std::vector<std::exception_ptr> thrown_by_searchers(searchers);
    std::vector<std::thread> running;
    std::vector<std::thread> searching;
    in_threads(searchers, searching, thrown_by_searchers, [&](std::uint64_t number) {
      const auto query = vector_of(static_cast<float>(number));
      while (!done) {
        require(!db.search(query, {.k = 3}).empty(), "a search finds nothing");
        std::this_thread::yield();
      }
    });
    in_threads(threads, running, thrown, [&](std::uint64_t number) { callers[number].run(); });
    for (std::thread& each : running) {
      each.join();
    }
    done = true;
    for (std::thread& each : searching) {
      each.join();
    }
    thrown.insert(thrown.end(), thrown_by_searchers.begin(), thrown_by_searchers.end());
    for (const std::exception_ptr& each : thrown) {
      if (each) {
        std::rethrow_exception(each);
      }
    }
    for (const Caller<I>& caller : callers) {
      expected.insert(caller.model().begin(), caller.model().end());
    }
    lsn = db.lsn();
    db.close();
  }
  for (std::uint64_t id = 0; id < common_ids; ++id) {
    const int there = common[id];
    require(there == 0 || there == 1, "two threads were told that they inserted or erased one vector");
    if (there == 1) {
      expected.emplace(id, 1.0F);
    }
  }
  const auto loaded = iqdb::PersistedIndex<I>::load(config);
  require(loaded.lsn() == lsn, "the load ends at another number");
  require(model_of(loaded.index()) == expected, "the load finds something else than what was acknowledged");
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t first_seed = argc > 1 ? std::stoull(argv[1]) : std::random_device{}();
  const std::uint64_t rounds = argc > 2 ? std::stoull(argv[2]) : 1;
  std::uint64_t seed = first_seed;
  std::uint64_t runs = 0;
  try {
    for (std::uint64_t round = 0; round < rounds; ++round, ++seed) {
      for (const FsyncPolicy policy :
           {FsyncPolicy::always(), FsyncPolicy::periodic(std::chrono::milliseconds(1)), FsyncPolicy::never()}) {
        run(iqdb::FlatIndex(dimension, iqdb::DistanceMetric::euclidean), seed, policy, 2);
        ++runs;
#ifdef TEST_HAS_HNSWLIB
        run(iqdb::HnswIndex(dimension, iqdb::DistanceMetric::euclidean, {.links = 4, .ef_construction = 10}), seed,
            policy, 2);
        ++runs;
#endif
#ifdef TEST_HAS_USEARCH
        run(iqdb::UsearchIndex(dimension, iqdb::DistanceMetric::euclidean, {.connectivity = 4, .expansion_add = 10}),
            seed, policy, 16);
        ++runs;
#endif
      }
    }
    std::printf("%llu runs of %llu threads from seed %llu on: all that was acknowledged is there\n",
                static_cast<unsigned long long>(runs), static_cast<unsigned long long>(threads),
                static_cast<unsigned long long>(first_seed));
  } catch (const std::exception& error) {
    std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
