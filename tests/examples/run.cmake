# For the scripts beside this one.
cmake_policy(VERSION 3.25)
file(REMOVE_RECURSE "${WORK}")
file(MAKE_DIRECTORY "${WORK}")

# run(<exit code> <program> <argument>…) runs a program in ${WORK}; what it printed is then in ${out} and ${err}.
function(run expected)
  execute_process(COMMAND ${ARGN} WORKING_DIRECTORY "${WORK}" RESULT_VARIABLE result OUTPUT_VARIABLE out ERROR_VARIABLE err)
  string(REPLACE ";" " " line "${ARGN}")
  message(STATUS "${line}\n${out}${err}")
  if(NOT result STREQUAL expected)
    message(FATAL_ERROR "ended with ${result}, expected ${expected}")
  endif()
  set(out "${out}" PARENT_SCOPE)
  set(err "${err}" PARENT_SCOPE)
endfunction()

# expect(<variable> <regular expression>), expect_none(…): the text in the variable matches, or does not.
function(expect variable pattern)
  if(NOT "${${variable}}" MATCHES "${pattern}")
    message(FATAL_ERROR "expected: ${pattern}\nfound: ${${variable}}")
  endif()
endfunction()

function(expect_none variable pattern)
  if("${${variable}}" MATCHES "${pattern}")
    message(FATAL_ERROR "not expected: ${pattern}\nfound: ${${variable}}")
  endif()
endfunction()
