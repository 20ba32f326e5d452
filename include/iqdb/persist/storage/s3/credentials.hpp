// Who asks a store: the keys that sign requests, and where they come from.
//
// Invariant: no message has a secret. What is wrong with a file is said by its path and the name of the line that is missing.
#pragma once

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <istream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/persist/error.hpp"
#include "iqdb/persist/version.hpp"
#include "iqdb/text.hpp"

namespace iqdb::inline IQDB_PERSIST_ABI {

/// The keys of a user of a store.
struct S3Credentials {
  std::string access_key = {};     ///< names the user
  std::string secret_key = {};     ///< signs; it is never sent
  std::string session_token = {};  ///< of temporary credentials; else empty
  /// When they end; nothing if they do not, or if that is not known.
  std::optional<std::chrono::system_clock::time_point> expires_at = std::nullopt;

  friend bool operator==(const S3Credentials&, const S3Credentials&) = default;
};

/// Returns credentials. A store asks it before its first request, five minutes before those that it has expire, and when the store
/// says that they have. Whoever gets credentials in another way (the role of a machine, a vault) writes one. What it throws passes
/// through the call of the store.
using S3CredentialsSource = std::function<S3Credentials()>;

namespace s3 {

namespace detail {

[[nodiscard]] inline std::string environment(const char* name) {
  const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody else changes the environment
  return value == nullptr ? std::string() : std::string(value);
}

[[nodiscard]] inline std::string_view trimmed(std::string_view text) {
  constexpr std::string_view space = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(space);
  return begin == std::string_view::npos ? std::string_view()
                                         : text.substr(begin, text.find_last_not_of(space) - begin + 1);
}

}  // namespace detail

/// The credentials of the section `[section]` of a file as ~/.aws/credentials, or nothing if it has no such section or the section
/// no access key. Lines that it does not know are passed over. Throws PersistError invalid_config if one of the two keys is
/// missing there.
[[nodiscard]] inline std::optional<S3Credentials> read_credentials(std::istream& from, std::string_view section) {
  S3Credentials found;
  bool is_inside = false;
  for (std::string line; std::getline(from, line);) {
    const std::string_view text = detail::trimmed(line);
    if (text.starts_with("[")) {
      is_inside = text.ends_with("]") && detail::trimmed(text.substr(1, text.size() - 2)) == section;
      continue;
    }
    const std::size_t equals = text.find('=');
    if (!is_inside || text.starts_with("#") || text.starts_with(";") || equals == std::string_view::npos) {
      continue;
    }
    const std::string_view name = detail::trimmed(text.substr(0, equals));
    const std::string value(detail::trimmed(text.substr(equals + 1)));
    if (name == "aws_access_key_id") {
      found.access_key = value;
    } else if (name == "aws_secret_access_key") {
      found.secret_key = value;
    } else if (name == "aws_session_token") {
      found.session_token = value;
    }
  }
  if (found.access_key.empty() && found.secret_key.empty()) {
    return std::nullopt;
  }
  if (found.access_key.empty() || found.secret_key.empty()) {
    throw_persist_error(PersistErrorKind::invalid_config,
                        "the section " + printable(section) +
                            " has one of aws_access_key_id and aws_secret_access_key, " +
                            "and not the other; write both there");
  }
  return found;
}

/// As above, of the file `path`; nothing if there is no such file. The error names the file.
[[nodiscard]] inline std::optional<S3Credentials> read_credentials(const std::filesystem::path& path,
                                                                   std::string_view section) {
  std::ifstream file(path);
  if (!file) {
    return std::nullopt;
  }
  return naming_file(path, [&] { return read_credentials(file, section); });
}

}  // namespace s3

/// The credentials of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or nothing if the first two are not set.
/// Throws PersistError invalid_config if one of them is, and the other is not. Nobody may change the environment meanwhile.
[[nodiscard]] inline std::optional<S3Credentials> s3_credentials_of_environment() {
  S3Credentials found{.access_key = s3::detail::environment("AWS_ACCESS_KEY_ID"),
                      .secret_key = s3::detail::environment("AWS_SECRET_ACCESS_KEY"),
                      .session_token = s3::detail::environment("AWS_SESSION_TOKEN")};
  if (found.access_key.empty() && found.secret_key.empty()) {
    return std::nullopt;
  }
  if (found.access_key.empty() || found.secret_key.empty()) {
    throw_persist_error(
        PersistErrorKind::invalid_config,
        "the environment has one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and not the other; set both");
  }
  return found;
}

/// The credentials of a profile in AWS's files: ~/.aws/credentials, then ~/.aws/config, or those that AWS_SHARED_CREDENTIALS_FILE
/// and AWS_CONFIG_FILE name. An empty `profile` is that of AWS_PROFILE, else "default". Nothing if neither file has it. Only keys
/// that are written there are found: for a role, a login in a browser, or a program that prints credentials, write a source.
/// Throws PersistError invalid_config if only one of the two keys is there. Nobody may change the environment meanwhile.
[[nodiscard]] inline std::optional<S3Credentials> s3_credentials_of_profile(std::string profile = {}) {
  const auto file_of = [](const char* variable, const char* name) {
    const std::string set = s3::detail::environment(variable);
    const std::string home = s3::detail::environment("HOME");
    return set.empty() ? std::filesystem::path(home) / ".aws" / name : std::filesystem::path(set);
  };
  if (profile.empty()) {
    profile = s3::detail::environment("AWS_PROFILE");
  }
  if (profile.empty()) {
    profile = "default";
  }
  auto found = s3::read_credentials(file_of("AWS_SHARED_CREDENTIALS_FILE", "credentials"), profile);
  if (!found) {
    found = s3::read_credentials(file_of("AWS_CONFIG_FILE", "config"),
                                 profile == "default" ? profile : "profile " + profile);
  }
  return found;
}

/// A source of the same credentials for ever.
[[nodiscard]] inline S3CredentialsSource s3_fixed_credentials(std::string access_key, std::string secret_key,
                                                              std::string session_token = {}) {
  return [credentials = S3Credentials{.access_key = std::move(access_key),
                                      .secret_key = std::move(secret_key),
                                      .session_token = std::move(session_token)}] { return credentials; };
}

/// The source that a store has unless told otherwise: the environment, then the profile of AWS_PROFILE. Throws PersistError
/// invalid_config if neither has credentials.
[[nodiscard]] inline S3Credentials s3_usual_credentials() {
  auto found = s3_credentials_of_environment();
  if (!found) {
    found = s3_credentials_of_profile();
  }
  if (!found) {
    throw_persist_error(
        PersistErrorKind::invalid_config,
        "no credentials for the object store were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        "write a profile into ~/.aws/credentials, or give S3Config::credentials a source");
  }
  return *found;
}

}  // namespace iqdb
