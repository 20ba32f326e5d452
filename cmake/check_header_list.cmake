# Fails the configuration if iqdb_persist_headers and include/ differ: a header that is not listed would be missing from the
# installed package, and nobody would notice until a user did.
file(
  GLOB_RECURSE iqdb_persist_headers_on_disk
  RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}/include"
  CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/include/*")

set(unlisted ${iqdb_persist_headers_on_disk})
list(REMOVE_ITEM unlisted ${iqdb_persist_headers})
if(unlisted)
  list(JOIN unlisted "\n  " unlisted)
  message(FATAL_ERROR "in include/, but not in the list of headers in CMakeLists.txt:\n  ${unlisted}")
endif()

set(missing ${iqdb_persist_headers})
list(REMOVE_ITEM missing ${iqdb_persist_headers_on_disk})
if(missing)
  list(JOIN missing "\n  " missing)
  message(FATAL_ERROR "in the list of headers in CMakeLists.txt, but not in include/:\n  ${missing}")
endif()
