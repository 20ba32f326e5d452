#include "iqdb/persist/codec/codec_workers.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <new>
#include <set>

#include "support/catch.hpp"

namespace {

struct Context {
  std::atomic<bool> in_use = false;
};

void free_context(Context* context) noexcept { delete context; }  // NOLINT(*-owning-memory)

using Workers = iqdb::coding::CodecWorkers<Context, &free_context>;

[[nodiscard]] Context* new_context() { return new Context; }  // NOLINT(*-owning-memory)

}  // namespace

TEST_CASE("CodecWorkers: each piece is done once and no context by two threads at a time", "[codec_workers]") {
  Workers workers(3, 10, &new_context);
  CHECK(workers.contexts().size() == 4);
  for (const std::size_t count : {std::size_t{1}, std::size_t{2}, std::size_t{100}}) {
    std::array<std::atomic<int>, 100> done{};
    std::atomic<bool> shared = false;
    workers.share_out(count, [&](Context* context, std::size_t number) {
      shared = shared || context->in_use.exchange(true);
      ++done.at(number);
      context->in_use = false;
    });
    CHECK_FALSE(shared);
    for (std::size_t number = 0; number < done.size(); ++number) {
      REQUIRE(done.at(number) == (number < count ? 1 : 0));
    }
  }
}

TEST_CASE("CodecWorkers: has no more threads than can have work", "[codec_workers]") {
  CHECK(Workers(3, 1, &new_context).contexts().size() == 2);
  CHECK(Workers(3, 0, &new_context).contexts().size() == 1);
  CHECK(Workers(0, 5, &new_context).contexts().size() == 1);
}

TEST_CASE("CodecWorkers: a context that there is no memory for is bad_alloc", "[codec_workers]") {
  Context* (*const refusing)() = [] { return static_cast<Context*>(nullptr); };
  CHECK_THROWS_AS(Workers(2, 1, refusing), std::bad_alloc);
}
