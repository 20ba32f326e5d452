#include "iqdb/persist/error.hpp"
#include "object_place.hpp"
#ifdef IQDB_TOOL_HAS_S3
#include "iqdb/persist/storage/s3/environment.hpp"
#include "iqdb/persist/storage/s3_object_store.hpp"
#endif

namespace iqdb_tool {

#ifdef IQDB_TOOL_HAS_S3

std::unique_ptr<AnyObjectStore::Calls> s3_calls(const iqdb::ObjectAddress& address, const StoreOptions& options) {
  std::optional<iqdb::S3AddressStyle> style;
  if (!options.style.empty()) {
    style = options.style == "host" ? iqdb::S3AddressStyle::host : iqdb::S3AddressStyle::path;
  }
  return std::make_unique<CallsOf<iqdb::S3ObjectStore>>(iqdb::S3ObjectStore(iqdb::s3_config_of_environment(
      address.place, address.prefix, {.endpoint = options.endpoint, .region = options.region, .style = style})));
}

#else

std::unique_ptr<AnyObjectStore::Calls> s3_calls(const iqdb::ObjectAddress& address, const StoreOptions& /*options*/) {
  iqdb::throw_persist_error(iqdb::PersistErrorKind::unsupported,
                            "the bucket '" + address.place +
                                "' cannot be reached: this program was built without S3, which needs libcurl and "
                                "libcrypto (on Debian libcurl4-openssl-dev and libssl-dev); build it again with them");
}

#endif

}  // namespace iqdb_tool
