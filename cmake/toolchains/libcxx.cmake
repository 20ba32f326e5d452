# This processor, with Clang 19 and its own standard library. Debian's clang-19, libc++-19-dev and libc++abi-19-dev.
set(CMAKE_CXX_COMPILER clang++-19)
set(CMAKE_CXX_FLAGS_INIT -stdlib=libc++)
# Debian's rapidcheck and its library of Catch2 are built for libstdc++.
set(IQDB_PERSIST_TEST_LIBRARIES OFF CACHE BOOL "Link the tests to rapidcheck and to what is compiled of Catch2")
