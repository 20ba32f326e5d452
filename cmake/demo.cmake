# The demo, run by the build target of that name: one process adds this repository's own texts to an index on disk, and
# others find them there. The last query is misspelt on purpose.
#
#   cmake -DFIND_TEXT=<program> -DDIRECTORY=<where the index goes> -P demo.cmake
function(run)
  list(JOIN ARGN " " line)
  execute_process(COMMAND "${CMAKE_COMMAND}" -E echo "\n$ find_text --index demo.iqdb ${line}")
  execute_process(COMMAND "${FIND_TEXT}" --index demo.iqdb ${ARGN} WORKING_DIRECTORY "${DIRECTORY}" RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "find_text failed: ${result}")
  endif()
endfunction()

# Begin afresh, so that the first command shows what adding does.
file(REMOVE "${DIRECTORY}/demo.iqdb")

run(add)
run(add)
run(search what if the disk is full)
run(search the symbolik link is folowed)
