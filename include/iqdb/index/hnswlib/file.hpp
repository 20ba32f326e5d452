// hnswlib's own file, as `saveIndex` writes it and `loadIndex` reads it:
//
//     the fields of FileFields | links, vector and label of each node | of each node: bytes 4 | its upper levels
//
// in the byte order of the machine, which is little-endian. Every field is checked before the graph is read.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "iqdb/index/hnswlib/config.hpp"
#include "iqdb/index/hnswlib/graph.hpp"
#include "iqdb/index/hnswlib/graph_reader.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/index_error.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/types.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace hnswlib_graph {

/// The fields at the beginning of hnswlib's file.
struct FileFields {
  std::uint64_t offset_level0 = 0;
  std::uint64_t max_elements = 0;
  std::uint64_t nodes = 0;
  std::uint64_t node_bytes = 0;
  std::uint64_t label_offset = 0;
  std::uint64_t vector_offset = 0;
  std::int32_t highest_level = -1;
  std::uint32_t entry = std::numeric_limits<std::uint32_t>::max();
  std::uint64_t most_links = 0;
  std::uint64_t most_links_lowest = 0;
  std::uint64_t links = 0;
  double level_factor = 0.0;
  std::uint64_t ef_construction = 0;

  /// Calls `visit(field)` for each field, in the order of the file.
  template <class Visit>
  void for_each(Visit&& visit) {
    visit(offset_level0);
    visit(max_elements);
    visit(nodes);
    visit(node_bytes);
    visit(label_offset);
    visit(vector_offset);
    visit(highest_level);
    visit(entry);
    visit(most_links);
    visit(most_links_lowest);
    visit(links);
    visit(level_factor);
    visit(ef_construction);
  }

  /// The fields of a graph with these vectors and settings, except those that depend on the nodes in it.
  [[nodiscard]] static FileFields of(std::size_t dim, const HnswConfig& config) {
    FileFields fields;
    fields.max_elements = config.capacity;
    fields.node_bytes = hnswlib_graph::node_bytes(dim, config.links);
    fields.label_offset = fields.node_bytes - sizeof(::hnswlib::labeltype);
    fields.vector_offset = fields.label_offset - dim * sizeof(float);
    fields.most_links = config.links;
    fields.most_links_lowest = 2 * config.links;
    fields.links = config.links;
    fields.level_factor = 1.0 / std::log(static_cast<double>(config.links));
    fields.ef_construction = config.ef_construction;
    return fields;
  }
};

[[nodiscard]] inline FileFields read_file_fields(Reader& reader) {
  FileFields stated;
  stated.for_each([&]<class T>(T& field) { field = reader.read_le<T>(); });
  return stated;
}

/// Throws PersistError invalid_payload for fields that a file with these vectors and settings does not have, or that
/// state more nodes than the reader can hold.
inline void check_file_fields(const Reader& reader, const FileFields& stated, std::size_t dim,
                              const HnswConfig& config) {
  const auto require = [&](std::string_view what, std::uint64_t found, std::uint64_t expected) {
    if (found != expected) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "the file states " + std::to_string(found) + " as the " + std::string(what) + "; expected " +
                      std::to_string(expected) + " for " + std::to_string(config.links) + " links and " +
                      std::to_string(dim) +
                      " dimensions; is it a file of hnswlib's saveIndex, of floats of that dimension?");
    }
  };
  const FileFields expected = FileFields::of(dim, config);
  require("offset of the lowest level", stated.offset_level0, expected.offset_level0);
  require("size of a node", stated.node_bytes, expected.node_bytes);
  require("offset of the label", stated.label_offset, expected.label_offset);
  require("offset of the vector", stated.vector_offset, expected.vector_offset);
  require("most links of an upper level", stated.most_links, expected.most_links);
  require("most links of the lowest level", stated.most_links_lowest, expected.most_links_lowest);
  if (stated.nodes > most_nodes) {
    reader.fail(PersistErrorKind::invalid_payload,
                "the file states " + std::to_string(stated.nodes) + " vectors, more than hnswlib has numbers for");
  }
  reader.require_items(stated.nodes, expected.node_bytes + sizeof(std::uint32_t));
}

/// Makes the label of a node in the file its identifier.
inline void take_over_label(const Reader& reader, const Graph& graph, SlotTable& slots, Node node) {
  if (graph.isMarkedDeleted(node)) {
    slots.append_free();
    return;
  }
  try {
    slots.append(std::uint64_t{graph.getExternalLabel(node)}, {});
  } catch (const IndexError&) {
    reader.fail(PersistErrorKind::invalid_payload,
                "two vectors of the file have the label " + std::to_string(graph.getExternalLabel(node)));
  }
}

/// Reads the graph that follows the fields. On return `slots` holds the labels as identifiers. Precondition:
/// check_file_fields accepted the fields, they state at least one node, and `slots` is empty.
inline void read_file_graph(Reader& reader, const FileFields& stated, std::size_t dim, DistanceMetric metric,
                            const HnswConfig& config, OwnedGraph& graph, SlotTable& slots) {
  const auto nodes = static_cast<std::size_t>(stated.nodes);
  read_lowest_level(reader, graph, nodes, dim, metric, config);
  int highest_level = 0;
  for (Node node = 0; node < nodes; ++node) {
    take_over_label(reader, *graph, slots, node);
    const auto bytes = reader.read_le<std::uint32_t>();
    const std::uint64_t bytes_each = graph->size_links_per_element_;
    if (bytes % bytes_each != 0) {
      reader.fail(PersistErrorKind::invalid_payload,
                  "the links of " + name_of(slots, node) + " are stated to take " + std::to_string(bytes) +
                      " bytes, which is no multiple of the " + std::to_string(bytes_each) + " of a level");
    }
    read_upper_levels(reader, *graph, slots, node, bytes / bytes_each);
    highest_level = std::max(highest_level, graph->element_levels_[node]);
  }
  if (stated.highest_level != highest_level) {
    reader.fail(PersistErrorKind::invalid_payload, "the highest level is stated to be " +
                                                       std::to_string(stated.highest_level) + ", but is " +
                                                       std::to_string(highest_level));
  }
  complete(reader, *graph, slots, stated.entry, highest_level);
}

/// Writes the file of a graph, or a file without nodes if there is no graph. Precondition: all identifiers are
/// integers.
inline void write_file(Writer& writer, std::size_t dim, const HnswConfig& config, const OwnedGraph& graph,
                       const SlotTable& slots) {
  FileFields fields = FileFields::of(dim, config);
  fields.nodes = slots.slots();
  if (graph) {
    fields.max_elements = graph->max_elements_;
    fields.highest_level = graph->maxlevel_;
    fields.entry = graph->enterpoint_node_;
  }
  fields.for_each([&](auto field) { writer.write_le(field); });
  // An erased vector also has a label, which no other vector has.
  std::uint64_t spare_label = std::numeric_limits<std::uint64_t>::max();
  for (std::size_t node = 0; node < slots.slots(); ++node) {
    while (slots.find(spare_label)) {
      --spare_label;
    }
    const std::uint64_t label = slots.is_free(node) ? spare_label-- : slots.id(node).integer();
    const std::size_t begin = node * graph->size_data_per_element_;
    writer.write(lowest_level(*graph, slots.slots()).subspan(begin, graph->label_offset_));
    writer.write_le(label);
  }
  for (std::size_t node = 0; node < slots.slots(); ++node) {
    const auto levels = upper_levels(*graph, static_cast<Node>(node));
    writer.write_le(static_cast<std::uint32_t>(levels.size()));
    writer.write(levels);
  }
}

}  // namespace hnswlib_graph

}  // namespace iqdb::inline IQDB_PERSIST_ABI
