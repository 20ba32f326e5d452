// The main function of the tests, for a Catch2 version 2 that was installed without a library that has one.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
