#!/usr/bin/env python3
"""Does each header include what it uses of the standard library itself?

    check_std_includes.py INCLUDE HEADERS

INCLUDE is the folder of the headers, HEADERS a file with a name on each line. A header that relies on another one for
<vector> breaks its users as soon as that other one changes. The compiler cannot say so: it sees everything that is included
anywhere.
"""

from __future__ import annotations

import pathlib
import re
import sys

# What is used of each header of the standard library. A name that is in several headers stands in the one that defines it.
NAMES = {
    "algorithm": """min max clamp sort copy copy_n fill equal reverse remove_if for_each find_if any_of all_of push_heap pop_heap
        sort_heap ranges::find ranges::copy ranges::any_of ranges::all_of ranges::none_of ranges::fill ranges::sort ranges::upper_bound
        ranges::partial_sort
        ranges::max_element ranges::for_each ranges::equal ranges::binary_search ranges::transform ranges::reverse
        ranges::mismatch ranges::generate ranges::find_if ranges::find_if_not ranges::find_first_of ranges::adjacent_find
        ranges::includes ranges::copy_if ranges::count_if ranges::move ranges::upper_bound""",
    "array": "array to_array",
    "atomic": "atomic memory_order_acq_rel memory_order_acquire memory_order_relaxed",
    "bit": "endian bit_cast bit_width countr_zero has_single_bit rotl",
    "bitset": "bitset",
    "charconv": "to_chars from_chars chars_format",
    "chrono": """chrono::nanoseconds chrono::microseconds chrono::milliseconds chrono::seconds chrono::hours
        chrono::steady_clock chrono::system_clock chrono::duration_cast chrono::ceil chrono::floor
        chrono::sys_time chrono::days chrono::minutes chrono::year_month_day chrono::hh_mm_ss""",
    "cmath": "sqrt isnan isfinite ldexp log",
    "compare": "strong_ordering",
    "concepts": """same_as convertible_to derived_from integral unsigned_integral floating_point movable copyable
        copy_constructible move_constructible constructible_from invocable predicate""",
    "condition_variable": "condition_variable",
    "cstddef": "byte ptrdiff_t nullptr_t to_integer",
    "cstdint": "uint8_t uint16_t uint32_t uint64_t int8_t int16_t int32_t int64_t uintptr_t",
    "cstdlib": "free calloc realloc getenv _Exit",
    "cstring": "memcpy memmove memset memcmp",
    "deque": "deque",
    "exception": """exception exception_ptr current_exception rethrow_exception make_exception_ptr nested_exception
        throw_with_nested""",
    "filesystem": "filesystem::path filesystem::absolute",
    "fstream": "ifstream",
    "functional": "function hash greater less ranges::greater_equal",
    "future": "future promise",
    "initializer_list": "initializer_list",
    "istream": "istream",
    "iterator": "back_inserter begin end",
    "limits": "numeric_limits",
    "map": "map",
    "memory": """unique_ptr shared_ptr make_unique make_shared make_unique_for_overwrite allocator""",
    "mutex": "mutex unique_lock lock_guard",
    "new": "bad_alloc bad_array_new_length align_val_t nothrow",
    "optional": "optional nullopt",
    "queue": "priority_queue",
    "random": "random_device mt19937_64",
    "semaphore": "binary_semaphore",
    "set": "set",
    "shared_mutex": "shared_mutex shared_lock",
    "span": "span as_bytes as_writable_bytes",
    "stdexcept": "runtime_error length_error",
    "string": "string u8string wstring to_string getline",
    "string_view": "string_view wstring_view",
    "system_error": "error_code errc system_error make_error_code system_category",
    "thread": "thread this_thread::sleep_for this_thread::get_id this_thread::yield",
    "type_traits": """decay_t invoke_result_t remove_cv_t remove_cvref_t remove_reference_t is_void_v is_reference_v conditional_t
        bool_constant is_unsigned_v is_signed_v is_trivially_default_constructible_v is_trivially_copyable_v is_pointer_v
        is_nothrow_move_constructible_v is_nothrow_move_assignable_v is_final_v is_class_v""",
    "unordered_map": "unordered_map",
    "unordered_set": "unordered_set",
    "utility": "move forward exchange as_const pair in_place_type declval",
    "vector": "vector",
    "variant": "variant get_if monostate visit holds_alternative",
}
# Names that several headers give, of which any will do.
ANY_OF = {
    "abs": {"cmath", "cstdlib"},
    "basic_ostream": {"iosfwd", "ostream"},
    "erase": {"vector", "deque", "string"},
    "erase_if": {"vector", "map", "set", "deque", "unordered_map", "string"},
    "in_place": {"utility", "optional", "variant"},
    "swap": {"utility", "memory", "vector", "string"},
    "size_t": {"cstddef", "cstring", "cstdlib"},
    "ignore": {"tuple", "utility"},
}
# Namespaces, which come with what is used of them.
NAMESPACES = {"filesystem", "chrono", "ranges", "this_thread", "string_literals"}


def headers_of_names() -> dict[str, set[str]]:
    homes = {name: {header} for header, names in NAMES.items() for name in names.split()}
    return homes | ANY_OF


def code_of(text: str) -> str:
    """The text without comments and string literals."""
    text = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)
    return re.sub(r"//[^\n]*", "", text)


def main() -> int:
    include, list_of_headers = (pathlib.Path(argument) for argument in sys.argv[1:3])
    homes = headers_of_names()
    complaints = []
    checked = 0
    for name in list_of_headers.read_text().split():
        text = (include / name).read_text()
        included = set(re.findall(r"^ *# *include <([a-z_/.0-9]+)>", text, re.M))
        code = code_of(text)
        used = set(re.findall(r"\bstd::((?:(?:filesystem|chrono|ranges|this_thread)::)?[A-Za-z_0-9]+)", code))
        for what in sorted(used - NAMESPACES):
            home = homes.get(what)
            if home is None:
                complaints.append(f"{name}: std::{what} is not in the table of {pathlib.Path(__file__).name}; add it there")
            elif not home & included:
                complaints.append(f"{name}: uses std::{what}, and does not include <{'> or <'.join(sorted(home))}> itself")
        checked += 1
    print("\n".join(complaints))
    print(f"{checked} headers checked: {len(complaints)} uses without an include")
    return 1 if complaints or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
