// Runs the examples of the documentation, each in an empty directory, and compares the bytes of the file that docs/format.md
// explains with those that the library writes.
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

namespace {

namespace fs = std::filesystem;

// The bytes of a dump: of each line that begins with eight hexadecimal digits, those that stand before two spaces.
std::string dumped_bytes(const fs::path& page) {
  std::ifstream file(page);
  std::string bytes;
  for (std::string line; std::getline(file, line);) {
    if (line.size() < 10 || line.find_first_not_of("0123456789abcdef") != 8 || line.compare(8, 2, "  ") != 0) {
      continue;
    }
    if (std::stoul(line.substr(0, 8), nullptr, 16) != bytes.size()) {
      throw std::runtime_error(page.string() + ": the dump jumps at: " + line);
    }
    std::istringstream digits(line.substr(10, line.find("  ", 10) - 10));
    for (std::string pair; digits >> pair;) {
      bytes += static_cast<char>(std::stoi(pair, nullptr, 16));
    }
  }
  return bytes;
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
  std::string written;  // the file that an example of docs/format.md made
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
    if (std::string(example.place).starts_with("docs/format.md") && fs::exists("tiny.iqdb")) {
      std::ifstream file("tiny.iqdb", std::ios::binary);
      written.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
  }
  fs::current_path(scratch);
  if (written.empty() || dumped_bytes(page) != written) {
    std::cout << page.string() << ": the dump is not the file that its example writes (" << written.size() << " bytes)"
              << std::endl;
    ++failures;
  }
  return failures == 0 && !examples.empty() ? 0 : 1;
}
