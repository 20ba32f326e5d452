include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")
set(round "round +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+ +0\n") # the last number: how many are missing
set(end "\n10 kills: nothing that was reported is missing\n$")

run(0 "${wal_recovery}")
expect(out "missing\n(${round})+${end}")
string(REGEX MATCHALL "${round}" rounds "${out}")
list(LENGTH rounds count)
if(NOT count EQUAL 10)
  message(FATAL_ERROR "${count} rounds, expected 10")
endif()

# With a file of one's own: a second run goes on where the first one stopped, and the index stays.
run(0 "${wal_recovery}" index.iqdb)
expect(out "${end}")
string(REGEX MATCH "round 10 +[0-9]+ +([0-9]+)" ignored "${out}")
set(found "${CMAKE_MATCH_1}")
run(0 "${wal_recovery}" index.iqdb)
expect(out "${end}")
string(REGEX MATCH "round +1 +([0-9]+)" ignored "${out}")
if(CMAKE_MATCH_1 LESS found)
  message(FATAL_ERROR "the second run began with ${CMAKE_MATCH_1}, the first one ended with ${found}")
endif()
