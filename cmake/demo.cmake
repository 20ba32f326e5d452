# The demo, run by the build target of that name. A process that adds this repository's own texts to an index on disk is
# killed halfway. The next processes find everything that it had reported, and finish the work. The last query is
# misspelt on purpose.
#
#   cmake -DFIND_TEXT=<program> -DDIRECTORY=<where the index goes> -P demo.cmake
cmake_minimum_required(VERSION 3.25)

function(say)
  execute_process(COMMAND "${CMAKE_COMMAND}" -E echo "${ARGN}")
endfunction()

# Runs find_text and sets ${output} to what it printed.
function(run)
  list(JOIN ARGN " " line)
  say("\n$ find_text --index demo.iqdb ${line}")
  execute_process(COMMAND "${FIND_TEXT}" --index demo.iqdb ${ARGN} WORKING_DIRECTORY "${DIRECTORY}" RESULT_VARIABLE result
                  OUTPUT_VARIABLE output ECHO_OUTPUT_VARIABLE)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "find_text failed: ${result}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

# Start with no index, so that the first command shows what adding does.
foreach(attempt RANGE 1 10)
  file(REMOVE "${DIRECTORY}/demo.iqdb" "${DIRECTORY}/demo.iqdb.wal" "${DIRECTORY}/demo.iqdb.wal.torn")
  execute_process(COMMAND sh "${CMAKE_CURRENT_LIST_DIR}/add_and_kill.sh" "${FIND_TEXT}" demo.iqdb
                  WORKING_DIRECTORY "${DIRECTORY}" OUTPUT_VARIABLE output ERROR_VARIABLE errors)
  if(output MATCHES "status 137\n$")
    break()
  endif() # the process finished before the signal: try again
endforeach()
if(NOT output MATCHES "status 137\n$")
  message(FATAL_ERROR "find_text was not killed in the middle of its work:\n${output}${errors}")
endif()
string(REGEX REPLACE "status 137\n$" "" output "${output}")
string(REGEX MATCHALL "added: " reported "${output}")
list(LENGTH reported reported)
say("\n$ find_text --index demo.iqdb add      # and a kill -9 in the middle of it")
say("${output}[killed with SIGKILL, after it had reported ${reported} files as added]")

run(search what if the disk is full)
run(add)
if(NOT output MATCHES "([0-9]+) files unchanged" OR CMAKE_MATCH_1 LESS reported)
  message(FATAL_ERROR "${reported} files were reported as added, but not all of them are there")
endif()
say("[the ${CMAKE_MATCH_1} files unchanged are those that were durable when it was killed: none of the ${reported} is lost]")

run(add)
run(search the symbolik link is folowed)
