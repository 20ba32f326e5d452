// WHAT a log needs from an object store: put if absent, put, read, list, delete. S3 and its like have these calls, and so has
// a directory of files.
//
// What is hard to keep, and is lost first where somebody writes a store of their own:
//
// - Of two puts if absent of one key, at most one stores. A look at the key that is followed by a put is not that. A server that
//   ignores the condition is no store for a log.
// - `was_there` may speak of the caller's own object: a client library may send a request again by itself, and the answer to the
//   second one is all that the caller sees.
// - `unknown` is an honest answer. A request whose reply was lost may be carried out later, also after requests that were sent
//   later, and after the process that sent it has ended. Nothing may turn it into "was not stored".
// - What a call told is durable. So `was_there` also promises that the object which is there stays.
// - A listing has what was stored before it began. "Not there" of a read has no such promise: a server may say it of an object
//   that is just being stored.
//
// A store may also take an object in parts. That is a concept of its own, which nothing but large snapshots asks for: a store that
// somebody writes for one server stays a matter of seven calls, and snapshots are then put as a whole.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "iqdb/persist/version.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// What became of a put if absent.
enum class PutOutcome : std::uint8_t {
  stored,     ///< this request stored the object, durably
  was_there,  ///< an object of this key is there, durably: another's, or the caller's own from an earlier request
  unknown,    ///< no answer, or one that says nothing: it may be stored, may be stored later, or never
};

/// The bytes of an object.
using ObjectBytes = std::vector<std::byte>;

/// Stores an object unless there is one of its key.
template <class S>
concept PutsObjectsIfAbsent = requires(S& store, std::string_view key, std::span<const std::byte> bytes) {
  // Whole or not at all: nobody ever sees a part of the object. A time-out, a connection that is cut and an error of the server
  // are `unknown`, never an exception. Throws PersistError where a repetition is of no use (a key that is not valid, credentials,
  // a disk that fails); the object may then be there all the same.
  { store.put_if_absent(key, bytes) } -> std::same_as<PutOutcome>;
};

/// Stores an object in place of one that may be there. For keys that only one writer uses.
template <class S>
concept PutsObjects = requires(S& store, std::string_view key, std::span<const std::byte> bytes) {
  // Whole or not at all, and durable when it returns. Throws PersistError io if that is not known; the same put may then be
  // repeated.
  store.put(key, bytes);
};

/// Reads objects. Each call throws PersistError io if there is no answer; it may then be repeated.
template <class S>
concept ReadsObjects = requires(S& store, std::string_view key, std::uint64_t offset, std::size_t count) {
  // The whole object, or nothing if none is there.
  { store.get(key) } -> std::same_as<std::optional<ObjectBytes>>;
  // Up to `count` bytes from `offset` on, fewer only at the end of the object and none behind it; or nothing if none is there.
  { store.get(key, offset, count) } -> std::same_as<std::optional<ObjectBytes>>;
  // Its size in bytes, or nothing if none is there.
  { store.head(key) } -> std::same_as<std::optional<std::uint64_t>>;
};

/// Lists keys.
template <class S>
concept ListsObjects = requires(S& store, std::string_view prefix, std::string_view behind, std::size_t most) {
  // The first keys, at most `most` (at least 1), that begin with `prefix` and are larger than `behind`, in the order of their
  // bytes. An empty answer means that there are no more; a short one means nothing. It has every object that was stored before
  // the call and was not deleted before its end. Throws PersistError io if there is no answer; it may then be repeated.
  { store.list(prefix, behind, most) } -> std::same_as<std::vector<std::string>>;
};

/// Deletes objects.
template <class S>
concept DeletesObjects = requires(S& store, std::string_view key) {
  // There is no object of this key when it returns, unless somebody stored one meanwhile; it is no error if there was none.
  // Throws PersistError io if that is not known: it may then still be deleted, later too.
  store.remove(key);
};

/// An upload of an object in parts, which was begun. Nobody sees anything of the object before it is completed.
struct ObjectUpload {
  std::string key;  ///< of the object
  std::string id;   ///< the store's name for the upload, which no other one has

  friend bool operator==(const ObjectUpload&, const ObjectUpload&) = default;
};

/// A part that was put.
struct UploadedPart {
  std::uint32_t number = 0;  ///< from 1 on: where it stands in the object
  std::string tag = {};      ///< the store's name for what was put

  friend bool operator==(const UploadedPart&, const UploadedPart&) = default;
};

/// What parts a store takes.
struct PartLimits {
  std::uint64_t least_bytes = 1;  ///< of a part that is not the last one
  std::uint64_t most_bytes = 0;   ///< of a part
  std::uint32_t most_parts = 0;   ///< of an object; also the largest number
};

/// What became of an upload that was to be completed.
enum class UploadOutcome : std::uint8_t {
  completed,  ///< the object is there, whole and durable, in place of one that was there
  absent,     ///< there is no such upload: it was completed or aborted before, whoever asked for that
};

/// Takes objects in parts. Each call throws PersistError io if it is not known what became of it, and may then be repeated. An upload
/// that is neither completed nor aborted stays, and costs space.
template <class S>
concept UploadsObjects = requires(S& store, std::string_view key, const ObjectUpload& upload, std::uint32_t number,
                                  std::span<const std::byte> bytes, std::span<const UploadedPart> parts,
                                  std::string_view prefix, std::size_t most) {
  // Asks nobody.
  { store.part_limits() } -> std::same_as<PartLimits>;
  // Begins an upload, and returns its id. If that is not known, one may be pending whose id nobody has: list_uploads() knows it.
  { store.begin_upload(key) } -> std::same_as<std::string>;
  // Stores a part, and returns its tag; or nothing if there is no such upload. Parts come in any order, and several at the same
  // time. Of a part that is put twice the last one counts, and two tags of the same bytes need not be the same. A part that is put
  // while its upload ends may be told to be stored, and is gone.
  { store.put_part(upload, number, bytes) } -> std::same_as<std::optional<std::string>>;
  // Makes one object of these parts, whose numbers ascend, at one moment. Throws PersistError invalid_config if a part is not there
  // with this tag, or is too small. Where the answer to a first attempt was lost, `absent` may follow on what was completed: a read
  // of the object, under a key that nobody else uses, then decides.
  { store.complete_upload(upload, parts) } -> std::same_as<UploadOutcome>;
  // There is no such upload when it returns. It is no error if there was none; an object that was made of it stays.
  store.abort_upload(upload);
  // The first uploads that are pending, at most `most` (at least 1), whose keys begin with `prefix`, and which stand behind `upload`,
  // one that was listed before, in an order of the store's that stays the same; from the beginning on if that has no key. An empty
  // answer means that there are no more; a short one means nothing. It has every upload whose id was told before the call and that
  // was not ended before its end.
  { store.list_uploads(prefix, upload, most) } -> std::same_as<std::vector<ObjectUpload>>;
};

/// A store of objects. A key is as require_object_key wants it. The calls of one object are made by one thread at a time; other
/// objects, in other processes and on other machines, use the same store at the same time.
///
/// Every request in which nothing is unknown takes effect at one moment between the call and its return, for all clients the
/// same.
template <class S>
concept ObjectStore =
    PutsObjectsIfAbsent<S> && PutsObjects<S> && ReadsObjects<S> && ListsObjects<S> && DeletesObjects<S>;

}  // namespace iqdb
