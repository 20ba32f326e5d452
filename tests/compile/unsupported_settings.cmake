# With settings that the headers cannot be compiled with, the compiler gives one reason and stops: for every header that a
# program may include first.
#
#   cmake -DCXX=<compiler> -DSOURCE=<this repository> -DWORK=<scratch directory> -P unsupported_settings.cmake
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE "${WORK}")
file(MAKE_DIRECTORY "${WORK}")

# What a program includes first more often than others, and is therefore compiled, with a use of the library behind it. Of the
# others it is enough that the preprocessor stops there: they include the same header first.
set(compiled iqdb/index/flat.hpp iqdb/persist.hpp iqdb/persist/shared_index.hpp iqdb/persist/testing/conformance.hpp iqdb/types.hpp)

# expect(<header> <reason> <flag>…): the compiler says #error with the reason, and little else.
function(expect header reason)
  set(how -E)
  if(header IN_LIST compiled)
    set(how -fsyntax-only)
  endif()
  file(WRITE "${WORK}/program.cpp" "#include <${header}>\nint main() { return iqdb::VectorId(1) == iqdb::VectorId(2); }\n")
  execute_process(
    COMMAND "${CXX}" ${ARGN} ${how} "-I${SOURCE}/include" "${WORK}/program.cpp"
    RESULT_VARIABLE result ERROR_VARIABLE errors OUTPUT_QUIET)
  if(result EQUAL 0)
    message(SEND_ERROR "<${header}> compiles with ${ARGN}; expected an error")
    return()
  endif()
  string(REGEX MATCHALL "[^\n]* error: [^\n]*" error_lines "${errors}")
  list(LENGTH error_lines count)
  list(FILTER error_lines INCLUDE REGEX " error: .*${reason}")
  list(LENGTH error_lines reasons)
  if(count GREATER 3 OR reasons EQUAL 0)
    message(SEND_ERROR "<${header}> with ${ARGN}: ${count} lines of errors; expected at most 3, and '${reason}':\n${errors}")
  endif()
endfunction()

file(GLOB headers RELATIVE "${SOURCE}/include" "${SOURCE}/include/iqdb/*.hpp" "${SOURCE}/include/iqdb/index/*.hpp"
     "${SOURCE}/include/iqdb/persist/*.hpp" "${SOURCE}/include/iqdb/persist/bytes/*.hpp"
     "${SOURCE}/include/iqdb/persist/testing/*.hpp")
if(NOT headers)
  message(FATAL_ERROR "there are no headers in ${SOURCE}/include")
endif()
foreach(header IN LISTS compiled)
  if(NOT header IN_LIST headers)
    message(FATAL_ERROR "there is no header ${header}")
  endif()
endforeach()
foreach(header IN LISTS headers)
  expect(${header} "needs C\\+\\+20" -std=c++17)
  expect(${header} "reports errors by exceptions" -std=c++20 -fno-exceptions)
endforeach()
