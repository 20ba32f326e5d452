#include "options.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

namespace iqdb_benchmarks {

namespace {

std::uint64_t number(const std::string& text) {
  std::size_t read = 0;
  std::uint64_t value = 0;
  try {
    value = std::stoull(text, &read);
  } catch (const std::exception&) {
    read = 0;
  }
  if (read == 0 || read != text.size() || value == 0 || text[0] == '-') {
    throw std::invalid_argument("\"" + text + "\" is not a number from 1 on");
  }
  return value;
}

std::vector<std::uint64_t> numbers(const std::string& text) {
  std::vector<std::uint64_t> all;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    all.push_back(number(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return all;
}

void make_quick(Options& options) {
  options.vectors = 5000;
  options.hnswlib_vectors = 200;
  options.commits = 30;
  options.unsynced_records = 2000;
  options.replay_records = 2000;
  options.scale_bytes = {100'000, 1'000'000};
}

}  // namespace

const char* const options_help =
    "  [--directory=<where to write; otherwise $IQDB_BENCHMARK_DIRECTORY, otherwise the current one>]\n"
    "  [--quick]  (everything tiny: shows that all of it runs, measures nothing)\n"
    "  [--vectors=<in a snapshot>] [--hnswlib_vectors=<in hnswlib's index>] [--commits=<of one record>]\n"
    "  [--unsynced_records=<n>] [--replay_records=<n>] [--scale_bytes=<n,n,…>]\n";

std::uint64_t Options::commits_of(std::size_t batch) const {
  const std::uint64_t fewer = batch == 1 ? 1 : batch < 1000 ? 3 : 10;
  return std::max<std::uint64_t>(commits / fewer, 1);
}

Options parse_options(int& count, char** arguments) {
  Options options;
  const char* const from_environment = std::getenv("IQDB_BENCHMARK_DIRECTORY");
  options.directory = from_environment != nullptr ? std::filesystem::path(from_environment) : ".";
  // First, so that a size that is given beside it counts.
  if (std::any_of(arguments + 1, arguments + count,
                  [](const char* each) { return std::string_view(each) == "--quick"; })) {
    make_quick(options);
  }
  int kept = 1;
  for (int at = 1; at < count; ++at) {
    const std::string argument = arguments[at];
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    if (name == "--directory") {
      options.directory = value;
    } else if (name == "--vectors") {
      options.vectors = number(value);
    } else if (name == "--hnswlib_vectors") {
      options.hnswlib_vectors = number(value);
    } else if (name == "--commits") {
      options.commits = number(value);
    } else if (name == "--unsynced_records") {
      options.unsynced_records = number(value);
    } else if (name == "--replay_records") {
      options.replay_records = number(value);
    } else if (name == "--scale_bytes") {
      options.scale_bytes = numbers(value);
    } else if (name == "--scale_job") {
      options.scale_job = value;
    } else if (argument != "--quick") {
      arguments[kept++] = arguments[at];
    }
  }
  arguments[kept] = nullptr;
  count = kept;
  options.directory = std::filesystem::absolute(options.directory);
  return options;
}

}  // namespace iqdb_benchmarks
