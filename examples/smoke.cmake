# Runs one of the examples as its reader would, and checks what it prints.
#
#   cmake -DEXAMPLE=<name> -DPROGRAMS=<directory of the programs> -DSOURCE=<this repository> -DWORK=<scratch directory>
#         -P smoke.cmake
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE "${WORK}")
file(MAKE_DIRECTORY "${WORK}")

# run(<pattern> <program> <argument>…): the program must succeed and print what matches the pattern.
function(run pattern program)
  execute_process(
    COMMAND "${PROGRAMS}/${program}" ${ARGN}
    WORKING_DIRECTORY "${WORK}"
    RESULT_VARIABLE result
    OUTPUT_VARIABLE output
    ERROR_VARIABLE errors)
  message("$ ${program} ${ARGN}\n${output}${errors}")
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${program} failed: ${result}")
  endif()
  if(NOT output MATCHES "${pattern}")
    message(FATAL_ERROR "${program} did not print what matches '${pattern}'")
  endif()
endfunction()

# The same, for one that must say on standard error what is wrong, and fail.
function(run_refused pattern program)
  execute_process(
    COMMAND "${PROGRAMS}/${program}" ${ARGN}
    WORKING_DIRECTORY "${WORK}"
    RESULT_VARIABLE result
    OUTPUT_VARIABLE output
    ERROR_VARIABLE errors)
  message("$ ${program} ${ARGN}\n${output}${errors}")
  if(NOT result MATCHES "^[1-9][0-9]*$") # a number: one that crashed has a text here
    message(FATAL_ERROR "${program} should have failed in order, but: ${result}")
  endif()
  if(NOT errors MATCHES "${pattern}")
    message(FATAL_ERROR "${program} did not say what matches '${pattern}'")
  endif()
endfunction()

if(EXAMPLE STREQUAL "quickstart")
  run("loaded: 0 vectors" quickstart)
  run("loaded: 3 vectors" quickstart)

elseif(EXAMPLE STREQUAL "inspect")
  run("" quickstart)
  run("flat" inspect colours.iqdb)
  # One byte more, and it is not the file that was saved.
  file(APPEND "${WORK}/colours.iqdb" "x")
  run_refused("colours.iqdb" inspect colours.iqdb)
  run_refused("nowhere.iqdb" inspect nowhere.iqdb)

elseif(EXAMPLE STREQUAL "find_text")
  file(WRITE "${WORK}/texts/sea.txt" "The lighthouse keeper counts the ships that pass in the night.\n")
  file(WRITE "${WORK}/texts/bread.txt" "Knead the dough for ten minutes, then let it rest under a cloth.\n")
  run("" find_text --index texts.iqdb add texts)
  file(SHA256 "${WORK}/texts.iqdb" before)
  # Adding what is there already changes nothing.
  run("" find_text --index texts.iqdb add texts)
  file(SHA256 "${WORK}/texts.iqdb" after)
  if(NOT before STREQUAL after)
    message(FATAL_ERROR "adding unchanged files changed the index")
  endif()
  # The best passage comes first, also where the words are misspelt.
  run("^[^\n]*sea\\.txt:1 " find_text --index texts.iqdb search lighthouse keeper)
  run("^[^\n]*bread\\.txt:1 " find_text --index texts.iqdb search neading the doug)
  run_refused("nowhere.iqdb" find_text --index nowhere.iqdb search ships)

else()
  run("" ${EXAMPLE})
endif()
