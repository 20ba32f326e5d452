include("${CMAKE_CURRENT_LIST_DIR}/run.cmake")
run(2 "${inspect}")
expect(err "^usage")

run(0 "${quickstart}")
run(0 "${inspect}" colours.iqdb)
expect(out "index type +\"flat\"")
expect(out "dimensions +3\n")
expect(out "metric +euclidean\n")
expect(out "vectors +3\n")
expect(out "checksum +0x[0-9a-f]+: right\n")

# One bad file among good ones.
file(COPY_FILE "${WORK}/colours.iqdb" "${WORK}/damaged.iqdb")
file(APPEND "${WORK}/damaged.iqdb" "x")
file(WRITE "${WORK}/notes.txt" "no snapshot")
run(1 "${inspect}" damaged.iqdb colours.iqdb notes.txt missing.iqdb)
expect(out "damaged.iqdb\n.*vectors +3\n.*NOT WHOLE.*colours.iqdb\n.*: right")
expect(err "damaged.iqdb.*checksum_mismatch.*notes.txt.*bad_magic.*missing.iqdb.*io")
