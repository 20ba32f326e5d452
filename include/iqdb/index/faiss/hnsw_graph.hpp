// Reads faiss' HNSW graph. faiss trusts every level and link and turns them into addresses, so all of them are checked.
#pragma once

#include <faiss/impl/HNSW.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// The link fields of a node in one level. A field without a link is -1. `graph` is faiss' HNSW, const or not.
template <class Graph>
[[nodiscard]] auto links_of(Graph& graph, std::size_t node, int level) {
  const auto begin = static_cast<std::size_t>(graph.cum_nneighbor_per_level[static_cast<std::size_t>(level)]);
  const auto end = static_cast<std::size_t>(graph.cum_nneighbor_per_level[static_cast<std::size_t>(level) + 1]);
  return std::span(graph.neighbors).subspan(graph.offsets[node] + begin, end - begin);
}

/// Reads an array that follows its count.
template <class T>
[[nodiscard]] inline std::vector<T> read_array(Reader& reader) {
  return reader.read_vector<T>(reader.read_le<std::uint64_t>());
}

/// Checks the numbers of levels, links and candidates.
inline void check_settings(const Reader& reader, const ::faiss::HNSW& graph) {
  const std::vector<int>& sums = graph.cum_nneighbor_per_level;
  if (graph.assign_probas.empty() || graph.assign_probas.size() > most_levels ||
      sums.size() != graph.assign_probas.size() + 1) {
    fail(reader, "its graph is stated to have probabilities of " + std::to_string(graph.assign_probas.size()) +
                     " levels and " + std::to_string(sums.size()) + " sums of links; expected 1 to " +
                     std::to_string(most_levels) + ", and one more");
  }
  if (!std::ranges::all_of(graph.assign_probas, [](double each) { return each >= 0.0 && each <= 1.0; })) {
    fail(reader, "the probability of a level is not from 0 to 1");
  }
  bool rising = sums.front() == 0;
  for (std::size_t level = 1; level < sums.size(); ++level) {
    // In 64 bits, because the sums are unchecked values of the file.
    const std::int64_t links = std::int64_t{sums[level]} - sums[level - 1];
    rising = rising && links >= 1 && links <= std::int64_t{2 * most_links};
  }
  if (!rising) {
    fail(reader, "the links of a node in a level are not 1 to " + std::to_string(2 * most_links));
  }
  const auto check_candidates = [&](int value, std::string_view name) {
    if (value < 1 || static_cast<std::size_t>(value) > most_candidates) {
      fail(reader, std::string(name) + " is stated to be " + std::to_string(value) + "; expected 1 to " +
                       std::to_string(most_candidates));
    }
  };
  check_candidates(graph.efConstruction, "efConstruction");
  check_candidates(graph.efSearch, "efSearch");
  if (graph.upper_beam != 1) {
    fail(reader,
         "the search above the lowest level is stated to be " + std::to_string(graph.upper_beam) + " wide; expected 1");
  }
}

/// Checks the levels of the nodes, where their links begin, and the entry node. Precondition: check_settings passed.
inline void check_nodes(const Reader& reader, const ::faiss::HNSW& graph, std::size_t nodes) {
  if (graph.levels.size() != nodes || graph.offsets.size() != nodes + 1 || graph.offsets.front() != 0) {
    fail(reader, "a graph of " + std::to_string(nodes) + " nodes is stated to have " +
                     std::to_string(graph.levels.size()) + " levels of nodes, and " +
                     std::to_string(graph.offsets.size()) + " begins of links");
  }
  for (std::size_t node = 0; node < nodes; ++node) {
    const int levels = graph.levels[node];
    if (levels < 1 || static_cast<std::size_t>(levels) > graph.assign_probas.size()) {
      fail(reader, "the vector at position " + std::to_string(node) + " is stated to be in " + std::to_string(levels) +
                       " levels; expected 1 to " + std::to_string(graph.assign_probas.size()));
    }
    const auto links = static_cast<std::size_t>(graph.cum_nneighbor_per_level[static_cast<std::size_t>(levels)]);
    if (graph.offsets[node + 1] - graph.offsets[node] != links) {
      fail(reader,
           "the links of the vector at position " + std::to_string(node) + " do not begin where those before end");
    }
  }
  if (graph.neighbors.size() != graph.offsets.back()) {
    fail(reader, "the graph is stated to have room for " + std::to_string(graph.neighbors.size()) +
                     " links; expected " + std::to_string(graph.offsets.back()));
  }
  const bool enters = nodes == 0 ? graph.entry_point == -1 && graph.max_level == -1
                                 : graph.entry_point >= 0 && static_cast<std::size_t>(graph.entry_point) < nodes &&
                                       graph.levels[static_cast<std::size_t>(graph.entry_point)] - 1 == graph.max_level;
  if (!enters) {
    fail(reader, "the graph is stated to be entered at the vector at position " + std::to_string(graph.entry_point) +
                     " of " + std::to_string(nodes) + ", in level " + std::to_string(graph.max_level) +
                     ", where there is none");
  }
}

/// Checks where each link leads. Precondition: check_nodes passed.
inline void check_links(const Reader& reader, ::faiss::HNSW& graph) {
  for (std::size_t node = 0; node < graph.levels.size(); ++node) {
    for (int level = 0; level < graph.levels[node]; ++level) {
      const std::span<const int> links = links_of(graph, node, level);
      const auto end = std::ranges::find(links, -1);
      const bool known = std::all_of(links.begin(), end, [&](int link) {
        return link >= 0 && static_cast<std::size_t>(link) < graph.levels.size() &&
               graph.levels[static_cast<std::size_t>(link)] > level;
      });
      // faiss reads no field behind the first one without a link, except the last one.
      if (!known || !std::all_of(end, links.end(), [](int link) { return link == -1; })) {
        fail(reader, "the vector at position " + std::to_string(node) + " has links in level " + std::to_string(level) +
                         " that lead to no vector there, or stand behind their end");
      }
    }
  }
}

/// Reads a graph of `nodes` nodes. Throws PersistError invalid_payload for a graph that faiss cannot have made.
inline void read_graph(Reader& reader, ::faiss::HNSW& graph, std::size_t nodes) {
  graph.assign_probas = read_array<double>(reader);
  graph.cum_nneighbor_per_level = read_array<std::int32_t>(reader);
  graph.levels = read_array<std::int32_t>(reader);
  const auto begins = read_array<std::uint64_t>(reader);
  graph.offsets.assign(begins.begin(), begins.end());
  graph.neighbors = read_array<std::int32_t>(reader);
  graph.entry_point = reader.read_le<std::int32_t>();
  graph.max_level = reader.read_le<std::int32_t>();
  graph.efConstruction = reader.read_le<std::int32_t>();
  graph.efSearch = reader.read_le<std::int32_t>();
  graph.upper_beam = reader.read_le<std::int32_t>();
  check_settings(reader, graph);
  check_nodes(reader, graph, nodes);
  check_links(reader, graph);
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
