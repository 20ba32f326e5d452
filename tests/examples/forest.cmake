include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")
# The first run makes the file, the second loads it.
foreach(time IN ITEMS first second)
  run(0 "${forest}")
  expect(out "loaded: 999 vectors in 8 trees, 2 mutations from the log")
  expect(out "499  0\\.014")
endforeach()

run(0 "${forest}" --check)
expect(out "forest: [1-9][0-9]* round trips, .* [1-9][0-9]* damaged payloads \\([1-9][0-9]* refused\\), ")
