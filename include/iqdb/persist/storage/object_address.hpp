// Where an index on an object store lies, as a user writes it: for command lines and files of settings.
//
//     s3://BUCKET/PREFIX/NAME      below PREFIX/ in a bucket
//     dir:DIRECTORY/NAME           in a directory that a DirectoryObjectStore keeps
//
// The name begins behind the last slash. A name that has slashes itself begins behind a double one, which no key has:
// s3://BUCKET/PREFIX//A/NAME. It matters where it begins: the log tells the keys of snapshots without the prefix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/object_key.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The address of an index on an object store, taken apart.
struct ObjectAddress {
  /// Which store it is.
  enum class Kind : std::uint8_t {
    s3,         ///< a bucket of S3
    directory,  ///< a directory, as DirectoryObjectStore keeps it
  };
  Kind kind = Kind::directory;
  std::string place = {};   ///< the bucket, or the path of the directory
  std::string prefix = {};  ///< as S3Config::prefix: empty, or ending with a slash; of a directory empty
  std::string name = {};    ///< as PersistConfig::path

  friend bool operator==(const ObjectAddress&, const ObjectAddress&) = default;
};

namespace object_addresses {

inline constexpr std::string_view s3_scheme = "s3://";
inline constexpr std::string_view directory_scheme = "dir:";

[[noreturn, gnu::cold, gnu::noinline]] inline void refuse(std::string_view text, const std::string& why) {
  throw_persist_error(PersistErrorKind::invalid_config,
                      "cannot use the address " + printable(text, largest_object_key) + ": " + why +
                          "; write it as s3://BUCKET/PREFIX/NAME or dir:DIRECTORY/NAME, with // in front of a NAME "
                          "that has slashes itself");
}

// What stands in front of a name, without the slash between them, and the name.
struct Parts {
  std::string_view front;
  std::string_view name;
};

inline Parts parted(std::string_view path) {
  if (const std::size_t twice = path.rfind("//"); twice != std::string_view::npos) {
    return {.front = path.substr(0, twice), .name = path.substr(twice + 2)};
  }
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? Parts{.front = {}, .name = path}
                                         : Parts{.front = path.substr(0, slash), .name = path.substr(slash + 1)};
}

}  // namespace object_addresses

/// Whether `text` begins as the address of an index on an object store does, and is no path of a file. Any thread may call it.
[[nodiscard]] constexpr bool is_object_address(std::string_view text) noexcept {
  return text.starts_with(object_addresses::s3_scheme) || text.starts_with(object_addresses::directory_scheme);
}

/// Takes an address apart. Throws PersistError invalid_config if it is none. Any thread may call it.
[[nodiscard]] inline ObjectAddress parse_object_address(std::string_view text) {
  namespace addresses = object_addresses;
  ObjectAddress address;
  addresses::Parts parts;
  if (text.starts_with(addresses::s3_scheme)) {
    const std::string_view rest = text.substr(addresses::s3_scheme.size());
    const std::size_t slash = rest.find('/');
    address.kind = ObjectAddress::Kind::s3;
    address.place = rest.substr(0, slash);
    if (address.place.empty() || slash == std::string_view::npos) {
      addresses::refuse(text, address.place.empty() ? "it names no bucket" : "it names a bucket, and no index");
    }
    // The slash behind the bucket is the first of a double one that may follow it.
    parts = addresses::parted(rest.substr(slash));
    if (!parts.front.empty()) {
      address.prefix = std::string(parts.front.substr(1)) + "/";
    }
  } else if (text.starts_with(addresses::directory_scheme)) {
    address.kind = ObjectAddress::Kind::directory;
    const std::string_view path = text.substr(addresses::directory_scheme.size());
    if (path.starts_with("//")) {
      addresses::refuse(text, "no slashes follow dir: but those of the path");
    }
    parts = addresses::parted(path);
    // Where nothing stands in front of the slash it is the root; without one the store is the working directory.
    address.place = !parts.front.empty() ? std::string(parts.front) : path.starts_with('/') ? "/" : ".";
  } else {
    addresses::refuse(text, "it begins with neither s3:// nor dir:");
  }
  address.name = parts.name;
  if (const std::string wrong = object_keys::wrong_with(address.name); !wrong.empty()) {
    addresses::refuse(text, "the name of the index " + wrong);
  }
  return address;
}

}  // namespace iqdb
