// The lists of faiss' IVF index in its stream: a map from numbers to positions | what was trained | the number of lists |
// their sizes | for each list its codes and the numbers of their vectors.
#pragma once

#include <faiss/IndexIVF.h>
#include <faiss/invlists/DirectMap.h>
#include <faiss/invlists/InvertedLists.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "iqdb/index/faiss/codec.hpp"
#include "iqdb/index/faiss/native.hpp"
#include "iqdb/index/faiss/stream.hpp"
#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

namespace faiss_parts {

/// Skips the map from numbers to positions, which is not needed: a type 1, numbers of 8 bytes each, and for the type 2
/// also pairs of these numbers.
inline void skip_direct_map(Reader& reader) {
  const auto skip = [&](std::uint64_t numbers_each) {
    const auto count = reader.read_le<std::uint64_t>();
    reader.require_items(count, numbers_each * sizeof(Id));
    for (std::uint64_t number = 0; number < count * numbers_each; ++number) {
      std::ignore = reader.read_le<Id>();
    }
  };
  const auto type = reader.read_le<std::uint8_t>();
  if (type > ::faiss::DirectMap::Hashtable) {
    fail(reader, "its direct map is stated to be of the type " + std::to_string(type) + "; expected 0 to 2");
  }
  skip(1);
  if (type == ::faiss::DirectMap::Hashtable) {
    skip(2);
  }
}

/// Reads the size of each list. faiss writes pairs of number and size if few lists have vectors.
[[nodiscard]] inline std::vector<std::uint64_t> read_sizes(Reader& reader, std::size_t lists) {
  const auto type = reader.read_le<std::uint32_t>();
  const auto count = reader.read_le<std::uint64_t>();
  if (type == all_lists_tag) {
    if (count != lists) {
      fail(reader, "it has " + std::to_string(count) + " sizes of " + std::to_string(lists) + " lists");
    }
    return reader.read_vector<std::uint64_t>(count);
  }
  if (type != some_lists_tag || count % 2 != 0) {
    fail(reader, "the sizes of its lists are \"" + letters_of(type) + "\" and " + std::to_string(count) +
                     R"( numbers; expected "full", or "sprs" and pairs)");
  }
  std::vector<std::uint64_t> sizes(lists);
  const std::vector<std::uint64_t> pairs = reader.read_vector<std::uint64_t>(count);
  std::uint64_t next = 0;
  for (std::size_t at = 0; at < pairs.size(); at += 2) {
    if (pairs[at] < next || pairs[at] >= sizes.size()) {
      fail(reader, "the size of list " + std::to_string(pairs[at]) + " of " + std::to_string(sizes.size()) +
                       " is stated where that of list " + std::to_string(next) + " or a later one should be");
    }
    sizes[static_cast<std::size_t>(pairs[at])] = pairs[at + 1];
    next = pairs[at] + 1;
  }
  return sizes;
}

/// Reads the lists, which hold the codes of `codec`. Throws PersistError invalid_payload if they do not hold the vectors that
/// the index states.
inline void read_lists(Reader& reader, const ::faiss::IndexIVF& index, const Codec& codec,
                       ::faiss::ArrayInvertedLists& lists) {
  if (const auto type = reader.read_le<std::uint32_t>(); type != lists_tag) {
    fail(reader, "its lists are of the type \"" + letters_of(type) + R"("; supported is "ilar": lists in memory)");
  }
  const auto list_count = reader.read_le<std::uint64_t>();
  const auto code_bytes = reader.read_le<std::uint64_t>();
  if (list_count != index.nlist || code_bytes != index.code_size) {
    fail(reader, "it is stated to have " + std::to_string(list_count) + " lists of vectors of " +
                     std::to_string(code_bytes) + " bytes; expected " + std::to_string(index.nlist) + " and " +
                     std::to_string(index.code_size));
  }
  const std::vector<std::uint64_t> sizes = read_sizes(reader, index.nlist);
  auto left = static_cast<std::uint64_t>(index.ntotal);
  for (const std::uint64_t size : sizes) {
    if (size > left) {
      fail(reader,
           "its lists are stated to hold more than the " + std::to_string(index.ntotal) + " vectors that there are");
    }
    left -= size;
  }
  if (left != 0) {
    fail(reader, "its lists are stated to hold " + std::to_string(left) + " vectors less than there are");
  }
  for (std::size_t list = 0; list < sizes.size(); ++list) {
    const auto size = static_cast<std::size_t>(sizes[list]);
    lists.codes[list] = reader.read_vector<std::uint8_t>(size * index.code_size);
    lists.ids[list] = reader.read_vector<Id>(size);
    require_finite_codes(reader, codec, lists.codes[list], index.code_size, "the vector with the number ",
                         [&ids = lists.ids[list]](std::size_t at) { return ids[at]; });
  }
}

/// Writes the map from numbers to positions as faiss does: none.
inline void write_direct_map(Writer& writer) {
  writer.write_le(std::uint8_t{0});
  writer.write_le(std::uint64_t{0});  // its size
}

/// Writes the lists as faiss does, with `number_of(slot)` as the numbers of vectors.
inline void write_lists(Writer& writer, const ::faiss::IndexIVF& index, const ::faiss::ArrayInvertedLists& lists,
                        const std::function<Id(std::size_t)>& number_of) {
  writer.write_le(lists_tag);
  writer.write_le(std::uint64_t{index.nlist});
  writer.write_le(std::uint64_t{index.code_size});
  writer.write_le(all_lists_tag);
  writer.write_le(std::uint64_t{index.nlist});
  for (const std::vector<Id>& ids : lists.ids) {
    writer.write_le(std::uint64_t{ids.size()});
  }
  for (std::size_t list = 0; list < index.nlist; ++list) {
    writer.write_array(lists.codes[list]);
    for (const Id slot : lists.ids[list]) {
      writer.write_le(number_of(static_cast<std::size_t>(slot)));
    }
  }
}

}  // namespace faiss_parts

}  // namespace iqdb::inline IQDB_PERSIST_ABI
