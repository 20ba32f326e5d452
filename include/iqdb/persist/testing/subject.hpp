// The subject of a check: an index type, and what the checks need to know about it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/persist/testing/random.hpp"
#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {
namespace testing {

/// The payload of an index, as a string of bytes.
template <Persistable I>
[[nodiscard]] std::string payload_of(const I& index) {
  const std::vector<std::byte> bytes = bytes_of([&](Writer& writer) { PersistTraits<I>::save_to(index, writer); });
  std::string text(bytes.size(), '\0');
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    text[at] = static_cast<char>(bytes[at]);
  }
  return text;
}

/// A copy of `index`, made from its payload.
template <Persistable I>
[[nodiscard]] I copy_of(const I& index) {
  const std::vector<std::byte> payload = bytes_of([&](Writer& writer) { PersistTraits<I>::save_to(index, writer); });
  Reader reader(payload);
  return PersistTraits<I>::load_from(reader);
}

/// An index type that is checked. Only `make` must be given.
template <Persistable I>
struct Subject {
  /// Makes the index that a life begins with. It must always be the same.
  std::function<I()> make;

  /// The contents of an index: two indexes count as equal if their contents are. The payload serves for an index that
  /// saves the same bytes after the same mutations. A randomized index, a graph for example, lists its vectors instead.
  std::function<std::string(const I&)> contents = payload_of<I>;

  /// A vector that the index takes, different for each number. The default has components from -1 to 1.
  std::function<std::vector<float>(std::uint64_t number, std::size_t dim)> vector = [](std::uint64_t number,
                                                                                       std::size_t dim) {
    Random random(number);
    std::vector<float> components(dim);
    for (float& each : components) {
      each = random.component();
    }
    return components;
  };
};

}  // namespace testing
}  // namespace iqdb
