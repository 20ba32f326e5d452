// What the search of a library asks a filter about.
#include "iqdb/index/support/slot_filter.hpp"

#include <cstddef>
#include <stdexcept>
#include <vector>

#include "iqdb/index/support/nearest.hpp"
#include "iqdb/index/support/slot_table.hpp"
#include "iqdb/types.hpp"
#include "support/catch.hpp"

namespace {

using iqdb::SlotTable;
using iqdb::VectorId;
using iqdb::index_support::AdmittedSlots;
using iqdb::index_support::every_vector;
using iqdb::index_support::EverySlot;

// The identifiers 10 and 11 in the slots 0 and 2.
SlotTable table_with_a_gap() {
  SlotTable table;
  table.append(10, {});
  table.append_free();
  table.append(11, {});
  return table;
}

std::vector<std::size_t> slots_in(const std::vector<iqdb::index_support::Found>& found) {
  std::vector<std::size_t> slots;
  for (const auto& each : found) {
    slots.push_back(each.slot);
  }
  return slots;
}

bool is_11(const VectorId& id) { return id == VectorId(11); }

}  // namespace

TEST_CASE("every_vector: the slots that are taken", "[adapters][search]") {
  CHECK(slots_in(every_vector(table_with_a_gap(), EverySlot())) == std::vector<std::size_t>{0, 2});
  CHECK(every_vector(SlotTable(), EverySlot()).empty());
}

TEST_CASE("every_vector: of the taken slots those that are admitted", "[adapters][search]") {
  const SlotTable table = table_with_a_gap();
  const iqdb::SearchFilter filter;
  const auto admits = is_11;
  CHECK(slots_in(every_vector(table, AdmittedSlots(table, filter, admits))) == std::vector<std::size_t>{2});
}

TEST_CASE("AdmittedSlots: a slot is admitted by the filter and by the predicate", "[adapters][search]") {
  const SlotTable table = table_with_a_gap();
  const auto admits = is_11;
  const iqdb::SearchFilter both = iqdb::SearchFilter::allow({10, 11});
  const iqdb::SearchFilter neither = iqdb::SearchFilter::allow({10});
  CHECK(AdmittedSlots(table, both, admits)(2));
  CHECK(!AdmittedSlots(table, both, admits)(0));
  CHECK(!AdmittedSlots(table, neither, admits)(2));
}

TEST_CASE("AskedSlots: after so many questions everything is admitted, and the result is of no use",
          "[adapters][search]") {
  const SlotTable table = table_with_a_gap();
  const iqdb::SearchFilter filter;
  const auto admits = is_11;
  const AdmittedSlots slots(table, filter, admits);
  auto questions = asked(slots, 2);
  CHECK(!questions(0));
  CHECK(!questions.has_given_up());
  CHECK(questions(2));
  CHECK(!questions.has_given_up());
  CHECK(questions(0));
  CHECK(questions.has_given_up());
  CHECK_NOTHROW(questions.rethrow());
}

TEST_CASE("AskedSlots: what the predicate throws is kept, and nothing is asked afterwards", "[adapters][search]") {
  const SlotTable table = table_with_a_gap();
  const iqdb::SearchFilter filter;
  int asked_times = 0;
  const auto admits = [&](const VectorId&) -> bool {
    ++asked_times;
    throw std::runtime_error("no");
  };
  const AdmittedSlots slots(table, filter, admits);
  auto questions = asked(slots, 100);
  CHECK(questions(0));
  CHECK(questions(2));
  CHECK(asked_times == 1);
  CHECK(questions.has_given_up());
  CHECK_THROWS_AS(questions.rethrow(), std::runtime_error);
}

TEST_CASE("EverySlot: admits every slot and never gives up", "[adapters][search]") {
  auto questions = asked(EverySlot(), 0);
  CHECK(questions(5));
  CHECK(!questions.has_given_up());
  CHECK_NOTHROW(questions.rethrow());
}
