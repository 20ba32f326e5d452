# Runs the portfile without vcpkg: what it calls of vcpkg stands here as short functions that do what is asked of them for this port, and
# for no other. It shows that the steps of the portfile lead to files in vcpkg's layout, and nothing about vcpkg itself.
#
#   cmake -DPORT_DIR=<…/ports/iqdb-persist> -DWORK=<scratch directory> "-DFEATURES=core;zstd" -DCXX=<compiler> -P stand_in.cmake
#
# The package is then in WORK/installed.
cmake_minimum_required(VERSION 3.25)

set(PORT iqdb-persist)
set(CURRENT_PORT_DIR "${PORT_DIR}")
set(CURRENT_PACKAGES_DIR "${WORK}/packages")
set(build "${WORK}/build")

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# Every feature of the list becomes an option that is ON or OFF.
function(vcpkg_check_features)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" OUT_FEATURE_OPTIONS FEATURES)
  set(options "")
  while(arg_FEATURES)
    list(POP_FRONT arg_FEATURES feature option)
    set(value OFF)
    if(feature IN_LIST FEATURES)
      set(value ON)
    endif()
    list(APPEND options -D${option}=${value})
  endwhile()
  set(${arg_OUT_FEATURE_OPTIONS} "${options}" PARENT_SCOPE)
endfunction()

function(vcpkg_cmake_configure)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" SOURCE_PATH OPTIONS)
  run("${CMAKE_COMMAND}" -S "${arg_SOURCE_PATH}" -B "${build}" "-DCMAKE_CXX_COMPILER=${CXX}" -DCMAKE_BUILD_TYPE=Release
      "-DCMAKE_CXX_FLAGS_RELEASE=${CXX_FLAGS}" "-DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR}" ${arg_OPTIONS})
endfunction()

function(vcpkg_cmake_install)
  run("${CMAKE_COMMAND}" --build "${build}" --target install)
endfunction()

# Moves the package's files to share/<port>, and mends in them how many folders lie above.
function(vcpkg_cmake_config_fixup)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" CONFIG_PATH "")
  set(share "${CURRENT_PACKAGES_DIR}/share/${PORT}")
  file(RENAME "${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH}" "${share}")
  file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/cmake")
  file(GLOB files "${share}/*.cmake")
  set(up "get_filename_component(_IMPORT_PREFIX \"\${_IMPORT_PREFIX}\" PATH)\n")
  foreach(file IN LISTS files)
    file(READ "${file}" text)
    string(REPLACE "${up}${up}${up}" "${up}${up}" text "${text}")
    string(REPLACE "\${CMAKE_CURRENT_LIST_DIR}/../../../" "\${CMAKE_CURRENT_LIST_DIR}/../../" text "${text}")
    file(WRITE "${file}" "${text}")
  endforeach()
endfunction()

function(vcpkg_fixup_pkgconfig)
  set(file "${CURRENT_PACKAGES_DIR}/share/pkgconfig/${PORT}.pc")
  file(READ "${file}" text)
  file(WRITE "${file}" "prefix=\${pcfiledir}/../..\n${text}")
endfunction()

function(vcpkg_copy_tools)
  cmake_parse_arguments(PARSE_ARGV 0 arg AUTO_CLEAN "" TOOL_NAMES)
  foreach(tool IN LISTS arg_TOOL_NAMES)
    file(INSTALL "${CURRENT_PACKAGES_DIR}/bin/${tool}" DESTINATION "${CURRENT_PACKAGES_DIR}/tools/${PORT}" USE_SOURCE_PERMISSIONS)
  endforeach()
  if(arg_AUTO_CLEAN)
    file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/bin")
  endif()
endfunction()

function(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "" FILE_LIST)
  foreach(file IN LISTS arg_FILE_LIST)
    file(READ "${file}" text)
    file(APPEND "${CURRENT_PACKAGES_DIR}/share/${PORT}/copyright" "${text}\n")
  endforeach()
endfunction()

include("${PORT_DIR}/portfile.cmake")

# What vcpkg looks for when a port is built.
foreach(expected IN ITEMS share/${PORT}/copyright share/${PORT}/usage share/${PORT}/iqdb-persistConfig.cmake include/iqdb/persist.hpp)
  if(NOT EXISTS "${CURRENT_PACKAGES_DIR}/${expected}")
    message(FATAL_ERROR "the package has no ${expected}")
  endif()
endforeach()
foreach(unwanted IN ITEMS bin debug lib share/cmake share/doc)
  if(EXISTS "${CURRENT_PACKAGES_DIR}/${unwanted}")
    message(FATAL_ERROR "the package has ${unwanted}")
  endif()
endforeach()
file(GLOB_RECURSE texts "${CURRENT_PACKAGES_DIR}/share/*.cmake" "${CURRENT_PACKAGES_DIR}/share/*.pc")
foreach(text IN LISTS texts)
  file(READ "${text}" content)
  foreach(directory IN ITEMS "${WORK}" "${SOURCE_PATH}")
    string(FIND "${content}" "${directory}" at)
    if(NOT at EQUAL -1)
      message(FATAL_ERROR "${text} names ${directory}")
    endif()
  endforeach()
endforeach()
file(RENAME "${CURRENT_PACKAGES_DIR}" "${WORK}/installed")
