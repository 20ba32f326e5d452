# One packaging test: takes iqdb-persist in one of the ways in which a program can, builds a program with it and runs that.
#
#   cmake -DCASE=… -DSOURCE=<this repository> -DWORK=<scratch directory> -DVERSION=<of iqdb-persist> -DGENERATOR=…
#         -DCXX=<compiler> -DISAL=<0 or 1: is ISA-L installed?> -P run.cmake
cmake_minimum_required(VERSION 3.25)

set(consumer_source "${CMAKE_CURRENT_LIST_DIR}/consumer")
set(work "${WORK}/${CASE}")
file(REMOVE_RECURSE "${work}")
file(MAKE_DIRECTORY "${work}")

# Runs a command in the scratch directory; it must succeed. Its output is in ${output}.
macro(run)
  execute_process(
    COMMAND ${ARGN}
    WORKING_DIRECTORY "${work}"
    RESULT_VARIABLE result
    OUTPUT_VARIABLE output
    ERROR_VARIABLE output
    ECHO_OUTPUT_VARIABLE ECHO_ERROR_VARIABLE)
  if(NOT result EQUAL 0)
    string(REPLACE ";" " " line "${ARGN}")
    message(FATAL_ERROR "failed (${result}): ${line}")
  endif()
endmacro()

# Runs a command that must fail, and say something that matches each of the patterns in `patterns`. Line breaks and
# indentation do not count: CMake wraps its messages.
function(run_refused patterns)
  execute_process(
    COMMAND ${ARGN}
    WORKING_DIRECTORY "${work}"
    RESULT_VARIABLE result
    OUTPUT_VARIABLE output
    ERROR_VARIABLE output
    ECHO_OUTPUT_VARIABLE ECHO_ERROR_VARIABLE)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  if(result EQUAL 0)
    message(FATAL_ERROR "succeeded, but should have been refused: ${ARGN}")
  endif()
  foreach(pattern IN LISTS patterns)
    if(NOT output MATCHES "${pattern}")
      message(FATAL_ERROR "refused as it should be, but without saying '${pattern}'")
    endif()
  endforeach()
endfunction()

set(configure "${CMAKE_COMMAND}" -G "${GENERATOR}" "-DCMAKE_CXX_COMPILER=${CXX}")

# Installs iqdb-persist, then moves the installed tree: nothing in it may depend on where it was put first.
function(install_and_move)
  run(${configure} -S "${SOURCE}" -B build -DBUILD_TESTING=OFF -DIQDB_PERSIST_BUILD_EXAMPLES=OFF ${ARGN})
  run("${CMAKE_COMMAND}" --install build --prefix "${work}/first")
  file(RENAME "${work}/first" "${work}/moved")
endfunction()

# Configures the consumer, builds it and runs it.
macro(consume expected_zstd expected_lz4 expected_isal)
  run(${configure} -S "${consumer_source}" -B consumer ${ARGN})
  run("${CMAKE_COMMAND}" --build consumer)
  run("${work}/consumer/consumer" ${expected_zstd} ${expected_lz4} ${expected_isal})
endmacro()

# Where the tests that need an installed copy find it: the case `install` runs before them.
set(installed "${WORK}/install/moved")
string(REGEX MATCH "^([0-9]+)\\.([0-9]+)" major_minor "${VERSION}")
set(major ${CMAKE_MATCH_1})
set(minor ${CMAKE_MATCH_2})

if(CASE STREQUAL "install")
  install_and_move()
  # The whole of it: every header, the package, nothing of the tests.
  file(GLOB_RECURSE headers RELATIVE "${SOURCE}/include" "${SOURCE}/include/*")
  file(GLOB_RECURSE old_headers RELATIVE "${SOURCE}/deprecated" "${SOURCE}/deprecated/*")
  list(APPEND headers ${old_headers})
  list(SORT headers)
  file(GLOB_RECURSE installed_headers RELATIVE "${installed}/include" "${installed}/include/*")
  list(SORT installed_headers)
  if(NOT headers STREQUAL installed_headers)
    message(FATAL_ERROR "headers: ${headers}\ninstalled: ${installed_headers}")
  endif()
  file(GLOB_RECURSE texts "${installed}/share/*.cmake" "${installed}/share/*.pc")
  foreach(text IN LISTS texts)
    file(READ "${text}" content)
    foreach(directory IN ITEMS "${SOURCE}" "${work}")
      string(FIND "${content}" "${directory}" at)
      if(NOT at EQUAL -1)
        message(FATAL_ERROR "${text} names ${directory}: it will not work anywhere else")
      endif()
    endforeach()
  endforeach()

elseif(CASE STREQUAL "tool")
  # Installed alone: the program, which the build of the tests has made, its manual page, and what completes its options.
  run(${configure} -S "${SOURCE}" -B build -DBUILD_TESTING=OFF -DIQDB_PERSIST_BUILD_EXAMPLES=OFF -DIQDB_PERSIST_BUILD_TOOL=ON
      -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DCMAKE_DISABLE_FIND_PACKAGE_IqdbPersistHnswlib=ON
      -DCMAKE_DISABLE_FIND_PACKAGE_IqdbPersistFaiss=ON -DCMAKE_DISABLE_FIND_PACKAGE_IqdbPersistUsearch=ON)
  # Before it is built, the headers can be installed without it.
  run("${CMAKE_COMMAND}" --install build --prefix "${work}/headers")
  if(EXISTS "${work}/headers/bin/iqdb" OR NOT EXISTS "${work}/headers/include")
    message(FATAL_ERROR "an install without the program is not one of headers")
  endif()
  run("${CMAKE_COMMAND}" --install "${BINARY}" --component tool --prefix "${work}/tool")
  file(GLOB_RECURSE tool_files RELATIVE "${work}/tool" "${work}/tool/*")
  list(SORT tool_files)
  set(expected bin/iqdb share/bash-completion/completions/iqdb share/man/man1/iqdb.1 share/zsh/site-functions/_iqdb)
  if(NOT tool_files STREQUAL expected)
    message(FATAL_ERROR "expected: ${expected}\ninstalled: ${tool_files}")
  endif()
  run("${work}/tool/bin/iqdb" info "${SOURCE}/tests/golden/wal2/batch.iqdb")
  # Asked for where what it needs is missing, it says what to install; not asked for, it is left out.
  run_refused("libcli11-dev" ${configure} -S "${SOURCE}" -B refused -DBUILD_TESTING=OFF -DIQDB_PERSIST_BUILD_TOOL=ON
              -DCMAKE_DISABLE_FIND_PACKAGE_CLI11=ON)
  run(${configure} -S "${SOURCE}" -B left_out -DBUILD_TESTING=OFF -DIQDB_PERSIST_BUILD_EXAMPLES=OFF
      -DCMAKE_DISABLE_FIND_PACKAGE_CLI11=ON)
  if(NOT output MATCHES "Left out: the program iqdb")
    message(FATAL_ERROR "does not say that the program is left out")
  endif()

elseif(CASE STREQUAL "find_package")
  consume(1 1 ${ISAL} -DHOW=find_package "-DWANTED_VERSION=${major_minor}" "-DCMAKE_PREFIX_PATH=${installed}")

elseif(CASE STREQUAL "find_package_other_settings")
  # Every option the other way round. What it was built without, the package must not even look for.
  install_and_move(-DIQDB_PERSIST_ZSTD=OFF -DIQDB_PERSIST_LZ4=OFF -DIQDB_PERSIST_ISAL=OFF)
  consume(0 0 0 -DHOW=find_package "-DCMAKE_PREFIX_PATH=${work}/moved" -DCMAKE_DISABLE_FIND_PACKAGE_IqdbPersistZstd=ON
          -DCMAKE_DISABLE_FIND_PACKAGE_IqdbPersistLz4=ON -DCMAKE_DISABLE_FIND_PACKAGE_IqdbPersistIsal=ON)
  if(PKG_CONFIG)
    set(ENV{PKG_CONFIG_PATH} "${work}/moved/share/pkgconfig")
    run("${PKG_CONFIG}" --cflags --libs iqdb-persist)
    foreach(flag IN ITEMS -DIQDB_PERSIST_HAS_ZSTD=0 -DIQDB_PERSIST_HAS_LZ4=0 -DIQDB_PERSIST_HAS_ISAL=0)
      if(NOT output MATCHES "${flag} ")
        message(FATAL_ERROR "pkg-config does not say ${flag}")
      endif()
    endforeach()
    if(output MATCHES "-lzstd|-llz4|-lisal")
      message(FATAL_ERROR "pkg-config names other libraries than those that are used")
    endif()
  endif()

elseif(CASE STREQUAL "add_subdirectory")
  consume(1 1 ${ISAL} -DHOW=add_subdirectory "-DIQDB_SOURCE=${SOURCE}")

elseif(CASE STREQUAL "fetch_content")
  consume(1 0 0 -DHOW=fetch_content "-DIQDB_SOURCE=${SOURCE}" -DIQDB_PERSIST_LZ4=OFF -DIQDB_PERSIST_ISAL=OFF)

elseif(CASE STREQUAL "pkg_config")
  # Only its own file: what it requires is found where pkg-config always looks.
  set(ENV{PKG_CONFIG_PATH} "${installed}/share/pkgconfig")
  run("${PKG_CONFIG}" --modversion iqdb-persist)
  if(NOT output STREQUAL "${VERSION}\n")
    message(FATAL_ERROR "pkg-config says version ${output}, not ${VERSION}")
  endif()
  run("${PKG_CONFIG}" --cflags --libs iqdb-persist)
  separate_arguments(flags UNIX_COMMAND "${output}")
  run("${CXX}" -std=c++20 "${consumer_source}/main.cpp" -o consumer ${flags})
  run("${work}/consumer" 1 1 ${ISAL})

elseif(CASE STREQUAL "compiled")
  # The library that the headers do without: found as a component, and built on demand within another project.
  run(${configure} -S "${SOURCE}" -B build -DBUILD_TESTING=OFF -DIQDB_PERSIST_BUILD_EXAMPLES=OFF -DIQDB_PERSIST_BUILD_TOOL=OFF
      -DIQDB_PERSIST_COMPILED=ON)
  run("${CMAKE_COMMAND}" --build build)
  run("${CMAKE_COMMAND}" --install build --prefix "${work}/first")
  file(RENAME "${work}/first" "${work}/moved")
  consume(1 1 ${ISAL} -DHOW=find_package -DCOMPONENT=compiled -DTARGET=iqdb::persist_compiled "-DCMAKE_PREFIX_PATH=${work}/moved")
  if(PKG_CONFIG)
    set(ENV{PKG_CONFIG_PATH} "${work}/moved/share/pkgconfig")
    run("${PKG_CONFIG}" --cflags --libs iqdb-persist-compiled)
    separate_arguments(flags UNIX_COMMAND "${output}")
    run("${CXX}" -std=c++20 "${consumer_source}/main.cpp" -o pkg_config_consumer ${flags})
    run("${work}/pkg_config_consumer" 1 1 ${ISAL})
  endif()
  file(REMOVE_RECURSE "${work}/consumer")
  consume(1 1 ${ISAL} -DHOW=add_subdirectory "-DIQDB_SOURCE=${SOURCE}" -DTARGET=iqdb::persist_compiled)

elseif(CASE STREQUAL "says_that_it_is_not_compiled")
  run_refused("compiled was not installed with this copy;IQDB_PERSIST_COMPILED=ON" ${configure} -S "${consumer_source}" -B
              consumer -DHOW=find_package -DCOMPONENT=compiled "-DCMAKE_PREFIX_PATH=${installed}")

elseif(CASE STREQUAL "says_which_component_is_unknown")
  set(consumer ${configure} -S "${consumer_source}" -DHOW=find_package "-DCMAKE_PREFIX_PATH=${installed}")
  run_refused("There is no component hnsw; the components are hnswlib, faiss, usearch, s3 and compiled" ${consumer} -B unknown
              -DCOMPONENT=hnsw)

elseif(CASE STREQUAL "says_how_to_get_the_library_of_a_component")
  set(consumer ${configure} -S "${consumer_source}" -DHOW=find_package "-DCMAKE_PREFIX_PATH=${installed}")
  foreach(component IN ITEMS Hnswlib Faiss Usearch)
    string(TOLOWER ${component} lower)
    set(advice "lib${lower}-dev")
    if(component STREQUAL "Usearch")
      set(advice "npm install usearch;IqdbPersistUsearch_INCLUDE_DIR")
    endif()
    # An empty directory is not searched for anew, and counts as not found.
    run_refused("The library of the component ${lower} is missing;${advice}" ${consumer} -B ${lower} -DCOMPONENT=${lower}
                -DIqdbPersist${component}_INCLUDE_DIR=)
  endforeach()
  run_refused("The library of the component s3 is missing;libcurl4-openssl-dev" ${consumer} -B s3 -DCOMPONENT=s3
              -DCMAKE_DISABLE_FIND_PACKAGE_CURL=ON)

elseif(CASE STREQUAL "refuses_other_versions")
  math(EXPR next_major "${major} + 1")
  set(wanted_versions "${next_major}.0")
  if(major EQUAL 0)
    math(EXPR next_minor "${minor} + 1")
    list(APPEND wanted_versions "0.${next_minor}")
  endif()
  foreach(wanted IN LISTS wanted_versions)
    run_refused("requested version \"${wanted}\";version: ${VERSION}" ${configure} -S "${consumer_source}" -B consumer
                -DHOW=find_package "-DWANTED_VERSION=${wanted}" "-DCMAKE_PREFIX_PATH=${installed}")
  endforeach()

elseif(CASE STREQUAL "says_what_is_missing")
  # A library is missing when it is looked for where there is none.
  set(nowhere -DCMAKE_FIND_ROOT_PATH=/nowhere -DCMAKE_FIND_ROOT_PATH_MODE_LIBRARY=ONLY)
  set(with_zlib "-DZLIB_LIBRARY=${ZLIB}")
  run_refused("zlib1g-dev" ${configure} -S "${SOURCE}" -B build ${nowhere})
  run_refused("libzstd-dev;IQDB_PERSIST_ZSTD=OFF" ${configure} -S "${SOURCE}" -B build ${nowhere} ${with_zlib})
  run_refused("liblz4-dev;IQDB_PERSIST_LZ4=OFF" ${configure} -S "${SOURCE}" -B build ${nowhere} ${with_zlib}
              -DIQDB_PERSIST_ZSTD=OFF)
  run_refused("libisal-dev;IQDB_PERSIST_ISAL=OFF" ${configure} -S "${SOURCE}" -B build ${nowhere} ${with_zlib}
              -DIQDB_PERSIST_ZSTD=OFF -DIQDB_PERSIST_LZ4=OFF -DIQDB_PERSIST_ISAL=ON)
  # Not asked for, ISA-L is left out; a copy that was installed to use it needs it.
  run(${configure} -S "${SOURCE}" -B without_isal ${nowhere} ${with_zlib} -DIQDB_PERSIST_ZSTD=OFF -DIQDB_PERSIST_LZ4=OFF
      -DBUILD_TESTING=OFF -DIQDB_PERSIST_BUILD_EXAMPLES=OFF -DIQDB_PERSIST_BUILD_TOOL=OFF)
  if(NOT output MATCHES "Checksums: zlib.*libisal-dev")
    message(FATAL_ERROR "does not say that ISA-L is left out and how to get it")
  endif()
  set(missing "libzstd-dev liblz4-dev")
  if(ISAL)
    string(APPEND missing " libisal-dev")
  endif()
  run_refused("${missing}" ${configure} -S "${consumer_source}" -B consumer -DHOW=find_package
              "-DCMAKE_PREFIX_PATH=${installed}" ${nowhere} ${with_zlib})

else()
  message(FATAL_ERROR "there is no case '${CASE}'")
endif()
