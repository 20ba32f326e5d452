// iqdb search PATH: the vectors of an index that are nearest to others, also beside a program that writes it.
#include <algorithm>
#include <array>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "any_index.hpp"
#include "commands.hpp"
#include "given_path.hpp"
#include "id_text.hpp"
#include "number_list.hpp"
#include "progress.hpp"
#include "row_file.hpp"

namespace iqdb_tool {

namespace {

namespace fs = std::filesystem;

struct SearchOptions {
  std::string path;
  std::optional<std::string> row = {};
  std::optional<std::string> vector = {};
  std::optional<std::string> file = {};
  std::optional<std::uint64_t> count = {};
  std::optional<std::uint64_t> effort = {};
  std::optional<std::uint64_t> probes = {};
  std::optional<float> radius = {};
  std::vector<std::string> where = {};
  bool metadata = false;
};

// Whether a text, as a user writes it, says this value. The text 7 says the number 7 and also the text "7", since nobody
// knows which of them a program stores.
bool says(std::string_view text, const iqdb::Value& value) {
  return std::visit(
      [text]<class T>(const T& held) {
        if constexpr (std::same_as<T, std::string>) {
          return held == text;
        } else if constexpr (std::same_as<T, bool>) {
          return text == (held ? "true" : "false");
        } else if constexpr (std::same_as<T, iqdb::Null>) {
          return text == "null";
        } else {
          T number = 0;
          const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
          return error == std::errc() && end == text.data() + text.size() && number == held;
        }
      },
      value);
}

// A condition that the metadata of a vector must meet: KEY=VALUE.
struct Condition {
  std::string key;
  std::string value;

  [[nodiscard]] bool holds(const std::optional<iqdb::Metadata>& metadata) const {
    if (!metadata) {
      return false;
    }
    const auto found = metadata->find(key);
    return found != metadata->end() && says(value, found->second);
  }
};

// Admits the vectors of which each condition holds.
iqdb::SearchFilter filter_of(const std::vector<std::string>& where) {
  if (where.empty()) {
    return {};
  }
  std::vector<Condition> conditions;
  for (const std::string& condition : where) {
    const std::size_t middle = condition.find('=');
    conditions.push_back({condition.substr(0, middle), condition.substr(middle + 1)});
  }
  return {[conditions = std::move(conditions)](const iqdb::VectorId& /*id*/,
                                               const std::optional<iqdb::Metadata>& metadata) {
    return std::ranges::all_of(conditions, [&](const Condition& each) { return each.holds(metadata); });
  }};
}

iqdb::SearchParams params_of(const SearchOptions& options) {
  // Who names a radius and no number wants all that is within.
  const std::uint64_t most = options.radius ? iqdb::SearchParams::no_limit : iqdb::SearchParams{}.k;
  iqdb::SearchParams params{.k = static_cast<std::size_t>(options.count.value_or(most)),
                            .radius = options.radius,
                            .filter = filter_of(options.where),
                            .with_metadata = options.metadata};
  if (options.effort) {
    params.ef = static_cast<std::size_t>(*options.effort);
  }
  if (options.probes) {
    params.probes = static_cast<std::size_t>(*options.probes);
  }
  return params;
}

std::vector<float> row_of(const AnyIndex& index, const iqdb::VectorId& id, const fs::path& path) {
  std::optional<std::vector<float>> found;
  if (index.contains(id)) {
    index.each([&](const iqdb::VectorId& each, std::span<const float> vector, const auto& /*metadata*/) {
      if (each == id) {
        found.emplace(vector.begin(), vector.end());
      }
    });
  }
  if (!found) {
    throw iqdb::IndexError(iqdb::IndexErrorKind::not_found, "the index '" + path.string() + "' holds no vector " +
                                                                to_string(id) + "; name another by --row");
  }
  return std::move(*found);
}

std::string distance_text(float distance) {
  constexpr std::size_t most_characters = 32;
  std::array<char, most_characters> text{};
  static_cast<void>(std::snprintf(text.data(), text.size(), "%g", static_cast<double>(distance)));
  return text.data();
}

std::string padded(std::string text, std::size_t width) {
  text.append(text.size() < width ? width - text.size() : 0, ' ');
  return text;
}

// Answers one query after another.
class Answers {
 public:
  Answers(Output& out, const AnyIndex& index, const SearchOptions& options, bool several)
      : out_(&out), index_(&index), options_(&options), params_(params_of(options)), several_(several) {}

  // `what` names the query in the message.
  void answer(std::span<const float> query, const std::string& what) {
    if (query.size() != index_->dim()) {
      throw iqdb::IndexError(iqdb::IndexErrorKind::dimension_mismatch,
                             what + " has " + count_text(query.size(), "component") +
                                 ", and the vectors of the index '" + options_->path + "' have " +
                                 std::to_string(index_->dim()));
    }
    const std::vector<iqdb::Hit> hits = index_->search(query, params_);
    out_->json() ? print_document(hits) : print_lines(hits);
    ++number_;
  }

 private:
  void print_document(const std::vector<iqdb::Hit>& hits) {
    Json list = Json::array();
    for (const iqdb::Hit& hit : hits) {
      Json entry{{"id", json_of_id(hit.id)}, {"distance", hit.distance}};
      if (options_->metadata) {
        entry["metadata"] = json_of_metadata(hit.metadata);
      }
      list.push_back(std::move(entry));
    }
    out_->json_line({{"query", number_}, {"hits", std::move(list)}});
  }

  void print_lines(const std::vector<iqdb::Hit>& hits) {
    constexpr std::size_t width = 12;
    for (const iqdb::Hit& hit : hits) {
      std::string line = several_ ? padded(std::to_string(number_), width) + "  " : "";
      line += padded(to_string(hit.id), width) + "  ";
      const std::string distance = distance_text(hit.distance);
      line += options_->metadata && hit.metadata
                  ? padded(distance, width) + "  " +
                        harmless(json_of_metadata(hit.metadata).dump(-1, ' ', false, Json::error_handler_t::replace))
                  : distance;
      out_->line(line);
    }
  }

  Output* out_;
  const AnyIndex* index_;
  const SearchOptions* options_;
  iqdb::SearchParams params_;
  bool several_;
  std::uint64_t number_ = 0;
};

void answer_standard_input(Output& out, Answers& answers) {
  std::uint64_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const std::string what = "line " + std::to_string(++number) + " of standard input";
    const std::vector<float> query = parse_numbers(line, what);
    if (query.empty()) {
      continue;
    }
    answers.answer(query, what);
    out.flush();  // whoever writes the queries may wait for the answers
  }
  if (std::cin.bad()) {
    iqdb::throw_persist_error(iqdb::PersistErrorKind::io, "cannot read the queries from standard input");
  }
}

ExitCode search(Output& out, const SearchOptions& options) {
  out.answer_in_lines();
  const fs::path path = index_at(options.path);
  // What is wrong with a query is told before an index is loaded for it.
  const std::vector<float> written = options.vector ? parse_numbers(*options.vector, "--vector") : std::vector<float>();
  std::optional<iqdb::VectorId> id;
  if (options.row) {
    id = parse_id(*options.row);
  }
  std::optional<RowFile> file;
  if (options.file) {
    file.emplace(*options.file);
  }
  const std::unique_ptr<AnyIndex> index = load_index(path, 0);
  Answers answers(out, *index, options, !options.row && !options.vector);
  if (id) {
    answers.answer(row_of(*index, *id, path), "the row");
  } else if (options.vector) {
    answers.answer(written, "--vector");
  } else if (file) {
    file->each([&](std::uint64_t number, std::span<const float> row) {
      answers.answer(row, "the vector " + std::to_string(number) + " of '" + *options.file + "'");
    });
  } else {
    answer_standard_input(out, answers);
  }
  return ExitCode::fine;
}

}  // namespace

void add_search(Program& program) {
  auto options = std::make_shared<SearchOptions>();
  CLI::App& command =
      program.add("search", "Find the vectors that are nearest to others, also while a program writes the index",
                  [options](Output& out) { return search(out, *options); });
  command.add_option("path", options->path, "The snapshot of the index, or its address on an object store")->required();
  CLI::Option* const row =
      command.add_option("--row", options->row, "The vector of this identifier in the index")->type_name("ID");
  CLI::Option* const vector =
      command.add_option("--vector", options->vector, "A vector: numbers with commas between them")
          ->type_name("NUMBERS");
  CLI::Option* const file =
      command
          .add_option("--file", options->file,
                      "The vectors of a file: .npy, .fvecs or .ivecs; else standard input has one a line")
          ->type_name("FILE");
  row->excludes(vector)->excludes(file);
  vector->excludes(file);
  command.add_option("-k", options->count, "How many vectors to find for each; 10 by default, all with --radius")
      ->check(CLI::PositiveNumber)
      ->option_text("K");
  command.add_option("--ef", options->effort, "How widely an approximate index searches")
      ->check(CLI::PositiveNumber)
      ->option_text("EF");
  command.add_option("--probes", options->probes, "How many lists of an IVF index a search looks into")
      ->check(CLI::PositiveNumber)
      ->option_text("LISTS");
  command.add_option("--radius", options->radius, "Only vectors that are no farther away")->type_name("DISTANCE");
  command
      .add_option("--where", options->where,
                  "Only vectors whose metadata has this value for this key; of several, all must hold")
      ->take_all()
      ->allow_extra_args(false)
      ->check([](const std::string& text) {
        return text.find('=') == std::string::npos ? "a condition is KEY=VALUE; found '" + text + "'" : std::string();
      })
      ->type_name("KEY=VALUE");
  command.add_flag("--metadata", options->metadata, "Also print the metadata of what is found");
}

}  // namespace iqdb_tool
