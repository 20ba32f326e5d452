#include "iqdb/persist/wal/commit_queue.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/sanitized.hpp"

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

void submit(Queue& queue, std::initializer_list<NumberedCall*> calls) {
  for (NumberedCall* call : calls) {
    queue.submit(*call);
  }
}

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

TEST_CASE("The leader of a thread that is alone expects nobody", "[commit_queue]") {
  Queue queue;
  for (int round = 0; round < 3; ++round) {
    NumberedCall call(1, 1);
    queue.submit(call);
    CHECK(queue.missing() == 0);
    static_cast<void>(queue.lead());
    queue.settle(1, {});
  }
}

TEST_CASE("A leader expects the threads that were settled last and those that waited then", "[commit_queue]") {
  Queue queue;
  NumberedCall first(1, 1);
  NumberedCall second(2, 2);
  NumberedCall third(3, 3);
  queue.submit(first);
  static_cast<void>(queue.lead());
  submit(queue, {&second, &third});
  queue.settle(1, {});
  CHECK(queue.missing() == 1);
  NumberedCall first_again(4, 4);
  queue.submit(first_again);
  CHECK(queue.missing() == 0);
  CHECK(numbers_of(queue.lead()) == Numbers{2, 3, 4});
}

TEST_CASE("A leader that goes alone expects nobody", "[commit_queue]") {
  Queue queue;
  NumberedCall first(1, 1);
  NumberedCall second(2, 2);
  second.alone = true;
  queue.submit(first);
  static_cast<void>(queue.lead());
  queue.submit(second);
  queue.settle(1, {});
  CHECK(queue.missing() == 0);
}

TEST_CASE("Where nobody comes back leaders stop to wait for twice as many groups each time", "[commit_queue]") {
  Queue queue;
  // Two threads that meet, and do other work before their next calls.
  const auto expects_after_meeting = [&] {
    NumberedCall first(1, 1);
    NumberedCall second(2, 2);
    queue.submit(first);
    static_cast<void>(queue.lead());
    queue.submit(second);
    queue.settle(1, {});
    const bool expects = queue.missing() > 0;
    static_cast<void>(queue.lead());
    queue.settle(1, {});
    return expects;
  };
  Numbers meetings_between;
  std::size_t left_out = 0;
  while (meetings_between.size() < 8) {
    if (expects_after_meeting()) {
      meetings_between.push_back(std::exchange(left_out, 0));
    } else {
      ++left_out;
    }
  }
  CHECK(meetings_between == Numbers{0, 2, 4, 8, 16, 32, 64, 64});
}

TEST_CASE("Leaders wait again once all have come back", "[commit_queue]") {
  Queue queue;
  NumberedCall first(1, 1);
  NumberedCall second(2, 2);
  const auto commit = [&](std::initializer_list<NumberedCall*> calls) {
    submit(queue, calls);
    static_cast<void>(queue.lead());
    queue.settle(calls.size(), {});
  };
  commit({&first, &second});
  commit({&first});  // in vain
  commit({&first, &second});
  queue.submit(first);
  CHECK(queue.missing() == 0);
  static_cast<void>(queue.lead());
  queue.submit(second);
  queue.settle(1, {});
  static_cast<void>(queue.lead());
  queue.settle(1, {});
  commit({&first, &second});
  queue.submit(first);
  CHECK(queue.missing() == 1);
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
  submit(queue, {&first, &second, &third, &fourth});
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
  submit(queue, {&first, &second, &third, &fourth});
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
  submit(queue, {&first, &second, &third});
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
  submit(queue, {&first, &second, &third, &fourth});
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
  submit(queue, {&first, &second, &third});
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
    submit(*queue, {&first, &second, &third});
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
  submit(queue, {&small, &large, &behind});
  CHECK(numbers_of(queue.lead()) == Numbers{1});
  queue.settle(1, {});
  CHECK(numbers_of(queue.lead()) == Numbers{2});
  queue.settle(5, {});
  CHECK(numbers_of(queue.lead()) == Numbers{3});
}

TEST_CASE("A group has so few mutations that readers do not wait longer than the bound", "[commit_queue]") {
  using namespace std::chrono_literals;
  Queue queue({.bytes = 1000, .mutations = 100, .applying = 5ms});
  NumberedCall call(1, 1);
  const auto commit = [&](std::chrono::nanoseconds applying) {
    queue.submit(call);
    queue.lead();
    queue.settle(1, applying);
    return queue.most_mutations();
  };
  CHECK(queue.most_mutations() == 64);  // nothing is known yet
  CHECK(commit(1ms) == 5);
  CHECK(commit(1us) == 100);  // a faster one counts at once
  CHECK(commit(1s) == 100);   // a slower one counts little
  for (int group = 0; group < 50; ++group) {
    commit(1s);
  }
  CHECK(queue.most_mutations() == 1);
}

TEST_CASE("A group that applied nothing says nothing of the time", "[commit_queue]") {
  Queue queue({.bytes = 1000, .mutations = 100});
  NumberedCall call(1, 1);
  queue.submit(call);
  queue.lead();
  queue.settle(0, std::chrono::seconds(1));
  CHECK(queue.most_mutations() == 64);
}

// Every order of the events of a few callers, each with some calls one after the other: a caller submits its next call
// when the last is done; the first that waits leads; the group is settled. What can happen next depends on the state that
// was reached and not on the way to it, so each state is left once by each event that is possible in it.
namespace {

constexpr std::size_t callers = 3;
constexpr std::size_t calls_each = 3;

// Which identifier each call of each caller concerns, and which call, if any, goes alone.
struct Plan {
  std::array<std::array<std::size_t, calls_each>, callers> ids = {};
  std::size_t alone = callers * calls_each;
};

class EveryOrder {
 public:
  explicit EveryOrder(const Plan& plan) : plan_(&plan) {}

  // Returns the number of states, or throws where one is wrong.
  std::size_t run() {
    std::set<Numbers> seen;
    std::vector<Numbers> ways{{}};
    while (!ways.empty()) {
      const Numbers way = std::move(ways.back());
      ways.pop_back();
      Life life(*plan_);
      for (const std::size_t event : way) {
        life.happen(event);
      }
      if (!seen.insert(life.state()).second) {
        continue;
      }
      const Numbers possible = life.possible();
      if (possible.empty()) {
        life.require_end();
      }
      for (const std::size_t event : possible) {
        ways.push_back(way);
        ways.back().push_back(event);
      }
    }
    return seen.size();
  }

 private:
  static constexpr std::size_t lead = callers;  // the events below it: that caller submits
  static constexpr std::size_t settle = callers + 1;

  class Life {
   public:
    explicit Life(const Plan& plan) : plan_(&plan) {}

    [[nodiscard]] Numbers possible() const {
      Numbers events;
      for (std::size_t caller = 0; caller < callers; ++caller) {
        if (submitted_[caller] < calls_each &&
            (last_[caller] == nullptr || last_[caller]->stage == iqdb::QueuedCall::Stage::done)) {
          events.push_back(caller);
        }
      }
      if (queue_.next_leader() != nullptr) {
        events.push_back(lead);
      }
      if (!in_flight_.empty()) {
        events.push_back(settle);
      }
      return events;
    }

    void happen(std::size_t event) {
      if (event == settle) {
        queue_.settle(1, {});
        for (const NumberedCall* call : in_flight_) {
          require(call->stage == iqdb::QueuedCall::Stage::done, "a settled call is done");
        }
        done_ += in_flight_.size();
        in_flight_.clear();
      } else if (event == lead) {
        require(in_flight_.empty(), "one group is in flight");
        take(queue_.lead());
      } else {
        const std::size_t number = event * calls_each + submitted_[event];
        calls_.push_back(std::make_unique<NumberedCall>(number, plan_->ids[event][submitted_[event]]));
        calls_.back()->alone = number == plan_->alone;
        ++submitted_[event];
        last_[event] = calls_.back().get();
        waiting_.push_back(calls_.back().get());
        queue_.submit(*calls_.back());
      }
    }

    // Which calls wait, in their order, and which are in flight: with it, who has submitted what.
    [[nodiscard]] Numbers state() const {
      Numbers state(submitted_.begin(), submitted_.end());
      for (const NumberedCall* call : waiting_) {
        state.push_back(call->number);
      }
      state.push_back(callers * calls_each);
      for (const NumberedCall* call : in_flight_) {
        state.push_back(call->number);
      }
      return state;
    }

    void require_end() const { require(done_ == callers * calls_each, "every call comes to its end"); }

   private:
    void take(const Queue::Group& group) {
      require(&*group.begin() == waiting_.front(), "the first call leads");
      for (NumberedCall& call : group) {
        const auto at = std::find(waiting_.begin(), waiting_.end(), &call);
        require(at != waiting_.end(), "a call is taken once");
        require(call.stage == iqdb::QueuedCall::Stage::in_flight, "a call that was taken is in flight");
        for (auto other = waiting_.begin(); other != at; ++other) {
          require((*other)->id != call.id && !(*other)->alone && !call.alone, "a call passes none that it must not");
        }
        for (const NumberedCall* other : in_flight_) {
          require(other->id != call.id, "no two calls of a group concern one identifier");
          require(!other->alone && !call.alone, "a call that goes alone has no other beside it");
        }
        waiting_.erase(at);
        in_flight_.push_back(&call);
      }
    }

    static void require(bool holds, const char* what) {
      if (!holds) {
        throw std::logic_error(std::string("broken: ") + what);
      }
    }

    const Plan* plan_;
    Queue queue_;
    std::vector<std::unique_ptr<NumberedCall>> calls_;
    std::array<std::size_t, callers> submitted_ = {};
    std::array<const NumberedCall*, callers> last_ = {};
    std::vector<const NumberedCall*> waiting_;
    std::vector<const NumberedCall*> in_flight_;
    std::size_t done_ = 0;
  };

  const Plan* plan_;
};

}  // namespace

TEST_CASE("In every order of three callers of three calls each call is committed once and passes none that it must not",
          "[commit_queue][minutes]") {
  constexpr std::size_t all = callers * calls_each;
  std::size_t states = 0;
  constexpr std::size_t step = iqdb_test::sanitized ? 7 : 1;
  for (std::size_t bits = 0; bits < (std::size_t{1} << (all - 1)); bits += step) {  // the last one has the identifier 0
    Plan plan;
    for (std::size_t number = 0; number < all; ++number) {
      plan.ids.at(number / calls_each).at(number % calls_each) = (bits >> number) & 1U;
    }
    plan.alone = bits % (all + 1);
    states += EveryOrder(plan).run();
  }
  INFO(states << " states");
  CHECK(states > 100'000 / step);
}
