# This processor, with Clang 19 and its own standard library. Debian's clang-19, libc++-19-dev and libc++abi-19-dev.
set(CMAKE_CXX_COMPILER clang++-19)
set(CMAKE_CXX_FLAGS_INIT -stdlib=libc++)
# Debian's rapidcheck is built for libstdc++. Catch2 2 is only headers.
set(IQDB_PERSIST_RAPIDCHECK OFF CACHE BOOL "Build the tests of properties, which need rapidcheck")
