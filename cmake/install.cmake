# cmake --install: the headers, the CMake package and the pkg-config file. With IQDB_PERSIST_COMPILED also the library
# of iqdb::persist_compiled. All of it is the component `headers`; the program iqdb is the component `tool`.
#
# Without the library everything is text and the same on every machine, so the package files go to share/ and not to
# lib/. Their paths are relative to their own location, so the installed tree may be moved.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(iqdb_persist_cmake_dir "${CMAKE_INSTALL_DATADIR}/cmake/iqdb-persist")
set(iqdb_persist_pkgconfig_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")

install(TARGETS iqdb-persist EXPORT iqdb-persist-targets FILE_SET HEADERS COMPONENT headers)
install(
  EXPORT iqdb-persist-targets
  NAMESPACE iqdb::
  DESTINATION "${iqdb_persist_cmake_dir}"
  COMPONENT headers)

# A separate file, so that find_package can tell whether the library is installed.
set(iqdb_persist_arch_independent ARCH_INDEPENDENT)
if(IQDB_PERSIST_COMPILED)
  set(iqdb_persist_arch_independent "")
  install(TARGETS iqdb-persist-compiled EXPORT iqdb-persist-compiled-targets COMPONENT headers)
  install(
    EXPORT iqdb-persist-compiled-targets
    NAMESPACE iqdb::
    DESTINATION "${iqdb_persist_cmake_dir}"
    COMPONENT headers)
endif()

configure_package_config_file(cmake/iqdb-persistConfig.cmake.in iqdb-persistConfig.cmake
                              INSTALL_DESTINATION "${iqdb_persist_cmake_dir}")
# Before 1.0 a minor version may break the interface, so 0.1 does not stand in for 0.2. No version stands in for a
# higher major version.
write_basic_package_version_file(iqdb-persistConfigVersion.cmake COMPATIBILITY SameMinorVersion
                                 ${iqdb_persist_arch_independent})
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/iqdb-persistConfig.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/iqdb-persistConfigVersion.cmake" cmake/FindIqdbPersistZstd.cmake
              cmake/FindIqdbPersistLz4.cmake cmake/FindIqdbPersistIsal.cmake cmake/FindIqdbPersistHnswlib.cmake
              cmake/FindIqdbPersistFaiss.cmake cmake/FindIqdbPersistUsearch.cmake
              cmake/FindIqdbPersistS3.cmake cmake/iqdb_persist_s3.cmake
              cmake/iqdb_persist_adapters.cmake cmake/iqdb_persist_find_library.cmake
        DESTINATION "${iqdb_persist_cmake_dir}" COMPONENT headers)

# The include directory in the pkg-config file is relative to the file itself.
cmake_path(ABSOLUTE_PATH iqdb_persist_pkgconfig_dir BASE_DIRECTORY "/prefix" NORMALIZE OUTPUT_VARIABLE pc_dir)
cmake_path(SET pc_include_dir "${CMAKE_INSTALL_INCLUDEDIR}")
cmake_path(IS_ABSOLUTE pc_include_dir pc_include_dir_is_absolute)
if(NOT pc_include_dir_is_absolute)
  cmake_path(ABSOLUTE_PATH pc_include_dir BASE_DIRECTORY "/prefix" NORMALIZE)
  cmake_path(RELATIVE_PATH pc_include_dir BASE_DIRECTORY "${pc_dir}")
  string(PREPEND pc_include_dir "\${pcfiledir}/")
endif()
set(pc_requires "zlib")
foreach(library IN ITEMS zstd lz4 isal)
  if(iqdb_persist_has_${library})
    string(APPEND pc_requires " lib${library}")
  endif()
endforeach()
set(pc_libs "-pthread")
if(WIN32)
  string(APPEND pc_libs " -lbcrypt")
endif()
configure_file(cmake/iqdb-persist.pc.in iqdb-persist.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/iqdb-persist.pc" DESTINATION "${iqdb_persist_pkgconfig_dir}" COMPONENT headers)
if(IQDB_PERSIST_COMPILED)
  cmake_path(SET pc_lib_dir "${CMAKE_INSTALL_LIBDIR}")
  cmake_path(IS_ABSOLUTE pc_lib_dir pc_lib_dir_is_absolute)
  if(NOT pc_lib_dir_is_absolute)
    cmake_path(ABSOLUTE_PATH pc_lib_dir BASE_DIRECTORY "/prefix" NORMALIZE)
    cmake_path(RELATIVE_PATH pc_lib_dir BASE_DIRECTORY "${pc_dir}")
    string(PREPEND pc_lib_dir "\${pcfiledir}/")
  endif()
  configure_file(cmake/iqdb-persist-compiled.pc.in iqdb-persist-compiled.pc @ONLY)
  install(FILES "${CMAKE_CURRENT_BINARY_DIR}/iqdb-persist-compiled.pc" DESTINATION "${iqdb_persist_pkgconfig_dir}"
          COMPONENT headers)
endif()

install(FILES LICENSE-MIT LICENSE-APACHE DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT headers)
