include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")
# Twice: what the first run leaves does not count.
foreach(round RANGE 1)
  run(0 "${durable_hnsw}")
  expect(out "^killed after 500 insertions; recovered 500, of which 500 from the log\neach of them is found\n$")
endforeach()
