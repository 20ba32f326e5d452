// What can be observed of an index from outside, how two observations differ, and how a difference is reported to the
// index's author.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "iqdb/index.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/testing/conformance_options.hpp"
#include "iqdb/persist/testing/subject.hpp"
#include "iqdb/persist/testing/violation.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing::conformance {

// ---- What is reported -----------------------------------------------------------------------------------------------

// The steps that were made of an index. Of a long list only the end is kept.
class History {
 public:
  History(std::string beginning, const ConformanceOptions& options)
      : beginning_(std::move(beginning)), options_(&options) {}

  // Records a step that is about to be made.
  void begin(std::string step) {
    if (options_->trace) {
      options_->trace(beginning_ + ": " + step);
    }
    constexpr std::size_t most = 8;
    if (latest_.size() == most) {
      latest_.erase(latest_.begin());
    }
    latest_.push_back(std::move(step));
    ++steps_;
  }

  // As above, for one of many tries that are independent of each other. It replaces the try before it.
  void begin_instead(std::string step) {
    latest_.pop_back();
    --steps_;
    begin(std::move(step));
  }

  [[nodiscard]] std::string text() const {
    std::string words = beginning_;
    if (steps_ > latest_.size()) {
      words += "; " + std::to_string(steps_ - latest_.size()) + " steps";
    }
    for (const std::string& step : latest_) {
      words += "; " + step;
    }
    return words;
  }

  [[nodiscard]] const ConformanceOptions& options() const noexcept { return *options_; }

 private:
  std::string beginning_;
  const ConformanceOptions* options_;
  std::vector<std::string> latest_;
  std::size_t steps_ = 0;
};

[[noreturn]] inline void violated(const std::string& found, const History& history, std::string_view promise,
                                  std::string_view advice) {
  throw Violation(found + "\n  done: " + history.text() + "\n  promise: " + std::string(promise) +
                  "\n  look at: " + std::string(advice) +
                  "\n  repeat with: ConformanceOptions::seed = " + std::to_string(history.options().seed));
}

[[nodiscard]] inline std::string in_words(const VectorId& id) {
  return id.is_integer() ? to_string(id) : printable(id.bytes(), 24);
}

[[nodiscard]] inline std::string in_words(const Value& value) {
  struct Visitor {
    std::string operator()(const std::string& text) const { return printable(text, 24); }
    std::string operator()(std::int64_t integer) const { return std::to_string(integer); }
    std::string operator()(double number) const {
      std::array<char, 32> digits{};
      return {digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr};
    }
    std::string operator()(bool truth) const { return truth ? "true" : "false"; }
    std::string operator()(Null) const { return "null"; }
  };
  return std::visit(Visitor{}, value);
}

[[nodiscard]] inline std::string in_words(const std::optional<Metadata>& metadata) {
  if (!metadata) {
    return "no metadata";
  }
  std::string words;
  for (const auto& [key, value] : *metadata) {
    words += (words.empty() ? "" : ", ") + printable(key, 24) + ": " + in_words(value);
  }
  return "the metadata {" + words + "}";
}

// ---- What is seen ---------------------------------------------------------------------------------------------------

struct SearchAnswer {
  bool threw = false;
  std::size_t hits = 0;
  std::map<VectorId, Hit> by_id;
};

struct Observation {
  std::size_t size = 0;
  std::size_t dim = 0;
  DistanceMetric metric = DistanceMetric::cosine;
  std::string contents;
  std::vector<SearchAnswer> searches;
};

inline constexpr std::uint64_t first_query = 0x517CC1B7U;
inline constexpr std::uint64_t queries = 2;

template <class I>
[[nodiscard]] SearchAnswer search_all(const I& index, std::size_t size, const std::vector<float>& query) {
  SearchAnswer answer;
  // As widely as possible, because an approximate index should find all vectors too.
  const SearchParams params{.k = std::max<std::size_t>(size, 1), .ef = 2 * size + 64};
  try {
    const std::vector<Hit> hits = index.search(std::span<const float>(query), params);
    answer.hits = hits.size();
    for (const Hit& hit : hits) {
      answer.by_id.emplace(hit.id, hit);
    }
  } catch (...) {
    answer.threw = true;  // an empty index may throw if it always does
  }
  return answer;
}

template <Persistable I>
[[nodiscard]] Observation observe(const Subject<I>& subject, const I& index) {
  Observation seen{.size = persisted_size(index),
                   .dim = persisted_dim(index),
                   .metric = persisted_metric(index),
                   .contents = {},
                   .searches = {}};
  if constexpr (Searchable<I>) {
    for (std::uint64_t query = first_query; query < first_query + queries; ++query) {
      seen.searches.push_back(search_all(index, seen.size, subject.vector(query, seen.dim)));
    }
  }
  seen.contents = subject.contents(index);
  return seen;
}

// Whether the compared contents are the payload.
template <Persistable I>
[[nodiscard]] bool contents_are_payload(const Subject<I>& subject) {
  const auto* function = subject.contents.template target<std::string (*)(const I&)>();
  return function != nullptr && *function == &payload_of<I>;
}

// ---- How two differ -------------------------------------------------------------------------------------------------

enum class Aspect : std::uint8_t { fewer, more, ids, dim, metric, search, metadata, distance, contents };

struct Difference {
  Aspect aspect;
  std::string words;  // what was found and what was expected
};

[[nodiscard]] inline bool same_value(const Value& a, const Value& b) {
  const auto* x = std::get_if<double>(&a);
  const auto* y = std::get_if<double>(&b);
  return x != nullptr && y != nullptr ? std::bit_cast<std::uint64_t>(*x) == std::bit_cast<std::uint64_t>(*y) : a == b;
}

[[nodiscard]] inline bool same_metadata(const std::optional<Metadata>& a, const std::optional<Metadata>& b) {
  if (!a || !b) {
    return a.has_value() == b.has_value();
  }
  return std::ranges::equal(
      *a, *b, [](const auto& x, const auto& y) { return x.first == y.first && same_value(x.second, y.second); });
}

// The first byte at which two texts differ, with the text around it.
[[nodiscard]] inline std::string first_difference(std::string_view expected, std::string_view found) {
  const auto begin =
      static_cast<std::size_t>(std::ranges::mismatch(expected, found).in1 - expected.begin());  // the same in both
  constexpr std::size_t excerpt = 24;
  const auto there = [begin](std::string_view text) {
    return begin == text.size() ? "the end" : printable(text.substr(begin), excerpt);
  };
  return "has " + std::to_string(found.size()) + " bytes, expected " + std::to_string(expected.size()) +
         "; first different at byte " + std::to_string(begin) + ": found " + there(found) + ", expected " +
         there(expected);
}

[[nodiscard]] inline std::optional<Difference> search_difference(const SearchAnswer& expected,
                                                                 const SearchAnswer& found, bool approximate) {
  if (expected.threw != found.threw) {
    return Difference{Aspect::search, std::string("a search ") + (found.threw ? "throws" : "does not throw") +
                                          ", as it " + (expected.threw ? "did" : "did not")};
  }
  float farthest = 0.0F;  // bounds the rounding of a distance
  for (const auto& [id, hit] : expected.by_id) {
    farthest = std::isfinite(hit.distance) ? std::max(farthest, std::abs(hit.distance)) : farthest;
    if (!approximate && !found.by_id.contains(id)) {
      return Difference{Aspect::fewer, "a search finds vector " + in_words(id) + " no more"};
    }
  }
  for (const auto& [id, hit] : found.by_id) {
    const auto before = expected.by_id.find(id);
    if (before == expected.by_id.end()) {
      if (!approximate) {
        return Difference{Aspect::more, "a search finds vector " + in_words(id) + ", which should not be there"};
      }
      continue;
    }
    if (!same_metadata(before->second.metadata, hit.metadata)) {
      return Difference{Aspect::metadata, "a search finds vector " + in_words(id) + " with " + in_words(hit.metadata) +
                                              ", expected " + in_words(before->second.metadata)};
    }
    const float was = before->second.distance;
    const bool same = was == hit.distance || (std::isnan(was) && std::isnan(hit.distance)) ||
                      std::abs(was - hit.distance) <= 1e-5F * farthest;
    if (!same) {
      return Difference{Aspect::distance, "a search finds vector " + in_words(id) + " at distance " +
                                              std::to_string(hit.distance) + ", expected " + std::to_string(was)};
    }
  }
  if (!approximate && expected.hits != found.hits) {
    return Difference{Aspect::search, "a search gives " + std::to_string(found.hits) + " hits, expected " +
                                          std::to_string(expected.hits)};
  }
  return std::nullopt;
}

// The most informative difference.
[[nodiscard]] inline std::optional<Difference> difference(const Observation& expected, const Observation& found,
                                                          bool approximate, bool contents_are_payload) {
  std::optional<Difference> in_search;
  for (std::size_t query = 0; query < expected.searches.size() && !in_search; ++query) {
    in_search = search_difference(expected.searches[query], found.searches[query], approximate);
  }
  if (expected.dim != found.dim) {
    return Difference{Aspect::dim,
                      "dim() is " + std::to_string(found.dim) + ", expected " + std::to_string(expected.dim)};
  }
  if (expected.metric != found.metric) {
    return Difference{Aspect::metric, "metric() is " + std::string(to_string(found.metric)) + ", expected " +
                                          std::string(to_string(expected.metric))};
  }
  if (expected.size != found.size) {
    return Difference{found.size < expected.size ? Aspect::fewer : Aspect::more,
                      "size() is " + std::to_string(found.size) + ", expected " + std::to_string(expected.size) +
                          (in_search ? "; " + in_search->words : "")};
  }
  if (in_search) {
    if (in_search->aspect == Aspect::fewer || in_search->aspect == Aspect::more) {
      in_search->aspect = Aspect::ids;  // the number is right
    }
    return in_search;
  }
  if (expected.contents != found.contents) {
    return Difference{Aspect::contents,
                      std::string(contents_are_payload ? "its payload " : "what Subject::contents lists ") +
                          first_difference(expected.contents, found.contents)};
  }
  return std::nullopt;
}

// How two indexes that should be equal differ, as `subject` sees them.
template <Persistable I>
[[nodiscard]] std::optional<Difference> difference(const Subject<I>& subject, const Observation& expected,
                                                   const Observation& found, const ConformanceOptions& options) {
  return difference(expected, found, options.approximate_search, contents_are_payload(subject));
}

// Where to look if a loaded index differs from the saved one.
[[nodiscard]] constexpr std::string_view advice_after_load(Aspect aspect) noexcept {
  switch (aspect) {
    case Aspect::fewer:
      return "does save_to write every vector, and load_from read as many as were written?";
    case Aspect::more:
      return "does save_to write erased vectors too, so that load_from brings them back?";
    case Aspect::ids:
      return "does save_to write every identifier as it is, integers and bytes told apart, and load_from give it back "
             "to "
             "the same vector?";
    case Aspect::dim:
      return "does save_to write the dimension, and load_from make the index with it?";
    case Aspect::metric:
      return "does save_to write the metric, and load_from make the index with it?";
    case Aspect::search:
      return "does load_from restore everything that a search needs?";
    case Aspect::metadata:
      return "the index forgets metadata: does save_to write that of every vector, none and empty told apart, and does "
             "load_from give it back to the same vector?";
    case Aspect::distance:
      return "does save_to write every component of every vector as it is, and load_from give it back to the same "
             "identifier?";
    case Aspect::contents:
      return "does save_to write everything, and load_from read all of it: vectors, identifiers, metadata, settings? "
             "If only an order differs, say that of a hash map, then save in a fixed order, or set Subject::contents "
             "to what counts";
  }
  return "";
}

}  // namespace testing::conformance
}  // namespace iqdb
