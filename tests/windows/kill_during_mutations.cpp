// A process of Windows that is ended at any moment loses nothing that was acknowledged, whatever it was doing.
//
// As slow/kill_during_mutations, of which there is more in support/mutation_script.hpp: a child works through the script and
// reports each step over a pipe; the parent ends it at a random moment, and loads. Before that, it asks for the lock that another
// child holds, which does nothing.
//
//   kill_during_mutations [SEED [ROUNDS]]
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>

#include "iqdb/index/flat.hpp"
#include "iqdb/persist.hpp"
#include "support/mutation_script.hpp"
#include "support/temporary_directory.hpp"

namespace {

using namespace iqdb_test::mutation_script;  // NOLINT(google-build-using-namespace): all of it

[[noreturn]] void fail(const char* call) {
  throw std::system_error(static_cast<int>(::GetLastError()), std::system_category(), call);
}

// In place of the first step of a child that only opens the index.
constexpr std::uint64_t nothing = 1'000'000'000'000;

// What the child does: `kill_during_mutations --child PATH SEED FIRST_STEP ROUND`, with the pipe as its output.
int work(const std::filesystem::path& path, std::uint64_t seed, std::uint64_t first, std::uint64_t round) {
  const auto config = config_for(path, round);
  std::optional<Database> db(Database::load(config));
  for (std::uint64_t number = first;; ++number) {
    if (first != nothing) {
      apply_to_database(seed, number, db, config);
    }
    DWORD written = 0;
    if (::WriteFile(::GetStdHandle(STD_OUTPUT_HANDLE), &number, sizeof number, &written, nullptr) == 0) {
      return EXIT_FAILURE;
    }
    if (first == nothing) {
      ::Sleep(INFINITE);
    }
  }
}

// A child, and the reading end of its pipe.
class Child {
 public:
  Child(const std::filesystem::path& path, std::uint64_t seed, std::uint64_t first, std::uint64_t round) {
    SECURITY_ATTRIBUTES inherited{sizeof(SECURITY_ATTRIBUTES), nullptr, TRUE};
    HANDLE writing = nullptr;
    constexpr DWORD pipe_bytes = 1U << 20U;
    if (::CreatePipe(&reading_, &writing, &inherited, pipe_bytes) == 0) {
      fail("CreatePipe");
    }
    ::SetHandleInformation(reading_, HANDLE_FLAG_INHERIT, 0);
    std::wstring program(MAX_PATH, L'\0');
    program.resize(::GetModuleFileNameW(nullptr, program.data(), static_cast<DWORD>(program.size())));
    std::wstring line = L"\"" + program + L"\" --child \"" + path.wstring() + L"\" " + std::to_wstring(seed) + L" " +
                        std::to_wstring(first) + L" " + std::to_wstring(round);
    STARTUPINFOW start{};
    start.cb = sizeof start;
    start.dwFlags = STARTF_USESTDHANDLES;
    start.hStdOutput = writing;
    start.hStdError = ::GetStdHandle(STD_ERROR_HANDLE);
    PROCESS_INFORMATION made{};
    const BOOL done =
        ::CreateProcessW(program.c_str(), line.data(), nullptr, nullptr, TRUE, 0, nullptr, nullptr, &start, &made);
    ::CloseHandle(writing);
    if (done == 0) {
      fail("CreateProcess");
    }
    ::CloseHandle(made.hThread);
    process_ = made.hProcess;
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    ::TerminateProcess(process_, ended);
    ::CloseHandle(process_);
    ::CloseHandle(reading_);
  }

  /// Ends it as a crash would. Throws if it has ended by itself.
  void end() const {
    ::TerminateProcess(process_, ended);
    ::WaitForSingleObject(process_, INFINITE);
    DWORD status = 0;
    ::GetExitCodeProcess(process_, &status);
    if (status != ended) {
      throw std::runtime_error("the child ended by itself: " + std::to_string(status));
    }
  }

  /// The next number that it has reported; nothing if it has ended and all is read.
  [[nodiscard]] std::optional<std::uint64_t> next() const {
    std::uint64_t number = 0;
    DWORD count = 0;
    const BOOL done = ::ReadFile(reading_, &number, sizeof number, &count, nullptr);
    return done != 0 && count == sizeof number ? std::optional(number) : std::nullopt;
  }

 private:
  static constexpr UINT ended = 77;

  HANDLE reading_ = nullptr;
  HANDLE process_ = nullptr;
};

void require_locked_by_a_child(const std::filesystem::path& path) {
  const auto config = config_for(path, 0);
  const Child child(path, 0, nothing, 0);
  std::ignore = child.next();
  try {
    const auto db = Database::load(config);
  } catch (const iqdb::PersistError& error) {
    if (error.kind() == iqdb::PersistErrorKind::locked) {
      child.end();
      std::ignore = Database::load(config);  // the lock has ended with its holder
      return;
    }
    throw;
  }
  throw std::runtime_error("two processes have the index open for writing");
}

int parent(std::uint64_t seed, std::uint64_t rounds) {
  const iqdb_test::TemporaryDirectory directory;
  const auto path = directory.path() / L"Gr\u00F6\u00DFe.iqdb";
  std::mt19937_64 random(seed);
  Model model;
  std::uint64_t done = 0;  // steps that the model has taken
  std::uint64_t torn = 0;
  std::uint64_t under_way = 0;
  std::uint64_t extra = identifiers;  // for the vectors of the parent
  {
    auto db = Database::open_with(iqdb::FlatIndex(dimension, iqdb::DistanceMetric::euclidean), config_for(path, 0));
    db.close();
  }
  require_locked_by_a_child(path);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const auto config = config_for(path, round);
    const Child child(path, seed, done, round);
    const auto take = [&](std::uint64_t number) {
      for (; done <= number; ++done) {
        apply_to_model(seed, done, model);
      }
    };
    // In every fourth round the child is ended while it starts and loads, in the others while it works.
    if (round % 4 != 3) {
      if (const auto first = child.next()) {
        take(*first);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 150));
    child.end();
    while (const auto number = child.next()) {
      take(*number);
    }

    auto db = Database::load(config);
    torn += db.recovery().dropped_bytes > 0 ? 1U : 0U;
    const Model loaded = model_of(db.index());
    if (loaded != model) {
      // The step that was under way is there as a whole, or not at all.
      apply_to_model(seed, done++, model);
      ++under_way;
      if (loaded != model) {
        std::printf("round %s: step %s: the loaded index is neither with nor without the step under way\n",
                    std::to_string(round).c_str(), std::to_string(done).c_str());
        return EXIT_FAILURE;
      }
    }
    for (int more = 0; more < 3; ++more, ++extra) {
      db.insert(extra, vector_of(1), {{"number", 1.0}});
      model.emplace(extra, 1.0F);
    }
    db.close();
    const auto again = Database::load(config);
    if (model_of(again.index()) != model) {
      std::printf("round %s: what was inserted after the recovery is missing\n", std::to_string(round).c_str());
      return EXIT_FAILURE;
    }
  }
  std::printf("%s rounds, %s steps, %s with a step under way that was logged, %s with a torn tail: nothing lost\n",
              std::to_string(rounds).c_str(), std::to_string(done).c_str(), std::to_string(under_way).c_str(),
              std::to_string(torn).c_str());
  return EXIT_SUCCESS;
}

}  // namespace

int wmain(int argc, wchar_t** argv) {
  try {
    if (argc == 6 && std::wstring(argv[1]) == L"--child") {
      return work(argv[2], std::stoull(argv[3]), std::stoull(argv[4]), std::stoull(argv[5]));
    }
    const std::uint64_t seed = argc > 1 ? std::stoull(argv[1]) : std::random_device{}();
    const std::uint64_t rounds = argc > 2 ? std::stoull(argv[2]) : 25;
    std::printf("seed %s\n", std::to_string(seed).c_str());
    return parent(seed, rounds);
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return EXIT_FAILURE;
  }
}
