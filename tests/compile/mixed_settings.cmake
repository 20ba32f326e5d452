# Two files of one program that were told different things about codecs or ISA-L must not link: they would share functions
# of which each has its own idea, and the linker would pick either.
#
#   cmake -DCXX=<compiler> -DSOURCE=<this repository> -DWORK=<scratch directory> -DISAL=<0 or 1: is ISA-L installed?>
#         -P mixed_settings.cmake
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE "${WORK}")
file(MAKE_DIRECTORY "${WORK}")

function(run)
  execute_process(COMMAND ${ARGN} WORKING_DIRECTORY "${WORK}" COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

set(compile "${CXX}" -std=c++20 "-I${SOURCE}/include" -c)
set(both -DIQDB_PERSIST_HAS_ZSTD=1 -DIQDB_PERSIST_HAS_LZ4=1)
run(${compile} ${both} "${CMAKE_CURRENT_LIST_DIR}/mixed_settings_giver.cpp" -o giver.o)
run(${compile} ${both} "${CMAKE_CURRENT_LIST_DIR}/mixed_settings_taker.cpp" -o same_taker.o)
run(${compile} "${CMAKE_CURRENT_LIST_DIR}/mixed_settings_taker.cpp" -o no_codecs_taker.o)
set(others no_codecs_taker)
if(ISAL)
  run(${compile} ${both} -DIQDB_PERSIST_HAS_ISAL=1 "${CMAKE_CURRENT_LIST_DIR}/mixed_settings_taker.cpp" -o isal_taker.o)
  list(APPEND others isal_taker)
endif()

# With the same settings they link, so it is the settings that keep the others apart.
run("${CXX}" giver.o same_taker.o -o same -lz -lzstd -llz4)

foreach(other IN LISTS others)
  set(libraries -lz -lzstd -llz4)
  if(other STREQUAL "isal_taker")
    list(APPEND libraries -lisal)
  endif()
  execute_process(
    COMMAND "${CXX}" giver.o ${other}.o -o other ${libraries}
    WORKING_DIRECTORY "${WORK}"
    RESULT_VARIABLE result
    OUTPUT_VARIABLE output
    ERROR_VARIABLE output)
  message("${output}")
  if(result EQUAL 0)
    message(FATAL_ERROR "two files with different settings were linked into one program: ${other}")
  endif()
  if(NOT output MATCHES "undefined [a-z]+[^\n]* `?take\\([^\n]*with_zstd_lz4::")
    message(FATAL_ERROR "refused as it should be, but not for the function that takes the index, by the name of the setting")
  endif()
endforeach()

# Nor does a program with the compiled library of other settings.
run(${compile} ${both} -DIQDB_PERSIST_COMPILED=1 "${SOURCE}/src/persist.cpp" -o library.o)
run(${compile} -DIQDB_PERSIST_COMPILED=1 "${SOURCE}/examples/quickstart.cpp" -o no_codecs_program.o)
execute_process(
  COMMAND "${CXX}" no_codecs_program.o library.o -o other -lz -lzstd -llz4
  WORKING_DIRECTORY "${WORK}"
  RESULT_VARIABLE result
  OUTPUT_VARIABLE output
  ERROR_VARIABLE output)
if(result EQUAL 0 OR NOT output MATCHES "undefined [a-z]+[^\n]*without_codecs::")
  message(FATAL_ERROR "not refused by the name of the setting:\n${output}")
endif()
