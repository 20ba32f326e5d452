# The component iqdb::s3: the object store over S3, together with libcurl and libcrypto. The target is defined, and
# iqdb_persist_has_s3 is ON, if these are found. The find module lies beside this file; iqdb_persist_how_to_get_s3 says how to get
# them.
#
# Included by this project and by the installed package, because each machine has other libraries installed.
set(iqdb_persist_has_s3 OFF)
find_package(IqdbPersistS3 QUIET MODULE ${iqdb_persist_adapters_scope})
set(iqdb_persist_how_to_get_s3 "${IqdbPersistS3_HOW_TO_GET}")
if(IqdbPersistS3_FOUND)
  set(iqdb_persist_has_s3 ON)
  if(NOT TARGET iqdb::s3)
    add_library(iqdb::s3 INTERFACE IMPORTED ${iqdb_persist_adapters_scope})
    set_target_properties(iqdb::s3 PROPERTIES INTERFACE_LINK_LIBRARIES "iqdb::persist;iqdb_deps::s3")
  endif()
endif()
