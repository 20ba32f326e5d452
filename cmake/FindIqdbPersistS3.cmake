# Finds libcurl and OpenSSL's libcrypto, which a store of S3 needs, by CMake's own modules, and defines the target iqdb_deps::s3.
find_package(CURL 7.68 QUIET)
find_package(OpenSSL 1.1.1 QUIET COMPONENTS Crypto)
set(IqdbPersistS3_HOW_TO_GET
    "iqdb::s3 needs libcurl and OpenSSL's libcrypto. On Debian: apt-get install libcurl4-openssl-dev libssl-dev.")

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  IqdbPersistS3
  REQUIRED_VARS CURL_FOUND OPENSSL_CRYPTO_LIBRARY
  REASON_FAILURE_MESSAGE "${IqdbPersistS3_HOW_TO_GET}")

if(IqdbPersistS3_FOUND AND NOT TARGET iqdb_deps::s3)
  add_library(iqdb_deps::s3 INTERFACE IMPORTED)
  set_target_properties(iqdb_deps::s3 PROPERTIES INTERFACE_LINK_LIBRARIES "CURL::libcurl;OpenSSL::Crypto")
endif()
