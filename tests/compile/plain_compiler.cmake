# The headers need no build system: one compiler line does, with the codecs and without them.
#
#   cmake -DCXX=<compiler> -DSOURCE=<this repository> -DWORK=<scratch directory> -P plain_compiler.cmake
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE "${WORK}")
file(MAKE_DIRECTORY "${WORK}")

function(run)
  execute_process(COMMAND ${ARGN} WORKING_DIRECTORY "${WORK}" COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

set(program "${SOURCE}/tests/packaging/consumer/main.cpp")

run("${CXX}" -std=c++20 "-I${SOURCE}/include" -DIQDB_PERSIST_HAS_ZSTD=1 -DIQDB_PERSIST_HAS_LZ4=1 "${program}" -o both -lz
    -lzstd -llz4)
run("${WORK}/both" 1 1 0)

run("${CXX}" -std=c++20 "-I${SOURCE}/include" "${program}" -o neither -lz)
run("${WORK}/neither" 0 0 0)
