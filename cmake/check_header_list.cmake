# Fails the configuration if a list of headers and its folder differ. A header that is not listed would be missing from
# the installed package, and only a user would notice.
function(iqdb_persist_check_header_list folder listed)
  file(
    GLOB_RECURSE on_disk
    RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}/${folder}"
    CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*")
  set(unlisted ${on_disk})
  list(REMOVE_ITEM unlisted ${${listed}})
  if(unlisted)
    list(JOIN unlisted "\n  " unlisted)
    message(FATAL_ERROR "in ${folder}/, but not in ${listed} of cmake/headers.cmake:\n  ${unlisted}")
  endif()
  set(missing ${${listed}})
  list(REMOVE_ITEM missing ${on_disk})
  if(missing)
    list(JOIN missing "\n  " missing)
    message(FATAL_ERROR "in ${listed} of cmake/headers.cmake, but not in ${folder}/:\n  ${missing}")
  endif()
endfunction()

iqdb_persist_check_header_list(include iqdb_persist_headers)
iqdb_persist_check_header_list(deprecated iqdb_persist_deprecated_headers)
