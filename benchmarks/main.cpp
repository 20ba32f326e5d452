// Speed, measured beside the system calls that nobody can do without, and beside other libraries at the same work.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>

#include "benchmarks.hpp"
#include "measure.hpp"
#include "options.hpp"
#include "snapshots.hpp"

namespace {

using namespace iqdb_benchmarks;

void add_all(const Options& options) {
  add_log_anchors(options);
  add_iqdb_inserts(options);
  add_concurrent_log(options);
  add_concurrent_use(options);
  add_beside_writer(options);
  // What is not there is not linked either: the call is discarded.
  if constexpr (IQDB_BENCHMARKS_HAS_SQLITE != 0) {
    add_sqlite(options);
  }
  if constexpr (IQDB_BENCHMARKS_HAS_ROCKSDB != 0) {
    add_rocksdb(options);
  }
  if constexpr (IQDB_BENCHMARKS_HAS_LEVELDB != 0) {
    add_leveldb(options);
  }
  if constexpr (IQDB_BENCHMARKS_HAS_LMDB != 0) {
    add_lmdb(options);
  }
  add_snapshot_anchors(options);
  add_codecs(options);
  add_iqdb_snapshots(options);
  if constexpr (IQDB_BENCHMARKS_HAS_FAISS != 0) {
    add_faiss(options);
    add_joint_faiss(options);
  }
  if constexpr (IQDB_BENCHMARKS_HAS_HNSWLIB != 0) {
    add_hnswlib(options);
    add_joint_hnswlib(options);
  }
  add_replay(options);
  add_scale(options);
}

void print_help() {
  benchmark::PrintDefaultHelp();
  std::printf("and of this program\n%s", options_help);
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const Options options = parse_options(count, arguments);
    if (!options.scale_job.empty()) {
      try {
        run_scale_job(options);
      } catch (const Unsupported& reason) {
        std::printf("%s\n", reason.what());
      }
      return EXIT_SUCCESS;
    }
    add_all(options);
    benchmark::Initialize(&count, arguments, &print_help);
    if (benchmark::ReportUnrecognizedArguments(count, arguments)) {
      std::fprintf(stderr, "--help lists what can be given\n");
      return EXIT_FAILURE;
    }
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    remove_shared();
    return any_failed ? EXIT_FAILURE : EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "iqdb_benchmarks: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
