// find_text: finds passages of text files by what they say, also where a word is misspelt.
//
//   find_text [--index FILE] add [DIR|FILE…]   brings the index up to date with the files
//   find_text [--index FILE] search WORDS…     prints the best passages as   file:line  distance  text
//
// Without a path, `add` takes this repository's own README.md, docs and include. The index is a file: find_text.iqdb in
// the current directory, unless told otherwise.
//
// What `add` does: a new file is added, one whose contents changed has all its passages replaced, an unchanged one is
// left alone, and one that was deleted is forgotten when a directory above it is added again. A file of which `add` has
// said so is durable: kill `add` at any moment, and the next call finds it. Taken is text: UTF-8 without zero bytes, in
// files without an ending or with one of those of `text_endings`, so not pictures (.svg) and data (.json). Files of other
// endings, hidden files and build directories are passed over, unless they are named. While one `add` runs, no other call
// gets in.
#include <iqdb/index/flat.hpp>
#include <iqdb/persist.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#ifndef IQDB_SOURCE_DIR
#define IQDB_SOURCE_DIR "."  // where README.md, docs and include are, if the build system does not say
#endif

namespace {

namespace fs = std::filesystem;
using Database = iqdb::PersistedIndex<iqdb::FlatIndex>;

// ---- Text to vectors ------------------------------------------------------------------------------------------------

// Whether a byte belongs to a word: a letter, a digit, or a part of a character beyond ASCII.
bool is_of_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         static_cast<unsigned char>(c) >= 0x80;
}

// The trigrams of a text: each of its words, in lower case and with a space on either side, is cut into runs of three
// characters: "disk" into " di", "dis", "isk", "sk ". A misspelt word keeps many of its trigrams.
using Trigrams = std::set<std::string>;

Trigrams trigrams_of(std::string_view text) {
  static const std::set<std::string, std::less<>> words_that_say_nothing{
      " a ",    " an ",    " and ",   " are ", " as ",  " at ",   " be ",    " but ", " by ",    " do ",
      " does ", " for ",   " has ",   " how ", " if ",  " in ",   " is ",    " it ",  " its ",   " no ",
      " not ",  " of ",    " on ",    " or ",  " so ",  " that ", " the ",   " to ",  " was ",   " what ",
      " when ", " where ", " which ", " who ", " why ", " with ", " const ", " std ", " return "};
  Trigrams trigrams;
  std::string word = " ";
  for (const char c : std::string(text) + " ") {
    if (is_of_word(c)) {
      word += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    } else {
      word += ' ';
      for (std::size_t at = 0; at + 3 <= word.size() && !words_that_say_nothing.contains(word); ++at) {
        trigrams.insert(word.substr(at, 3));
      }
      word = " ";
    }
  }
  return trigrams;
}

// FNV-1a, 64 bits: short, and the same on every machine, which is what something kept on disk needs.
std::uint64_t hash_of(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  }
  return hash;
}

// The vector of a text: each trigram adds 1 or −1 to one of 256 components, chosen by its hash; then it is scaled to
// length 1. Texts that share trigrams come to lie near each other.
constexpr std::size_t dimension = 256;

std::array<float, dimension> embed(const Trigrams& trigrams) {
  std::array<float, dimension> vector{};
  for (const std::string& trigram : trigrams) {
    const std::uint64_t hash = hash_of(trigram);
    vector[hash % dimension] += (hash >> 32U) % 2 == 0 ? 1.0F : -1.0F;
  }
  const float length = std::sqrt(std::inner_product(vector.begin(), vector.end(), vector.begin(), 0.0F));
  for (float& component : vector) {
    component = length > 0 ? component / length : 0;
  }
  return vector;
}

// The cosine distance of two texts without the noise of hashing, where different trigrams meet in one component.
double exact_distance(const Trigrams& a, const Trigrams& b) {
  const auto shared = std::ranges::count_if(a, [&b](const std::string& trigram) { return b.contains(trigram); });
  return a.empty() || b.empty() ? 1.0
                                : 1.0 - static_cast<double>(shared) / std::sqrt(double(a.size()) * double(b.size()));
}

// ---- Files to passages ----------------------------------------------------------------------------------------------

struct Passage {
  std::size_t line = 0;  // of its first word, from 1
  std::string text;      // its words, with a space between them
};

// Passages are about as long as a sentence, so that the words of a query make up much of the one that holds them. Each
// begins in the middle of the one before, so that no sentence is only there in two halves. None reaches from one
// paragraph into the next, but a short paragraph, such as a heading, is taken together with the one below.
std::vector<Passage> passages_of(const std::string& contents) {
  constexpr std::ptrdiff_t words_each = 24;
  constexpr std::size_t short_paragraph = 8;
  std::vector<Passage> passages;
  std::vector<Passage> words;  // of the paragraph so far, each with its line
  const auto end_paragraph = [&] {
    for (auto begin = words.begin(); begin != words.end();) {
      const auto end = begin + std::min(words_each, words.end() - begin);
      passages.push_back(*begin);
      std::for_each(begin + 1, end, [&](const Passage& word) { passages.back().text += " " + word.text; });
      begin = end == words.end() ? end : begin + words_each / 2;
    }
    words.clear();
  };
  std::istringstream lines(contents);
  std::size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream parts(line);
    std::string word;
    if (!(parts >> word) && words.size() >= short_paragraph) {
      end_paragraph();
    }
    for (; parts; parts >> word) {
      if (std::ranges::any_of(word, is_of_word)) {  // not what is only drawn: the lines of a table, say
        words.push_back({number, word});
      }
    }
  }
  end_paragraph();
  return passages;
}

// ---- Finding files --------------------------------------------------------------------------------------------------

// What people write and read. Pictures and data in UTF-8 are no text: their numbers and tags would crowd out passages.
constexpr std::array<std::string_view, 22> text_endings = {
    ".md", ".txt", ".rst", ".adoc", ".org", ".tex", ".html", ".hpp", ".h",  ".cpp", ".cc",
    ".c",  ".py",  ".rs",  ".go",   ".js",  ".ts",  ".java", ".rb",  ".sh", ".sql", ".cmake"};

bool has_text_ending(const fs::path& file) {
  const std::string ending = file.extension().string();
  return ending.empty() || std::ranges::find(text_endings, ending) != text_endings.end();
}

// A file to add, by its absolute name; whether it was named itself, and not only a directory above it.
using Files = std::map<std::string, bool>;

// The files at and below a path.
Files files_at(const fs::path& path) {
  if (!fs::is_directory(path)) {
    return {{fs::canonical(path).string(), true}};  // throws where there is nothing
  }
  Files files;
  for (auto entry = fs::recursive_directory_iterator(path); entry != fs::recursive_directory_iterator(); ++entry) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with(".") || name == "build" || fs::exists(entry->path() / "CMakeCache.txt")) {
      entry.disable_recursion_pending();
    } else if (entry->is_regular_file()) {
      files.emplace(fs::canonical(entry->path()).string(), false);
    }
  }
  return files;
}

bool is_at_or_below(const std::string& file, const fs::path& path) {
  const fs::path absolute = fs::weakly_canonical(path);
  return file == absolute.string() || file.starts_with((absolute / "").string());
}

// A file's name for people: relative to the current directory or to this repository, if it is below one of them.
std::string shown(const std::string& file) {
  for (const fs::path& base : {fs::current_path(), fs::path(IQDB_SOURCE_DIR)}) {
    if (is_at_or_below(file, base)) {
      return fs::path(file).lexically_relative(fs::weakly_canonical(base)).string();
    }
  }
  return file;
}

// The beginning of a text that is too long to print: what has no spaces may be.
std::string shortened(const std::string& text) {
  std::size_t end = 200;
  while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80) {
    --end;  // not within a character
  }
  return end < text.size() ? text.substr(0, end) + "…" : text;
}

std::string contents_of(const std::string& name) {
  std::ifstream file(name, std::ios::binary);
  std::ostringstream contents;
  if (!file || (file.peek() != std::ifstream::traits_type::eof() && !(contents << file.rdbuf()))) {
    throw std::runtime_error("cannot read '" + name + "'; check its permissions");
  }
  return contents.str();
}

// ---- The index ------------------------------------------------------------------------------------------------------

iqdb::PersistConfig config_for(const fs::path& path, bool with_log) {
  return {.path = path,
          .wal_enabled = with_log,
          .compression = IQDB_PERSIST_HAS_ZSTD != 0 ? iqdb::Compression::zstd() : iqdb::Compression::none()};
}

// Says so if an `add` did not come to its end, and what it had made durable was taken from the log.
void report_recovery(const Database& db) {
  if (db.recovery().replayed > 0) {
    std::cout << "recovered: an add was interrupted; " << db.recovery().replayed << " changes taken from its log\n";
  }
}

// What the index knows of a file: the digest of its contents when it was added, and its passages.
struct Known {
  std::int64_t digest = 0;
  std::vector<iqdb::VectorId> passages;
};

std::map<std::string, Known> known_files(const iqdb::FlatIndex& index) {
  std::map<std::string, Known> files;
  index.for_each([&](const iqdb::VectorId& id, std::span<const float>, const std::optional<iqdb::Metadata>& metadata) {
    Known& file = files[std::get<std::string>(metadata.value().at("file"))];
    file.digest = std::get<std::int64_t>(metadata->at("digest"));
    file.passages.push_back(id);
  });
  return files;
}

void add(const fs::path& index_path, const std::vector<fs::path>& paths) {
  const auto start = std::chrono::steady_clock::now();
  Files files;
  for (const fs::path& path : paths) {
    for (const auto& [file, named] : files_at(path)) {
      files[file] |= named;
    }
  }
  Database db = Database::load_or_create(config_for(index_path, true),
                                         [] { return iqdb::FlatIndex(dimension, iqdb::DistanceMetric::cosine); });
  report_recovery(db);
  std::map<std::string, std::size_t> count{{"added", 0}, {"changed", 0}, {"deleted", 0}, {"unchanged", 0}};

  // Puts the passages of a file in the place of its old ones. A batch is one record of the log: whenever this program
  // is killed, the next one finds the file as it was or as it is now, and never a part of it.
  const auto replace = [&](const Known& old, const std::string& what, const std::string& file,
                           const std::string& contents) {
    iqdb::WriteBatch batch;
    std::ranges::for_each(old.passages, [&](const iqdb::VectorId& id) { batch.erase(id); });
    const auto digest = static_cast<std::int64_t>(hash_of(contents));
    for (const auto& [line, text] : passages_of(contents)) {
      batch.insert(iqdb::VectorId::from_bytes(file + "#" + std::to_string(batch.size())), embed(trigrams_of(text)),
                   {{"file", file}, {"line", iqdb::make_value(line)}, {"text", text}, {"digest", digest}});
    }
    if (batch.size() > 0) {
      db.apply(batch);
      ++count[what];
      std::cout << what << ": " << shown(file) << std::endl;  // not before it is durable, and then at once
    }
  };

  std::map<std::string, Known> known = known_files(db.index());
  for (const auto& [file, named] : files) {
    const std::string contents = contents_of(file);
    if (!iqdb::is_utf8(contents) || contents.find('\0') != std::string::npos) {
      std::cout << "skipped: " << shown(file) << " is not UTF-8 text\n";
    } else if (!named && !has_text_ending(file)) {
      continue;
    } else if (const auto old = known.extract(file); old.empty()) {
      replace({}, "added", file, contents);
    } else if (old.mapped().digest != static_cast<std::int64_t>(hash_of(contents))) {
      replace(old.mapped(), "changed", file, contents);
    } else {
      ++count["unchanged"];
    }
  }
  for (const auto& [file, old] : known) {  // what was not met, or is no text any more
    const auto above = [&name = file](const fs::path& path) { return is_at_or_below(name, path); };
    if (std::ranges::any_of(paths, above)) {
      replace(old, "deleted", file, "");
    }
  }

  // All of it is durable already. This folds the log into the snapshot, so that a search has no log to replay. A
  // program that changes its index all the time would rather wait until the log has grown as large as the snapshot.
  const bool unchanged = count["added"] + count["changed"] + count["deleted"] + db.recovery().replayed == 0;
  if (!unchanged) {
    db.checkpoint();
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  for (const auto& [what, files_so] : count) {
    std::cout << files_so << " files " << what << ", ";
  }
  std::cout << std::fixed << std::setprecision(2) << seconds.count() << " s; " << db.index().size() << " passages in "
            << index_path.string() << ", "
            << (unchanged ? "unchanged" : std::to_string(fs::file_size(index_path) / 1024) + " KiB") << "\n";
}

// A search changes nothing: with the log off it takes no lock and writes no file, so that any number of them may run at
// once. Only where an `add` was interrupted does the log hold what the snapshot lacks, and is needed.
Database load_for_search(const fs::path& index_path) {
  try {
    return Database::load(config_for(index_path, false));
  } catch (const iqdb::PersistError& error) {
    if (error.kind() != iqdb::PersistErrorKind::log_present) {
      throw;
    }
  }
  return Database::load(config_for(index_path, true));
}

void search(const fs::path& index_path, const std::string& query) {
  if (!fs::exists(index_path)) {
    throw std::runtime_error("there is no '" + index_path.string() + "' yet; make it by: find_text add");
  }
  const Database db = load_for_search(index_path);
  report_recovery(db);
  const Trigrams wanted = trigrams_of(query);

  // The index finds the candidates; the exact distance puts them in order.
  std::multimap<double, iqdb::Metadata> candidates;
  for (const iqdb::Hit& hit : db.index().search(embed(wanted), {.k = 100})) {
    const auto& text = std::get<std::string>(hit.metadata.value().at("text"));
    candidates.emplace(exact_distance(wanted, trigrams_of(text)), *hit.metadata);
  }
  std::map<std::string, std::set<std::int64_t>> printed;
  std::size_t left = 5;
  for (const auto& [distance, passage] : candidates) {
    const auto& file = std::get<std::string>(passage.at("file"));
    const auto line = std::get<std::int64_t>(passage.at("line"));
    // One of two passages that overlap is enough.
    const auto overlaps = [line](std::int64_t other) { return std::abs(line - other) <= 2; };
    if (distance < 1 && left > 0 && std::ranges::none_of(printed[file], overlaps)) {
      std::cout << shown(file) << ":" << line << "  " << std::fixed << std::setprecision(3) << distance << "  "
                << shortened(std::get<std::string>(passage.at("text"))) << "\n";
      printed[file].insert(line);
      --left;
    }
  }
  if (printed.empty()) {
    std::cout << "nothing found\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  fs::path index_path = "find_text.iqdb";
  if (words.size() >= 2 && words[0] == "--index") {
    index_path = words[1];
    words.erase(words.begin(), words.begin() + 2);
  }
  const std::string command = words.empty() ? "" : words[0];
  try {
    if (command == "add") {
      const fs::path source = IQDB_SOURCE_DIR;
      std::vector<fs::path> paths(words.begin() + 1, words.end());
      add(index_path, !paths.empty() ? paths : std::vector{source / "README.md", source / "docs", source / "include"});
      return 0;
    }
    if (command == "search" && words.size() > 1) {
      search(index_path, std::accumulate(words.begin() + 1, words.end(), std::string(),
                                         [](const std::string& a, const std::string& b) { return a + " " + b; }));
      return 0;
    }
  } catch (const std::exception& error) {  // a PersistError in the first place, whose message says what can be done
    std::cerr << "find_text: " << error.what() << "\n";
    return 1;
  }
  std::cerr << "usage: find_text [--index FILE] add [DIR|FILE...]\n"
               "       find_text [--index FILE] search WORDS...\n";
  return 2;
}
