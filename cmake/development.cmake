# Warnings for the project's own programs. They are on a target of their own, which is never exported: what a user compiles
# with is the user's business. They are errors where the tests are built; who only wants to run an example is not to be
# stopped by a compiler that warns of more than those the tests know.
add_library(iqdb_development INTERFACE)
target_compile_options(iqdb_development INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow)
if(iqdb_persist_testing)
  target_compile_options(iqdb_development INTERFACE -Werror)
endif()

# What GCC instruments for a sanitizer it can no longer follow, and then warns of members of the standard library's types
# that "may be used uninitialized".
set(iqdb_persist_sanitized OFF)
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=")
  set(iqdb_persist_sanitized ON)
  target_compile_options(iqdb_development INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()
