# Run by cpack on what `cmake --install` has put together, before the packages are made of it: each gets the files that Debian's policy
# asks for, in Debian's places.
if(NOT CPACK_GENERATOR STREQUAL "DEB")
  return()
endif()

# Compressed as Debian's tools do: as well as can be, without a name and a time.
function(compress file)
  execute_process(COMMAND gzip -9n "${file}" COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# The time of the package: that which is asked for, or now.
execute_process(COMMAND "${CMAKE_COMMAND}" -E env LC_ALL=C date -R -u --date=@$ENV{SOURCE_DATE_EPOCH} OUTPUT_VARIABLE date
                OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE result ERROR_QUIET)
if(NOT result EQUAL 0 OR "$ENV{SOURCE_DATE_EPOCH}" STREQUAL "")
  execute_process(COMMAND "${CMAKE_COMMAND}" -E env LC_ALL=C date -R -u OUTPUT_VARIABLE date OUTPUT_STRIP_TRAILING_WHITESPACE
                  COMMAND_ERROR_IS_FATAL ANY)
endif()

foreach(component IN LISTS CPACK_COMPONENTS_ALL)
  set(usr "${CPACK_TEMPORARY_DIRECTORY}/${component}/usr")
  string(TOUPPER "${component}" upper)
  set(package "${CPACK_DEBIAN_${upper}_PACKAGE_NAME}")
  if(NOT EXISTS "${usr}")
    continue()
  endif()

  # The licences are in the file `copyright`, in Debian's form.
  file(REMOVE_RECURSE "${usr}/share/doc")
  set(doc "${usr}/share/doc/${package}")
  # Not INSTALL, which cpack would lead below its own DESTDIR.
  file(COPY "${CMAKE_CURRENT_LIST_DIR}/copyright" DESTINATION "${doc}")
  file(WRITE "${doc}/changelog"
       "iqdb-persist (${CPACK_PACKAGE_VERSION}) unstable; urgency=medium\n\n  * Version ${CPACK_PACKAGE_VERSION}.\n\n"
       " -- ${CPACK_DEBIAN_PACKAGE_MAINTAINER}  ${date}\n")
  compress("${doc}/changelog")

  file(GLOB pages "${usr}/share/man/man*/*")
  foreach(page IN LISTS pages)
    compress("${page}")
  endforeach()
  if(EXISTS "${usr}/share/zsh/site-functions")
    file(RENAME "${usr}/share/zsh/site-functions" "${usr}/share/zsh/vendor-completions")
  endif()
endforeach()
