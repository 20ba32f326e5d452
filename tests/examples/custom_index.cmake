include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")
run(0 "${custom_index}")
expect(out "fingerprints: 2 saved")
expect(out "nearest to 0x01F7: 0xff")
expect(out "point cloud: 2 points loaded")
expect(out "\"example-fingerprints\"")

# Its two indexes, by the checks for indexes of one's own.
run(0 "${custom_index}" --check)
expect(out "fingerprints: [1-9][0-9]* round trips, .* [1-9][0-9]* damaged payloads \\([1-9][0-9]* refused\\), ")
expect(out "point cloud: [1-9][0-9]* round trips, ")
