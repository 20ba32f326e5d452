# The paths of version 0.1 still lead to the headers, and each says where its header is now.
#
#   cmake -DCXX=<compiler> -DSOURCE=<repository> -DWORK=<directory> -P old_paths.cmake
cmake_minimum_required(VERSION 3.25)

include("${SOURCE}/cmake/headers.cmake")
set(program "")
set(expected "")
foreach(header IN LISTS iqdb_persist_deprecated_headers)
  file(READ "${SOURCE}/deprecated/${header}" text)
  if(NOT "${text}" MATCHES "#pragma message\\(\"this header is now (iqdb/[a-z0-9_/]+[.]hpp). the old path goes with version 0[.]3")
    message(SEND_ERROR "deprecated/${header} does not say where its header is now")
    continue()
  endif()
  if(NOT CMAKE_MATCH_1 IN_LIST iqdb_persist_headers)
    message(SEND_ERROR "deprecated/${header} says ${CMAKE_MATCH_1}, which is no header of the library")
  endif()
  if(NOT header MATCHES "faiss|usearch") # which need their library
    string(APPEND program "#include <${header}>\n")
    list(APPEND expected "${CMAKE_MATCH_1}")
  endif()
endforeach()
file(WRITE "${WORK}/old_paths.cpp" "${program}")
execute_process(
  COMMAND "${CXX}" -std=c++20 -fsyntax-only "-I${SOURCE}/include" "-I${SOURCE}/deprecated" -DIQDB_PERSIST_HAS_ZSTD=1
          -DIQDB_PERSIST_HAS_LZ4=1 "${WORK}/old_paths.cpp"
  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "the old paths do not compile:\n${output}")
endif()
foreach(header IN LISTS expected)
  if(NOT output MATCHES "this header is now ${header}")
    message(SEND_ERROR "who includes the old path of ${header} is not told of the new one")
  endif()
endforeach()
