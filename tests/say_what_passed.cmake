# Says in one line how many tests passed in the last run of CTest, all of which must have passed.
#
#   cmake -DLOG=<build tree>/Testing/Temporary/LastTest.log -P say_what_passed.cmake
cmake_minimum_required(VERSION 3.25)

# What CTest says of each program, and what a program says that is made with Catch2.
file(STRINGS "${LOG}" lines REGEX "^(Test Passed\\.|Test [A-Z].*|All tests passed \\(.* in [0-9]+ test cases?\\))$")
set(tests 0)
set(programs 0)
set(passed 0)
foreach(line IN LISTS lines)
  if(line MATCHES " in ([0-9]+) test case")
    math(EXPR tests "${tests} + ${CMAKE_MATCH_1}")
    math(EXPR programs "${programs} + 1")
  elseif(line STREQUAL "Test Passed.")
    math(EXPR passed "${passed} + 1")
  elseif(line MATCHES "^Test (Failed|Skipped)")
    message(FATAL_ERROR "the last run of the tests was no success: ${LOG}")
  endif()
endforeach()
math(EXPR others "${passed} - ${programs}")
if(tests EQUAL 0 OR others LESS 0)
  message(FATAL_ERROR "of ${passed} programs ${programs} say how many tests passed: ${LOG}")
endif()
execute_process(
  COMMAND "${CMAKE_COMMAND}" -E echo "iqdb-persist: ${tests} tests in ${programs} programs passed, and ${others} other checks")
