// Damages what this library and others have saved, fills up their disk, kills them while they save, and counts what
// comes of it.
//
//   iqdb_reliability --list                           the subjects, by number
//   iqdb_reliability NUMBER DIRECTORY [--quick]       examines one, in a directory of its own; prints a line of JSON
//
// run.py runs all of it.
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>

#include "examination.hpp"
#include "subject.hpp"
#include "support/temporary_directory.hpp"

namespace {

using namespace iqdb_reliability;

Subjects all_subjects() {
  Subjects subjects;
  add_iqdb(subjects);
  // What is not there is not linked either: the call is discarded.
  if constexpr (IQDB_BENCHMARKS_HAS_HNSWLIB != 0) {
    add_hnswlib(subjects);
  }
  if constexpr (IQDB_BENCHMARKS_HAS_FAISS != 0) {
    add_faiss(subjects);
  }
  if constexpr (IQDB_BENCHMARKS_HAS_SQLITE != 0) {
    add_sqlite(subjects);
  }
  if constexpr (IQDB_BENCHMARKS_HAS_LEVELDB != 0) {
    add_leveldb(subjects);
  }
  if constexpr (IQDB_BENCHMARKS_HAS_ROCKSDB != 0) {
    add_rocksdb(subjects);
  }
  if constexpr (IQDB_BENCHMARKS_HAS_LMDB != 0) {
    add_lmdb(subjects);
  }
  return subjects;
}

std::string in_words(const Description& subject) {
  return subject.library + ": " + subject.what + (subject.settings.empty() ? "" : ", " + subject.settings);
}

std::string json(const Counts& counts) {
  std::string text;
  for (std::size_t at = 0; at < outcome_names.size(); ++at) {
    text += (text.empty() ? "{\"" : ", \"") + std::string(outcome_names[at]) +
            "\": " + std::to_string(counts.of(static_cast<Outcome>(at)));
  }
  return text + "}";
}

// Nothing in a description needs an escape.
void examine(Subject& subject, const std::filesystem::path& parent, bool quick) {
  Amounts amounts;
  if (quick) {
    amounts = {.rows = 4, .most_flips = 50, .most_lengths = 10, .replaced_rows = 50, .full_disks = 4, .kills = 5};
  }
  const iqdb_test::TemporaryDirectory scratch(parent);
  const std::filesystem::path directory = scratch / "files";
  std::filesystem::create_directory(directory);
  Examination examination(subject, directory, amounts);
  const Description about = subject.description();
  // Before the full disk, for which this process takes leave of the others' mounts.
  const Damage damage = examination.damage();
  const Counts kills = examination.kills();
  const auto full_disk = examination.full_disk();
  std::cout << "{\"library\": \"" << about.library << "\", \"version\": \"" << about.version << "\", \"what\": \""
            << about.what << "\", \"settings\": \"" << about.settings << "\", \"rows\": " << amounts.rows
            << ", \"replaced_rows\": " << amounts.replaced_rows << ", \"file_bytes\": " << damage.file_bytes
            << ", \"flips\": " << json(damage.flips) << ", \"truncations\": " << json(damage.truncations)
            << ", \"kills\": " << json(kills);
  if (full_disk) {
    std::cout << ", \"full_disk\": {\"reported\": " << json(full_disk->reported)
              << ", \"silent\": " << json(full_disk->silent) << "}";
  }
  std::cout << "}\n";
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const Subjects subjects = all_subjects();
    if (count == 2 && std::string_view(arguments[1]) == "--list") {
      for (const auto& subject : subjects) {
        std::cout << in_words(subject->description()) << '\n';
      }
      return EXIT_SUCCESS;
    }
    if (count < 3) {
      std::cerr << "usage: " << arguments[0] << " --list | NUMBER DIRECTORY [--quick]\n";
      return EXIT_FAILURE;
    }
    examine(*subjects.at(std::stoul(arguments[1])), arguments[2],
            count > 3 && std::string_view(arguments[3]) == "--quick");
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::cerr << "iqdb_reliability: " << error.what() << '\n';
    return EXIT_FAILURE;
  }
}
