// What random_mutants.py writes into the headers: each function is given the number of a place, and gives what was
// written there, unless the environment variable IQDB_MUTANT names this place.
//
// No operand is evaluated that was not evaluated before, and in a constant expression nothing is mutated.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <type_traits>
#include <utility>

namespace iqdb_mutation {

/// The number of the place that is mutated; -1 for none.
inline const int active = [] {
  const char* const text = std::getenv("IQDB_MUTANT");
  return text == nullptr ? -1 : std::atoi(text);
}();

inline constexpr std::size_t most_places = 4096;

/// Which places were reached, one byte for each. The children of a test write to the same memory.
inline unsigned char* reached() {
  static auto* const bytes = static_cast<unsigned char*>(
      mmap(nullptr, most_places, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return bytes;
}

/// Reading the bytes must not race with the threads of a test, and must not order them.
inline void reach(int place) noexcept { __atomic_store_n(reached() + place, 1, __ATOMIC_RELAXED); }

constexpr bool on(int place) noexcept {
  if (std::is_constant_evaluated()) {
    return false;
  }
  reach(place);
  return place == active;
}

constexpr bool flip(int place, bool value) noexcept { return value != on(place); }

/// For a statement that can be dropped.
constexpr bool kept(int place) noexcept { return !on(place); }

constexpr int literal(int place, int value, int other) noexcept { return on(place) ? other : value; }

template <class T>
constexpr T least(int place, const T& a, const T& b) {
  return (b < a) != on(place) ? b : a;
}

template <class T>
constexpr T most(int place, const T& a, const T& b) {
  return (a < b) != on(place) ? b : a;
}

/// Stands between the operands of an operator: `a < b` becomes `a < Infix(7) < b`, which has the same operands,
/// because both operators associate to the left.
struct Infix {
  constexpr explicit Infix(int number) noexcept : place(number) {}
  int place;
};

/// A left operand. Scalars are held by value: a constant that is only read need not be captured by a lambda.
template <class L>
struct Left {
  L value;
  int place;
};

template <class T>
concept scalar = std::is_scalar_v<std::remove_cvref_t<T>>;

// A mutated operator that does not compile is an error at the place, not within this file.
#define IQDB_MUTATION_OPERATOR(original, other)                                                                 \
  template <class L>                                                                                            \
    requires scalar<L>                                                                                          \
  constexpr Left<L> operator original(L left, Infix infix) noexcept { return {left, infix.place}; }             \
  template <class L>                                                                                            \
    requires(!scalar<L>)                                                                                        \
  constexpr Left<L&&> operator original(L&& left, Infix infix) noexcept {                                       \
    return {static_cast<L&&>(left), infix.place};                                                               \
  }                                                                                                             \
  template <class L, class R>                                                                                   \
    requires scalar<R> && requires(L l, R r) { static_cast<L&&>(l) other r; }                                   \
  constexpr auto operator original(Left<L> left, R right) {                                                     \
    using Result = decltype(static_cast<L&&>(left.value) original right);                                       \
    return on(left.place) ? static_cast<Result>(static_cast<L&&>(left.value) other right)                       \
                          : static_cast<Result>(static_cast<L&&>(left.value) original right);                   \
  }                                                                                                             \
  template <class L, class R>                                                                                   \
    requires(!scalar<R>)                                                                                        \
  &&requires(L l, R && r) { static_cast<L&&>(l) other static_cast<R&&>(r); }                                    \
  constexpr auto operator original(Left<L> left, R&& right) {                                                   \
    using Result = decltype(static_cast<L&&>(left.value) original static_cast<R&&>(right));                     \
    return on(left.place) ? static_cast<Result>(static_cast<L&&>(left.value) other static_cast<R&&>(right))     \
                          : static_cast<Result>(static_cast<L&&>(left.value) original static_cast<R&&>(right)); \
  }

IQDB_MUTATION_OPERATOR(<, <=)
IQDB_MUTATION_OPERATOR(<=, <)
IQDB_MUTATION_OPERATOR(>, >=)
IQDB_MUTATION_OPERATOR(>=, >)
IQDB_MUTATION_OPERATOR(==, !=)
IQDB_MUTATION_OPERATOR(!=, ==)
IQDB_MUTATION_OPERATOR(+, -)
IQDB_MUTATION_OPERATOR(-, +)

#undef IQDB_MUTATION_OPERATOR

}  // namespace iqdb_mutation
