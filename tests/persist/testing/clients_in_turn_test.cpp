#include "iqdb/persist/testing/clients_in_turn.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"

namespace of_clients_in_turn {

std::string order_of(std::uint64_t seed) {
  iqdb::testing::ClientsInTurn turns(seed, 10);
  std::string order;
  const auto client = [&](char letter) {
    return [&, letter] {
      for (int at = 0; at < 8; ++at) {
        order += letter;
        turns.step();
      }
    };
  };
  turns.run({client('a'), client('b'), client('c')});
  return order;
}

TEST_CASE("ClientsInTurn: the seed decides who runs and all clients run to their end", "[clients_in_turn]") {
  const std::string order = order_of(1);
  CHECK(order == order_of(1));
  CHECK(order != order_of(2));
  CHECK(std::count(order.begin(), order.end(), 'a') == 8);
  CHECK(std::count(order.begin(), order.end(), 'b') == 8);
  CHECK(std::count(order.begin(), order.end(), 'c') == 8);
  CHECK(order != "aaaaaaaabbbbbbbbcccccccc");
}

TEST_CASE("ClientsInTurn: a client that dies ends alone and one that throws ends all", "[clients_in_turn]") {
  iqdb::testing::ClientsInTurn turns(1);
  int lived = 0;
  const auto lives = [&] {
    for (int at = 0; at < 20; ++at) {
      turns.step();
    }
    ++lived;
  };
  turns.run({lives, [] { throw iqdb::testing::ClientDied(); }, lives});
  CHECK(lived == 2);
  const auto fails = [&] {
    turns.step();
    throw std::runtime_error("a check");
  };
  const auto runs_for_long = [&] {
    for (;;) {
      turns.step();
    }
  };
  CHECK_THROWS_WITH(turns.run({runs_for_long, fails, runs_for_long}), "a check");
}

}  // namespace of_clients_in_turn
