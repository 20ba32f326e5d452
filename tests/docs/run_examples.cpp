// Runs the examples of the documentation, each in an empty directory, and compares the bytes of the files that
// docs/format.md explains, a snapshot and a log, with those that the library writes.
//
//   doc_examples SCRATCH docs/format.md
#include "run_examples.hpp"

#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

// The bytes of each dump: of each line that begins with eight hexadecimal digits, those that stand before two spaces. A
// dump begins with the offset 0.
std::vector<std::string> dumped_files(const fs::path& page) {
  std::ifstream file(page);
  std::vector<std::string> files;
  for (std::string line; std::getline(file, line);) {
    if (line.size() < 10 || line.find_first_not_of("0123456789abcdef") != 8 || line.compare(8, 2, "  ") != 0) {
      continue;
    }
    const std::size_t offset = std::stoul(line.substr(0, 8), nullptr, 16);
    if (offset == 0) {
      files.emplace_back();
    }
    if (files.empty() || offset != files.back().size()) {
      throw std::runtime_error(page.string() + ": the dump jumps at: " + line);
    }
    std::istringstream digits(line.substr(10, line.find("  ", 10) - 10));
    for (std::string pair; digits >> pair;) {
      files.back() += static_cast<char>(std::stoi(pair, nullptr, 16));
    }
  }
  return files;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: doc_examples SCRATCH docs/format.md\n";
    return 2;
  }
  const fs::path scratch = fs::absolute(argv[1]);
  const fs::path page = fs::absolute(argv[2]);
  fs::remove_all(scratch);
  int failures = 0;
  std::vector<std::string> written;  // the files that examples of docs/format.md made
  for (const Example& example : examples) {
    std::cout << example.place << std::endl;
    fs::create_directories(scratch / example.name);
    fs::current_path(scratch / example.name);
    try {
      example.run();
    } catch (const std::exception& error) {
      std::cout << "  failed: " << error.what() << std::endl;
      ++failures;
    }
    // The log of an example that has one, else its snapshot.
    const char* const made = fs::exists("tiny.iqdb.wal") ? "tiny.iqdb.wal" : "tiny.iqdb";
    if (std::string(example.place).starts_with("docs/format.md") && fs::exists(made)) {
      std::ifstream file(made, std::ios::binary);
      written.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
  }
  fs::current_path(scratch);
  if (written.size() != 2 || dumped_files(page) != written) {
    std::cout << page.string() << ": its dumps are not the files that its examples write" << std::endl;
    ++failures;
  }
  return failures == 0 && !examples.empty() ? 0 : 1;
}
