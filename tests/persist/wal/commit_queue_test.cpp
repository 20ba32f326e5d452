#include "iqdb/persist/wal/commit_queue.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "support/catch.hpp"

namespace {

using Stage = iqdb::QueuedCall::Stage;

struct NumberedCall : iqdb::CommitQueue<NumberedCall>::Entry {
  std::size_t number = 0;
  std::size_t id = 0;

  explicit NumberedCall(std::size_t its_number, std::size_t its_id) : number(its_number), id(its_id) {
    bytes = 10;
    mutations = 1;
    ids = {&id, 1};
  }
  NumberedCall(const NumberedCall&) = delete;
  NumberedCall& operator=(const NumberedCall&) = delete;
  ~NumberedCall() = default;
};

using Queue = iqdb::CommitQueue<NumberedCall>;

std::vector<std::size_t> numbers_of(const Queue::Group& group) {
  std::vector<std::size_t> numbers;
  for (const NumberedCall& call : group) {
    numbers.push_back(call.number);
  }
  return numbers;
}

using Numbers = std::vector<std::size_t>;

}  // namespace

TEST_CASE("The first call that waits may lead and no other", "[commit_queue]") {
  Queue queue;
  NumberedCall first(1, 1);
  NumberedCall second(2, 2);
  CHECK(queue.next_leader() == nullptr);
  queue.submit(first);
  queue.submit(second);
  CHECK(queue.next_leader() == &first);
}

TEST_CASE("While a group is in flight nobody may lead", "[commit_queue]") {
  Queue queue;
  NumberedCall first(1, 1);
  NumberedCall second(2, 2);
  queue.submit(first);
  CHECK(numbers_of(queue.lead()) == Numbers{1});
  queue.submit(second);
  CHECK(queue.next_leader() == nullptr);
  CHECK(first.stage == Stage::in_flight);
  CHECK(second.stage == Stage::waiting);
  queue.settle(1, {});
  CHECK(first.stage == Stage::done);
  CHECK(queue.next_leader() == &second);
}

TEST_CASE("Calls that waited become one group in the order in which they came", "[commit_queue]") {
  Queue queue;
  NumberedCall first(1, 1);
  NumberedCall second(2, 2);
  NumberedCall third(3, 3);
  queue.submit(first);
  queue.submit(second);
  queue.submit(third);
  CHECK(numbers_of(queue.lead()) == Numbers{1, 2, 3});
}

TEST_CASE("A group in flight does not grow by the calls that are submitted meanwhile", "[commit_queue]") {
  Queue queue;
  NumberedCall first(1, 1);
  NumberedCall second(2, 2);
  queue.submit(first);
  const Queue::Group group = queue.lead();
  queue.submit(second);
  CHECK(numbers_of(group) == Numbers{1});
}

TEST_CASE("A call that concerns an identifier of the group waits for the next one, and others pass it",
          "[commit_queue]") {
  Queue queue;
  NumberedCall first(1, 7);
  NumberedCall second(2, 8);
  NumberedCall third(3, 7);
  NumberedCall fourth(4, 9);
  for (NumberedCall* call : {&first, &second, &third, &fourth}) {
    queue.submit(*call);
  }
  CHECK(numbers_of(queue.lead()) == Numbers{1, 2, 4});
  queue.settle(3, {});
  CHECK(queue.next_leader() == &third);
  CHECK(numbers_of(queue.lead()) == Numbers{3});
}

TEST_CASE("A call does not pass one that concerns the same identifier", "[commit_queue]") {
  Queue queue;
  NumberedCall first(1, 7);
  NumberedCall second(2, 7);
  NumberedCall third(3, 7);
  NumberedCall fourth(4, 8);
  const std::vector<std::size_t> both = {8, 7};
  second.ids = both;  // it stays, and with it the fourth
  for (NumberedCall* call : {&first, &second, &third, &fourth}) {
    queue.submit(*call);
  }
  CHECK(numbers_of(queue.lead()) == Numbers{1});
  queue.settle(1, {});
  CHECK(numbers_of(queue.lead()) == Numbers{2});
  queue.settle(1, {});
  CHECK(numbers_of(queue.lead()) == Numbers{3, 4});
}

TEST_CASE("A call behind those that stay can be submitted and is the last", "[commit_queue]") {
  Queue queue;
  NumberedCall first(1, 7);
  NumberedCall second(2, 7);
  NumberedCall third(3, 8);
  for (NumberedCall* call : {&first, &second, &third}) {
    queue.submit(*call);
  }
  CHECK(numbers_of(queue.lead()) == Numbers{1, 3});
  NumberedCall fourth(4, 9);
  queue.submit(fourth);
  queue.settle(2, {});
  CHECK(numbers_of(queue.lead()) == Numbers{2, 4});
}

TEST_CASE("No call passes one that goes alone", "[commit_queue]") {
  Queue queue;
  NumberedCall first(1, 7);
  NumberedCall second(2, 7);
  NumberedCall third(3, 8);
  NumberedCall fourth(4, 9);
  third.alone = true;
  for (NumberedCall* call : {&first, &second, &third, &fourth}) {
    queue.submit(*call);
  }
  CHECK(numbers_of(queue.lead()) == Numbers{1});
  queue.settle(1, {});
  CHECK(numbers_of(queue.lead()) == Numbers{2});
  queue.settle(1, {});
  CHECK(numbers_of(queue.lead()) == Numbers{3});
}

TEST_CASE("At most sixteen calls are passed", "[commit_queue]") {
  Queue queue;
  std::vector<std::unique_ptr<NumberedCall>> calls;
  for (std::size_t number = 0; number < 20; ++number) {
    calls.push_back(std::make_unique<NumberedCall>(number, 7));
    queue.submit(*calls.back());
  }
  NumberedCall other(20, 8);
  queue.submit(other);
  for (std::size_t number = 0; number < 3; ++number) {
    CHECK(numbers_of(queue.lead()) == Numbers{number});
    queue.settle(1, {});
  }
  CHECK(numbers_of(queue.lead()) == Numbers{3, 20});
}

TEST_CASE("Identifiers that leave the same remainder are not taken for one", "[commit_queue]") {
  Queue queue;
  NumberedCall first(1, 5);
  NumberedCall second(2, 5 + (std::size_t{1} << 20U));
  queue.submit(first);
  queue.submit(second);
  CHECK(numbers_of(queue.lead()) == Numbers{1, 2});
}

TEST_CASE("A call that goes alone is a group of its own wherever it stands", "[commit_queue]") {
  Queue queue;
  NumberedCall first(1, 1);
  NumberedCall second(2, 2);
  NumberedCall third(3, 3);
  second.alone = true;
  for (NumberedCall* call : {&first, &second, &third}) {
    queue.submit(*call);
  }
  CHECK(numbers_of(queue.lead()) == Numbers{1});
  queue.settle(1, {});
  CHECK(numbers_of(queue.lead()) == Numbers{2});
  queue.settle(1, {});
  CHECK(numbers_of(queue.lead()) == Numbers{3});
}

TEST_CASE("A group stays within its bounds of bytes and of mutations", "[commit_queue]") {
  Queue of_bytes({.bytes = 20, .mutations = 100});
  Queue of_mutations({.bytes = 1000, .mutations = 2});
  for (Queue* queue : {&of_bytes, &of_mutations}) {
    NumberedCall first(1, 1);
    NumberedCall second(2, 2);
    NumberedCall third(3, 3);
    for (NumberedCall* call : {&first, &second, &third}) {
      queue->submit(*call);
    }
    CHECK(numbers_of(queue->lead()) == Numbers{1, 2});
    queue->settle(2, {});
    CHECK(numbers_of(queue->lead()) == Numbers{3});
    queue->settle(1, {});
  }
}

TEST_CASE("A call beyond the bounds is led all the same and goes alone", "[commit_queue]") {
  Queue queue({.bytes = 20, .mutations = 2});
  NumberedCall small(1, 1);
  NumberedCall large(2, 2);
  NumberedCall behind(3, 3);
  large.mutations = 5;
  for (NumberedCall* call : {&small, &large, &behind}) {
    queue.submit(*call);
  }
  CHECK(numbers_of(queue.lead()) == Numbers{1});
  queue.settle(1, {});
  CHECK(numbers_of(queue.lead()) == Numbers{2});
  queue.settle(5, {});
  CHECK(numbers_of(queue.lead()) == Numbers{3});
}

TEST_CASE("A group has so few mutations that readers do not wait longer than the bound", "[commit_queue]") {
  using namespace std::chrono_literals;
  Queue queue({.bytes = 1000, .mutations = 100, .applying = 5ms});
  NumberedCall first(1, 1);
  CHECK(queue.most_mutations() == 64);  // nothing is known yet
  queue.submit(first);
  queue.lead();
  queue.settle(1, 1us);
  CHECK(queue.most_mutations() == 100);
  queue = Queue({.bytes = 1000, .mutations = 100, .applying = 5ms});
  queue.submit(first);
  queue.lead();
  queue.settle(1, 1ms);
  CHECK(queue.most_mutations() == 5);
  queue.submit(first);
  queue.lead();
  queue.settle(1, 1s);
  CHECK(queue.most_mutations() == 1);
}

// Every order of the events of a few callers, each with some calls one after the other: a caller submits its next call
// when the last is done; the first that waits leads; the group is settled.
namespace {

class EveryOrder {
 public:
  EveryOrder(std::size_t callers, std::size_t calls, std::vector<std::size_t> ids, std::size_t alone)
      : callers_(callers), calls_(calls), ids_(std::move(ids)), alone_(alone) {}

  // Returns the number of orders, or throws at the first that is wrong.
  std::size_t run() {
    std::vector<std::size_t> choices;
    std::size_t orders = 0;
    for (;;) {
      one_order(choices);
      ++orders;
      // The next order: the last choice that has an alternative takes it.
      while (!taken_.empty() && taken_.back() + 1 == offered_.back()) {
        taken_.pop_back();
        offered_.pop_back();
      }
      if (taken_.empty()) {
        return orders;
      }
      ++taken_.back();
      choices = taken_;
    }
  }

 private:
  std::size_t choose(const std::vector<std::size_t>& choices, std::size_t among) {
    const std::size_t chosen = taken_.size() < choices.size() ? choices[taken_.size()] : 0;
    taken_.push_back(chosen);
    offered_.push_back(among);
    return chosen;
  }

  void one_order(const std::vector<std::size_t>& choices) {
    taken_.clear();
    offered_.clear();
    Queue queue;
    std::vector<std::unique_ptr<NumberedCall>> calls;
    std::vector<NumberedCall*> last(callers_, nullptr);
    std::vector<std::size_t> submitted(callers_, 0);
    Numbers order;
    Numbers committed;
    bool in_flight = false;
    for (;;) {
      std::vector<std::size_t> may_submit;
      for (std::size_t caller = 0; caller < callers_; ++caller) {
        if (submitted[caller] < calls_ && (last[caller] == nullptr || last[caller]->stage == Stage::done)) {
          may_submit.push_back(caller);
        }
      }
      const bool may_lead = queue.next_leader() != nullptr;
      REQUIRE(!(may_lead && in_flight));
      const std::size_t among = may_submit.size() + (may_lead || in_flight ? 1 : 0);
      if (among == 0) {
        break;
      }
      const std::size_t chosen = choose(choices, among);
      if (chosen < may_submit.size()) {
        const std::size_t caller = may_submit[chosen];
        const std::size_t number = calls.size();
        calls.push_back(std::make_unique<NumberedCall>(number, ids_[number % ids_.size()]));
        calls.back()->alone = number % alone_ == alone_ - 1;
        ++submitted[caller];
        last[caller] = calls.back().get();
        order.push_back(number);
        queue.submit(*calls.back());
      } else if (in_flight) {
        queue.settle(1, {});
        in_flight = false;
      } else {
        examine(queue.lead(), committed);
        in_flight = true;
      }
    }
    REQUIRE(order.size() == callers_ * calls_);
    REQUIRE(committed.size() == order.size());
    // Where each was committed. Those of one identifier keep their order, and nothing passes what goes alone.
    std::vector<std::size_t> place(order.size());
    for (std::size_t at = 0; at < committed.size(); ++at) {
      place[committed[at]] = at;
    }
    for (std::size_t later = 0; later < order.size(); ++later) {
      for (std::size_t earlier = 0; earlier < later; ++earlier) {
        const NumberedCall& one = *calls[earlier];
        const NumberedCall& other = *calls[later];
        REQUIRE((one.id != other.id && !one.alone && !other.alone) | (place[earlier] < place[later]));
      }
    }
  }

  static void examine(const Queue::Group& group, Numbers& committed) {
    std::vector<std::size_t> ids;
    std::size_t count = 0;
    bool any_alone = false;
    for (const NumberedCall& call : group) {
      ++count;
      any_alone = any_alone || call.alone;
      REQUIRE(call.stage == Stage::in_flight);
      REQUIRE(std::find(ids.begin(), ids.end(), call.id) == ids.end());
      ids.push_back(call.id);
      committed.push_back(call.number);
    }
    REQUIRE(count > 0);
    REQUIRE((count == 1 || !any_alone));
  }

  std::size_t callers_;
  std::size_t calls_;
  std::vector<std::size_t> ids_;
  std::size_t alone_;
  std::vector<std::size_t> taken_;
  std::vector<std::size_t> offered_;
};

}  // namespace

TEST_CASE("In every order of three callers all calls are committed once, and those of an identifier in their order",
          "[commit_queue]") {
  std::size_t orders = 0;
  for (const std::vector<std::size_t>& ids : {std::vector<std::size_t>{1, 2, 3, 4}, {1, 1}, {1, 2, 1}}) {
    for (const std::size_t alone : {2U, 3U, 100U}) {
      orders += EveryOrder(3, 2, ids, alone).run();
    }
  }
  CHECK(orders > 1000);
}
