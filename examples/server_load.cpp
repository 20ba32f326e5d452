// server_load: threads that insert, change, erase and search vectors at `server`, and what became of what they did.
//
//   server_load [--port 8080] [--threads 8] [--seconds 5] [--record FILE] [--checkpoint-every N] [--seed N]
//   server_load check [--port 8080] --record FILE
//
// The first form prints how many requests were answered a second and how long they took. With --record, the file says
// afterwards what the server has acknowledged, and what it may have done when it ended before it answered. Kill the
// server meanwhile, start it again, and let the second form compare. The server's metric must be euclidean, and nobody
// else may have changed its index.
//
// Ends with 0 if all is well, 1 if a request was refused or a vector is not as it was acknowledged, 2 if it was called
// wrongly, and 3 if the server went away.
#include <httplib.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iomanip>
#include <iostream>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/arguments.hpp"
#include "server/record.hpp"
#include "server/worker.hpp"

namespace {

using nlohmann::json;
using namespace load;

constexpr int server_is_gone = 3;

struct Options {
  int port;
  unsigned threads;
  unsigned seconds;
  std::uint64_t checkpoint_every;
  std::uint64_t seed;
  std::string record;
};

// ---- Load ---------------------------------------------------------------------------------------------------------------

void print(std::map<std::string, std::vector<double>>& milliseconds, double seconds) {
  std::cout << "                 a second   median     p99   p99.9  longest (ms)\n"
            << std::fixed << std::setprecision(2);
  for (auto& [path, times] : milliseconds) {
    std::sort(times.begin(), times.end());
    std::cout << std::left << std::setw(12) << path << std::right << std::setw(13)
              << static_cast<double>(times.size()) / seconds;
    for (const double share : {0.5, 0.99, 0.999, 1.0}) {
      std::cout << std::setw(share < 1 ? 8 + (share > 0.5 ? 0 : 1) : 9)
                << times[static_cast<std::size_t>(share * static_cast<double>(times.size() - 1))];
    }
    std::cout << '\n';
  }
}

int make_load(const Options& options) {
  const std::size_t dim = Connection(options.port).get("/stats").at("dim");
  Record record = options.record.empty() ? Record{} : read_record(options.record);
  // Without a record, nobody knows which numbers earlier loads have used.
  const std::uint64_t first = record.empty() ? std::mt19937_64(options.seed)() >> 24U : record.rbegin()->first + 1;
  std::cout << options.threads << " threads, dimension " << dim << ", seed " << options.seed << std::endl;

  std::vector<Worker> workers;
  for (unsigned i = 0; i < options.threads; ++i) {
    workers.emplace_back(options.port, dim, first + i, options.threads, options.seed + i);
  }
  std::atomic<bool> server_gone = false;
  const auto begin = Clock::now();
  const auto end = begin + std::chrono::seconds(options.seconds);
  std::vector<std::thread> threads;
  threads.reserve(workers.size());
  for (Worker& worker : workers) {
    threads.emplace_back([&, makes_checkpoints = &worker == &workers.front() && options.checkpoint_every > 0] {
      try {
        for (std::uint64_t i = 1; Clock::now() < end && !server_gone; ++i) {
          worker.step();
          if (makes_checkpoints && i % options.checkpoint_every == 0) {
            worker.checkpoint();
          }
        }
      } catch (const ServerGone&) {
        server_gone = true;
      }
      worker.hang_up();
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const double elapsed = std::chrono::duration<double>(Clock::now() - begin).count();

  Work all;
  for (Worker& worker : workers) {
    all.record.merge(worker.work().record);
    for (const auto& [path, times] : worker.work().milliseconds) {
      all.milliseconds[path].insert(all.milliseconds[path].end(), times.begin(), times.end());
    }
    all.refusals.insert(all.refusals.end(), worker.work().refusals.begin(), worker.work().refusals.end());
  }
  print(all.milliseconds, elapsed);
  if (!options.record.empty()) {
    record.merge(all.record);
    write_record(options.record, record);
  }
  if (!all.refusals.empty()) {
    std::cout << all.refusals.size() << " requests were refused, as " << all.refusals.front() << '\n';
    return EXIT_FAILURE;
  }
  if (server_gone) {
    std::cout << "the server went away\n";
    return server_is_gone;
  }
  return EXIT_SUCCESS;
}

// ---- Check --------------------------------------------------------------------------------------------------------------

// Compares all that the server holds with the record. What it holds was durable when it started, so the record then has
// no doubts any more.
int check(const Options& options) {
  Connection connection(options.port);
  const json stats = connection.get("/stats");
  const std::size_t dim = stats.at("dim");
  std::map<std::uint64_t, Version> held;
  // A search for as many as there are finds all of them.
  const json everything = connection.post("/search", {{"vector", vector_of(0, 1, dim)}, {"k", stats.at("vectors")}});
  for (const json& hit : everything.at("hits")) {
    const std::uint64_t number = hit.at("metadata").at("number");
    if (hit.at("id") != id_of(number)) {
      throw std::runtime_error("a vector has the metadata of another one: " + hit.dump());
    }
    held[number] = hit.at("metadata").at("version");
  }

  Record record = read_record(options.record);
  std::size_t wrong = 0;
  std::size_t doubts = 0;
  std::size_t present = 0;
  const auto complain = [&wrong](std::uint64_t number, const std::string& what) {
    if (++wrong <= 10) {
      std::cout << id_of(number) << ": " << what << '\n';
    }
  };
  for (auto& [number, known] : record) {
    const auto found = held.find(number);
    const Version version = found == held.end() ? gone : found->second;
    if (version != known.acknowledged && version != known.in_doubt) {
      complain(number, "version " + std::to_string(known.acknowledged) + " was acknowledged (0: erased), version " +
                           std::to_string(version) + " is there");
    }
    doubts += known.in_doubt ? 1U : 0U;
    present += version != gone ? 1U : 0U;
    known = {.acknowledged = version};
  }
  for (const auto& [number, version] : held) {
    if (!record.contains(number)) {
      complain(number, "was never inserted");
    }
  }
  // Some are looked for by what they contain.
  std::mt19937_64 random(options.seed);
  for (int i = 0; i < 200 && !held.empty(); ++i) {
    auto at = held.lower_bound(random() % (held.rbegin()->first + 1));
    const json hits =
        connection.post("/search", {{"vector", vector_of(at->first, at->second, dim)}, {"k", 1}}).at("hits");
    if (hits.at(0).at("id") != id_of(at->first) || hits.at(0).at("distance") > 1e-3) {
      complain(at->first, "is not the nearest one to itself: " + hits.dump());
    }
  }
  std::cout << record.size() << " vectors were inserted; " << present << " are there, " << record.size() - present
            << " are not, " << doubts << " may be either; " << wrong << " are wrong\n";
  write_record(options.record, record);
  return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) try {
  const server::Arguments arguments(argc, argv,
                                    {"--port", "--threads", "--seconds", "--record", "--checkpoint-every", "--seed"});
  constexpr auto unlimited = std::numeric_limits<std::uint64_t>::max();
  const Options options = {
      .port = arguments.number("--port", 8080, 1, 65535),
      .threads = arguments.number("--threads", 8U, 1U, 1024U),
      .seconds = arguments.number("--seconds", 5U, 1U, 86400U),
      .checkpoint_every = arguments.number<std::uint64_t>("--checkpoint-every", 0, 0, unlimited),
      .seed = arguments.number<std::uint64_t>("--seed", std::random_device{}(), 0, unlimited),
      .record = arguments.text("--record", ""),
  };
  if (arguments.words() == std::vector<std::string>{"check"} && !options.record.empty()) {
    return check(options);
  }
  if (!arguments.words().empty()) {
    throw server::UsageError("the command line is neither a load nor a check with a record");
  }
  return make_load(options);
} catch (const server::UsageError& error) {
  std::cerr << "server_load: " << error.what()
            << "\nusage: server_load [--port 8080] [--threads 8] [--seconds 5] [--record FILE] [--checkpoint-every N] "
               "[--seed N]\n       server_load check [--port 8080] --record FILE\n";
  return 2;
} catch (const load::ServerGone& error) {
  std::cerr << "server_load: " << error.what() << '\n';
  return server_is_gone;
} catch (const std::exception& error) {
  std::cerr << "server_load: " << error.what() << '\n';
  return EXIT_FAILURE;
}
