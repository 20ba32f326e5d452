#include "snapshot_facts.hpp"

#include <string>

#include "log_facts.hpp"

namespace iqdb_tool {

namespace {

iqdb::PersistError disagreement(const std::filesystem::path& path, const std::string& what,
                                const std::string& in_header, const std::string& in_payload) {
  return iqdb::PersistError(iqdb::PersistErrorKind::invalid_payload,
                            "the header states " + what + " " + in_header + ", but the payload " + in_payload +
                                "; one of them is damaged: iqdb verify tells more",
                            {.path = path, .code = {}, .offset = {}});
}

}  // namespace

void compare(const std::filesystem::path& path, const iqdb::FileHeader& header, const PayloadHead& payload,
             std::vector<iqdb::PersistError>& problems) {
  if (payload.dim && *payload.dim != header.dim) {
    problems.push_back(disagreement(path, "dimensions:", std::to_string(header.dim), std::to_string(*payload.dim)));
  }
  if (payload.metric && *payload.metric != header.metric) {
    problems.push_back(disagreement(path, "the metric", std::string(to_string(header.metric)),
                                    std::string(to_string(*payload.metric))));
  }
  if (payload.vectors && *payload.vectors != header.vectors) {
    problems.push_back(
        disagreement(path, "vectors:", std::to_string(header.vectors), std::to_string(*payload.vectors)));
  }
}

void add_snapshot(Json& document, const iqdb::FileHeader& header, std::uint64_t file_bytes,
                  const std::optional<iqdb::RegionPreamble>& preamble, const std::optional<PayloadHead>& payload) {
  document["type"] = header.index_type;
  document["dimensions"] = header.dim;
  document["metric"] = to_string(header.metric);
  document["vectors"] = header.vectors;
  document["format_version"] = header.version;
  document["file_bytes"] = file_bytes;
  document["codec"] = preamble ? Json(to_string(preamble->scheme)) : Json(nullptr);
  document["payload_bytes"] = preamble ? Json(preamble->payload_bytes) : Json(nullptr);
  document["checksum"] = iqdb::hexadecimal(header.crc32);
  if (payload) {
    if (!payload->kind.empty()) {
      document["kind"] = payload->kind;
    }
    for (const auto& [name, value] : payload->settings) {
      document["settings"][name] = value;
    }
  }
}

void print_snapshot(Output& out, const iqdb::FileHeader& header, std::uint64_t file_bytes,
                    const std::optional<iqdb::RegionPreamble>& preamble, const std::optional<PayloadHead>& payload) {
  std::string type = harmless(header.index_type);
  if (payload && !payload->kind.empty()) {
    type += " (" + payload->kind + ")";
  }
  out.field("type", type);
  out.field("dimensions", std::to_string(header.dim));
  out.field("metric", to_string(header.metric));
  out.field("vectors", std::to_string(header.vectors) + " in the snapshot");
  if (payload && !payload->settings.empty()) {
    std::string settings;
    for (const auto& [name, value] : payload->settings) {
      settings += (settings.empty() ? "" : ", ") + name + " " + std::to_string(value);
    }
    out.field("settings", settings);
  }
  out.line(out.bold("snapshot"));
  std::string codec = "unknown";
  if (preamble) {
    codec = std::string(to_string(preamble->scheme));
  }
  out.field("format", "version " + std::to_string(header.version) + ", compression " + codec);
  out.field("size", bytes_text(file_bytes));
  if (preamble && preamble->scheme != iqdb::CompressionScheme::none) {
    out.field("payload", bytes_text(preamble->payload_bytes));
  }
  out.field("checksum", iqdb::hexadecimal(header.crc32) + ", not verified here");
}

}  // namespace iqdb_tool
