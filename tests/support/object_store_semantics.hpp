// What every object store must do, written once: the promises of the concept ObjectStore that one client can see.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/storage/object_store.hpp"
#include "support/catch.hpp"
#include "support/expect_error.hpp"

namespace iqdb_test {

/// The bytes of a text. Valid as long as it is.
[[nodiscard]] inline std::span<const std::byte> object_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// The text of an object, or nothing if there is none.
[[nodiscard]] inline std::optional<std::string> object_text(const std::optional<iqdb::ObjectBytes>& bytes) {
  return bytes ? std::optional(std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size())) : std::nullopt;
}

/// The first put if absent of a key stores, and the others change nothing.
template <iqdb::ObjectStore S>
void check_put_if_absent(S& store) {
  CHECK(store.put_if_absent("absent/1", object_bytes("first")) == iqdb::PutOutcome::stored);
  CHECK(store.put_if_absent("absent/1", object_bytes("other")) == iqdb::PutOutcome::was_there);
  CHECK(store.put_if_absent("absent/1", object_bytes("first")) == iqdb::PutOutcome::was_there);
  CHECK(object_text(store.get("absent/1")) == "first");
  CHECK(store.put_if_absent("absent/empty", {}) == iqdb::PutOutcome::stored);
  CHECK(store.put_if_absent("absent/empty", object_bytes("other")) == iqdb::PutOutcome::was_there);
  CHECK(object_text(store.get("absent/empty")).value().empty());
  store.remove("absent/1");
  CHECK(store.put_if_absent("absent/1", object_bytes("again")) == iqdb::PutOutcome::stored);
  CHECK(object_text(store.get("absent/1")) == "again");
}

/// A put replaces the whole object, and every byte of it comes back.
template <iqdb::ObjectStore S>
void check_put(S& store) {
  store.put("put/a", object_bytes("a longer one"));
  store.put("put/a", object_bytes("short"));
  CHECK(object_text(store.get("put/a")) == "short");
  std::string all;
  for (std::size_t at = 0; at < (std::size_t{2} << 20U); ++at) {
    all += static_cast<char>(static_cast<unsigned char>(at * 7 + at / 251));
  }
  store.put("put/large", object_bytes(all));
  CHECK(store.head("put/large") == all.size());
  CHECK((object_text(store.get("put/large")) == all));
  CHECK((object_text(store.get("put/large", 1 << 20, 1000)) == all.substr(1 << 20, 1000)));
}

/// Ranges are cut off at the end, and what is not there is nothing.
template <iqdb::ObjectStore S>
void check_reads(S& store) {
  store.put("read/b", object_bytes("0123456789"));
  store.put("read/empty", {});
  CHECK(object_text(store.get("read/b")) == "0123456789");
  CHECK(object_text(store.get("read/b", 0, 1)) == "0");
  CHECK(object_text(store.get("read/b", 2, 3)) == "234");
  CHECK(object_text(store.get("read/b", 9, 1)) == "9");
  CHECK(object_text(store.get("read/b", 8, 100)) == "89");
  CHECK(object_text(store.get("read/b", 3, static_cast<std::size_t>(-1))) == "3456789");
  CHECK(object_text(store.get("read/b", 0, 0)) == "");
  CHECK(object_text(store.get("read/b", 10, 1)) == "");
  CHECK(object_text(store.get("read/b", std::uint64_t{1} << 60U, 1)) == "");
  CHECK(object_text(store.get("read/b", static_cast<std::uint64_t>(-1), 1)) == "");
  CHECK(store.head("read/b") == 10U);
  CHECK(object_text(store.get("read/empty")) == "");
  CHECK(object_text(store.get("read/empty", 0, 10)) == "");
  CHECK(store.head("read/empty") == 0U);
  for (const char* absent : {"c", "read/c", "c/d/e", "read", "read/b/c"}) {
    INFO(absent);
    CHECK_FALSE(store.get(absent));
    CHECK_FALSE(store.get(absent, 0, 10));
    CHECK_FALSE(store.get(absent, 5, 0));
    CHECK_FALSE(store.head(absent));
  }
}

/// Keys come in the order of their bytes, in pages of any length.
template <iqdb::ObjectStore S>
void check_lists(S& store) {
  const std::vector<std::string> all = {"list/a b",    "list/a%b",      "list/a&<>\"'b", "list/a+b",
                                        "list/a-b",    "list/a.b",      "list/a/b",      "list/a/b-c",
                                        "list/a/bc/d", "list/a/log/10", "list/a/log/2",  "list/a=b",
                                        "list/a_b",    "list/a~*b",     "list/b",        "list/\xC3\xA4"};
  for (const std::string& key : all) {
    store.put(key, object_bytes(key));
  }
  CHECK(store.list("list/", "", 100) == all);
  for (std::size_t page = 1; page <= all.size() + 1; page += 3) {
    std::vector<std::string> keys;
    for (auto some = store.list("list/", "", page); !some.empty(); some = store.list("list/", keys.back(), page)) {
      CHECK(some.size() <= page);
      keys.insert(keys.end(), some.begin(), some.end());
    }
    CHECK(keys == all);
  }
  for (const std::string& key : all) {
    CHECK(object_text(store.get(key)) == key);
  }
  CHECK(store.list("list/a/b", "", 100) == std::vector<std::string>{"list/a/b", "list/a/b-c", "list/a/bc/d"});
  CHECK(store.list("list/a/log/", "list/a/log/1", 100) == std::vector<std::string>{"list/a/log/10", "list/a/log/2"});
  CHECK(store.list("list/a/log/", "list/a", 100) == std::vector<std::string>{"list/a/log/10", "list/a/log/2"});
  CHECK(store.list("list/a/log/", "list/a/log/2", 100).empty());
  CHECK(store.list("list/a/log/", "list/b", 100).empty());
  CHECK(store.list("no/such/", "", 100).empty());
}

/// An object is deleted once, and nothing is done where there is none.
template <iqdb::ObjectStore S>
void check_removes(S& store) {
  store.put("remove/a/b", object_bytes("x"));
  store.remove("remove/a/b");
  store.remove("remove/a/b");
  store.remove("remove/c/d");
  store.remove("remove/a");
  CHECK_FALSE(store.get("remove/a/b"));
  CHECK_FALSE(store.head("remove/a/b"));
  CHECK(store.list("remove/", "", 10).empty());
}

/// Keys that are not valid are refused by every call.
template <iqdb::ObjectStore S>
void check_keys(S& store) {
  for (const char* key : {"", "../a", "a/../../b", "/a", ".tmp-1", "a//b", "a\nb"}) {
    INFO(key);
    require_kind(iqdb::PersistErrorKind::invalid_config, [&] { return store.put_if_absent(key, object_bytes("x")); });
    require_kind(iqdb::PersistErrorKind::invalid_config, [&] { store.put(key, object_bytes("x")); });
    require_kind(iqdb::PersistErrorKind::invalid_config, [&] { return store.get(key); });
    require_kind(iqdb::PersistErrorKind::invalid_config, [&] { return store.get(key, 0, 1); });
    require_kind(iqdb::PersistErrorKind::invalid_config, [&] { return store.head(key); });
    require_kind(iqdb::PersistErrorKind::invalid_config, [&] { store.remove(key); });
  }
}

/// All of the above, on a store in which nothing is.
template <iqdb::ObjectStore S>
void check_object_store(S& store) {
  check_put_if_absent(store);
  check_put(store);
  check_reads(store);
  check_lists(store);
  check_removes(store);
  check_keys(store);
}

/// A part of an upload, as large as the store wants one that is not the last.
template <iqdb::UploadsObjects S>
[[nodiscard]] std::string part_text(S& store, char letter) {
  return std::string(static_cast<std::size_t>(store.part_limits().least_bytes), letter);
}

/// Puts a part of an upload that is there.
template <iqdb::UploadsObjects S>
[[nodiscard]] iqdb::UploadedPart put_part(S& store, const iqdb::ObjectUpload& upload, std::uint32_t number,
                                          const std::string& text) {
  auto tag = store.put_part(upload, number, object_bytes(text));
  REQUIRE(tag);
  return {.number = number, .tag = *std::move(tag)};
}

template <iqdb::UploadsObjects S>
[[nodiscard]] iqdb::ObjectUpload begin_upload(S& store, const std::string& key) {
  return {.key = key, .id = store.begin_upload(key)};
}

/// Parts come in any order, also more than once, and the object is there when they are joined, and not before.
template <class S>
  requires iqdb::ObjectStore<S> && iqdb::UploadsObjects<S>
void check_uploads(S& store) {
  const std::string one = part_text(store, '1');
  const std::string two = part_text(store, '2');
  const auto upload = begin_upload(store, "upload/a b+ü");
  const auto third = put_part(store, upload, 7, "the last one is small");
  const auto second = put_part(store, upload, 2, two);
  std::ignore = put_part(store, upload, 1, part_text(store, 'x'));
  const auto first = put_part(store, upload, 1, one);
  CHECK_FALSE(store.head(upload.key));
  CHECK(store.list("upload/", "", 10).empty());
  const std::vector<iqdb::UploadedPart> parts = {first, second, third};
  CHECK(store.complete_upload(upload, parts) == iqdb::UploadOutcome::completed);
  CHECK((object_text(store.get(upload.key)) == one + two + "the last one is small"));
  CHECK(store.list_uploads("upload/", {}, 10).empty());
  CHECK(store.list("upload/", "", 10) == std::vector<std::string>{upload.key});

  // In place of what is there.
  const auto other = begin_upload(store, upload.key);
  const std::vector<iqdb::UploadedPart> only = {put_part(store, other, 1, "small")};
  CHECK(store.complete_upload(other, only) == iqdb::UploadOutcome::completed);
  CHECK(object_text(store.get(upload.key)) == "small");
  store.remove(upload.key);
  CHECK_FALSE(store.head(upload.key));
}

/// An upload that was aborted is gone, and nothing can be added to it.
template <class S>
  requires iqdb::ObjectStore<S> && iqdb::UploadsObjects<S>
void check_aborted_uploads(S& store) {
  store.put("aborted/a", object_bytes("there"));
  const auto upload = begin_upload(store, "aborted/a");
  const std::vector<iqdb::UploadedPart> parts = {put_part(store, upload, 1, "x")};
  CHECK(store.list_uploads("aborted/", {}, 10) == std::vector{upload});
  store.abort_upload(upload);
  store.abort_upload(upload);
  CHECK(store.list_uploads("aborted/", {}, 10).empty());
  CHECK_FALSE(store.put_part(upload, 2, object_bytes("x")));
  CHECK(store.complete_upload(upload, parts) == iqdb::UploadOutcome::absent);
  CHECK(object_text(store.get("aborted/a")) == "there");
}

/// A part that is not there as it was put is no part of an object.
template <class S>
  requires iqdb::ObjectStore<S> && iqdb::UploadsObjects<S>
void check_parts(S& store) {
  const auto upload = begin_upload(store, "parts/a");
  const auto first = put_part(store, upload, 1, part_text(store, '1'));
  const auto second = put_part(store, upload, 2, "2");
  const auto refused = [&](const std::vector<iqdb::UploadedPart>& parts) {
    require_kind(iqdb::PersistErrorKind::invalid_config,
                 [&] { static_cast<void>(store.complete_upload(upload, parts)); });
  };
  refused({first, {.number = 2, .tag = first.tag}});
  refused({first, {.number = 3, .tag = second.tag}});
  CHECK_FALSE(store.head("parts/a"));
  const std::vector<iqdb::UploadedPart> both = {first, second};
  CHECK(store.complete_upload(upload, both) == iqdb::UploadOutcome::completed);
}

/// Pending uploads are listed, in pages of any length, each once.
template <class S>
  requires iqdb::ObjectStore<S> && iqdb::UploadsObjects<S>
void check_listed_uploads(S& store) {
  std::vector<std::string> keys = {"uploads/a b", "uploads/a&<>\"'b", "uploads/a+b", "uploads/a/b",
                                   "uploads/a/b", "uploads/a/b/c",    "uploads/a%b", "uploads/b"};
  for (const std::string& key : keys) {
    std::ignore = begin_upload(store, key);
  }
  std::ranges::sort(keys);
  for (std::size_t page = 1; page <= keys.size() + 1; page += 3) {
    std::vector<std::string> found;
    iqdb::ObjectUpload behind;
    for (auto some = store.list_uploads("uploads/", behind, page); !some.empty();
         some = store.list_uploads("uploads/", behind, page)) {
      CHECK(some.size() <= page);
      for (const iqdb::ObjectUpload& upload : some) {
        found.push_back(upload.key);
      }
      behind = some.back();
    }
    std::ranges::sort(found);
    CHECK(found == keys);
  }
  CHECK(store.list_uploads("uploads/a/", {}, 10).size() == 3);
  for (const iqdb::ObjectUpload& upload : store.list_uploads("uploads/", {}, 100)) {
    store.abort_upload(upload);
  }
  CHECK(store.list_uploads("uploads/", {}, 10).empty());
}

/// All of these, on a store in which no upload is pending.
template <class S>
  requires iqdb::ObjectStore<S> && iqdb::UploadsObjects<S>
void check_object_uploads(S& store) {
  check_uploads(store);
  check_aborted_uploads(store);
  check_parts(store);
  check_listed_uploads(store);
  for (const char* key : {"", "../a", ".tmp-1"}) {
    require_kind(iqdb::PersistErrorKind::invalid_config, [&] { return store.begin_upload(key); });
  }
}

/// Of many threads that put one key at once, each by a store of its own, one stores. `make()` returns a store.
template <class Make>
void check_races(Make&& make, std::size_t threads, std::size_t keys) {
  std::vector<std::vector<iqdb::PutOutcome>> outcomes(threads);
  std::vector<std::thread> running;
  for (std::size_t at = 0; at < threads; ++at) {
    running.emplace_back([&, at] {
      auto store = make();
      for (std::size_t key = 0; key < keys; ++key) {
        outcomes[at].push_back(store.put_if_absent("race/" + std::to_string(key), object_bytes(std::to_string(at))));
      }
    });
  }
  for (std::thread& each : running) {
    each.join();
  }
  auto store = make();
  for (std::size_t key = 0; key < keys; ++key) {
    std::string winner;
    for (std::size_t at = 0; at < threads; ++at) {
      winner += outcomes[at].at(key) == iqdb::PutOutcome::stored ? std::to_string(at) : "";
    }
    CHECK(object_text(store.get("race/" + std::to_string(key))) == winner);
  }
}

}  // namespace iqdb_test
