# An overlay port: it builds the clone in which it lies. A port of a registry has vcpkg_from_git or the like in the place of this line.
cmake_path(SET SOURCE_PATH NORMALIZE "${CURRENT_PORT_DIR}/../../../..")

# The headers are the same for both configurations.
set(VCPKG_BUILD_TYPE release)

vcpkg_check_features(
  OUT_FEATURE_OPTIONS FEATURE_OPTIONS
  FEATURES
    zstd IQDB_PERSIST_ZSTD
    lz4 IQDB_PERSIST_LZ4
    isal IQDB_PERSIST_ISAL
    tool IQDB_PERSIST_BUILD_TOOL)

# The program is built without the indexes of other libraries: what happens to be installed must not decide what it can read.
vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    ${FEATURE_OPTIONS}
    -DBUILD_TESTING=OFF
    -DIQDB_PERSIST_BUILD_EXAMPLES=OFF
    -DIQDB_PERSIST_INSTALL=ON
    -DCMAKE_DISABLE_FIND_PACKAGE_IqdbPersistHnswlib=ON
    -DCMAKE_DISABLE_FIND_PACKAGE_IqdbPersistFaiss=ON
    -DCMAKE_DISABLE_FIND_PACKAGE_IqdbPersistUsearch=ON)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/iqdb-persist)
vcpkg_fixup_pkgconfig()
if("tool" IN_LIST FEATURES)
  vcpkg_copy_tools(TOOL_NAMES iqdb AUTO_CLEAN)
endif()

vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE-MIT" "${SOURCE_PATH}/LICENSE-APACHE")
# The licences stand in the file `copyright`.
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/doc")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
