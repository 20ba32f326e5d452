#include "iqdb/persist/config.hpp"

#include <chrono>
#include <climits>
#include <filesystem>

#include "support/catch.hpp"
#include "support/expect_error.hpp"

namespace {

using iqdb::Compression;
using iqdb::FsyncPolicy;
using iqdb::PersistConfig;
using iqdb::PersistErrorKind;
using iqdb_test::require_kind;
using namespace std::chrono_literals;

PersistConfig usable() { return {.path = "vectors.iqdb"}; }

void require_refused(PersistErrorKind kind, const PersistConfig& config) {
  const auto error = require_kind(kind, [&] { validate(config); });
  CHECK(error.path() == config.path);
}

static_assert(FsyncPolicy::always().is_always());
static_assert(!FsyncPolicy::always().is_never() && !FsyncPolicy::always().is_periodic());
static_assert(FsyncPolicy::never().is_never());
static_assert(!FsyncPolicy::never().is_always() && !FsyncPolicy::never().is_periodic());
static_assert(FsyncPolicy::periodic(5ms).is_periodic());
static_assert(!FsyncPolicy::periodic(5ms).is_always() && !FsyncPolicy::periodic(5ms).is_never());
static_assert(FsyncPolicy::periodic(2s).interval() == 2000ms);
static_assert(FsyncPolicy::periodic(5ms) == FsyncPolicy::periodic(5ms));
static_assert(FsyncPolicy::periodic(5ms) != FsyncPolicy::periodic(6ms));
static_assert(FsyncPolicy::always() != FsyncPolicy::never());

static_assert(Compression::none().codec() == Compression::Codec::none);
static_assert(Compression::lz4().codec() == Compression::Codec::lz4);
static_assert(Compression::zstd().codec() == Compression::Codec::zstd);
static_assert(Compression::zstd().level() == 3);
static_assert(Compression::zstd(19).level() == 19);
static_assert(Compression::zstd(1) != Compression::zstd(2));
static_assert(Compression::none() != Compression::lz4());

}  // namespace

TEST_CASE("PersistConfig: by default nothing is compressed or logged and a log would be synced always", "[config]") {
  const PersistConfig config;
  CHECK(config.path.empty());
  CHECK_FALSE(config.wal_enabled);
  CHECK(config.fsync_policy == FsyncPolicy::always());
  CHECK(config.compression == Compression::none());
  CHECK_FALSE(config.on_progress);
}

TEST_CASE("validate: takes the defaults with a path", "[config]") {
  CHECK_NOTHROW(validate(usable()));
  CHECK_NOTHROW(iqdb::validate({.path = "/directory/vectors.iqdb"}));
}

TEST_CASE("validate: refuses no path and one that names a directory", "[config]") {
  require_refused(PersistErrorKind::invalid_config, {});
  require_refused(PersistErrorKind::invalid_config, {.path = "directory/"});
  require_refused(PersistErrorKind::invalid_config, {.path = "/"});
}

TEST_CASE("validate: takes an interval of zero to a day", "[config]") {
  PersistConfig config = usable();
  config.fsync_policy = FsyncPolicy::periodic(-1ms);
  require_refused(PersistErrorKind::invalid_config, config);
  for (const std::chrono::milliseconds too_long : {24h + 1ms, std::chrono::milliseconds::max() + 0h}) {
    config.fsync_policy = FsyncPolicy::periodic(too_long);
    require_refused(PersistErrorKind::invalid_config, config);
  }
  for (const std::chrono::milliseconds right : {0ms, 24h + 0ms}) {
    config.fsync_policy = FsyncPolicy::periodic(right);
    CHECK_NOTHROW(validate(config));
  }
}

TEST_CASE("validate: takes a recovery time of a millisecond to a day", "[config]") {
  PersistConfig config = usable();
  const auto policy_of = [](std::chrono::milliseconds recovery_time) {
    return iqdb::CheckpointPolicy::automatic({.recovery_time = recovery_time});
  };
  for (const std::chrono::milliseconds wrong : {-1ms, 0ms, 24h + 1ms}) {
    config.checkpoint = policy_of(wrong);
    require_refused(PersistErrorKind::invalid_config, config);
  }
  for (const std::chrono::milliseconds right : {1ms, 24h + 0ms}) {
    config.checkpoint = policy_of(right);
    CHECK_NOTHROW(validate(config));
  }
}

TEST_CASE("validate: a sync may be slow from 0 to 24 hours on", "[config]") {
  PersistConfig config = usable();
  for (const std::chrono::milliseconds wrong :
       {-1ms, 24h + 1ms, std::chrono::milliseconds::min(), std::chrono::milliseconds::max()}) {
    config.slow_sync = wrong;
    require_refused(PersistErrorKind::invalid_config, config);
  }
  for (const std::chrono::milliseconds right : {0ms, 24h + 0ms}) {
    config.slow_sync = right;
    CHECK_NOTHROW(validate(config));
  }
}

TEST_CASE("validate: takes a buffer of 4 KiB to 1 GiB, or to 64 MiB where memory has 32 bits", "[config]") {
  PersistConfig config = usable();
  config.buffer_bytes = 4095;
  require_refused(PersistErrorKind::invalid_config, config);
  config.buffer_bytes = 0;
  require_refused(PersistErrorKind::invalid_config, config);
  config.buffer_bytes = 4096;
  CHECK_NOTHROW(validate(config));
  config.buffer_bytes = sizeof(void*) == 4 ? std::size_t{64} << 20U : std::size_t{1} << 30U;
  CHECK_NOTHROW(validate(config));
  ++config.buffer_bytes;
  require_refused(PersistErrorKind::invalid_config, config);
  config.buffer_bytes = SIZE_MAX;
  require_refused(PersistErrorKind::invalid_config, config);
}

TEST_CASE("validate: takes space ahead of up to 1 GiB", "[config]") {
  PersistConfig config = usable();
  config.log_extent_bytes = std::size_t{1} << 30U;
  CHECK_NOTHROW(validate(config));
  ++config.log_extent_bytes;
  require_refused(PersistErrorKind::invalid_config, config);
}

TEST_CASE("validate: takes up to 1024 helper threads, and none", "[config]") {
  PersistConfig config = usable();
  for (const unsigned right : {0U, 1024U}) {
    config.helper_threads = right;
    CHECK_NOTHROW(validate(config));
  }
  config.helper_threads = 1025;
  require_refused(PersistErrorKind::invalid_config, config);
}

TEST_CASE("validate: refuses zstd levels outside 1 to 22 whether zstd is built in or not", "[config]") {
  PersistConfig config = usable();
  for (const int level : {INT_MIN, -1, 0, 23, INT_MAX}) {
    CAPTURE(level);
    config.compression = Compression::zstd(level);
    require_refused(PersistErrorKind::invalid_config, config);
  }
}

TEST_CASE("validate: takes a codec that is built in and says unsupported for one that is not", "[config]") {
  PersistConfig config = usable();
  for (const int level : {1, 3, 22}) {
    config.compression = Compression::zstd(level);
    if (IQDB_PERSIST_HAS_ZSTD != 0) {
      CHECK_NOTHROW(validate(config));
    } else {
      require_refused(PersistErrorKind::unsupported, config);
    }
  }
  config.compression = Compression::lz4();
  if (IQDB_PERSIST_HAS_LZ4 != 0) {
    CHECK_NOTHROW(validate(config));
  } else {
    require_refused(PersistErrorKind::unsupported, config);
  }
}

TEST_CASE("validate: takes the log, with every policy", "[config]") {
  PersistConfig config = usable();
  config.wal_enabled = true;
  for (const FsyncPolicy policy :
       {FsyncPolicy::always(), FsyncPolicy::never(), FsyncPolicy::periodic(std::chrono::milliseconds(0))}) {
    config.fsync_policy = policy;
    CHECK_NOTHROW(validate(config));
  }
}
