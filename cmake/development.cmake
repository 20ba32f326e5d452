# Warnings for the project's own programs. They are on a separate target that is never exported, because users choose
# their own flags. They are errors where the tests are built. Elsewhere they are not, so that a compiler with more
# warnings than the tested ones does not stop someone who only wants to run an example.
add_library(iqdb_development INTERFACE)
if(MSVC)
  target_compile_options(iqdb_development INTERFACE /W4)
else()
  target_compile_options(iqdb_development INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow)
endif()
if(iqdb_persist_testing)
  target_compile_options(iqdb_development INTERFACE -Werror)
endif()

# GCC cannot follow code that it instruments for a sanitizer, and then warns that members of the standard library's
# types "may be used uninitialized".
set(iqdb_persist_sanitized OFF)
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=")
  set(iqdb_persist_sanitized ON)
  target_compile_options(iqdb_development INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()
