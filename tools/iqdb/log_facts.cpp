#include "log_facts.hpp"

#include <array>
#include <cinttypes>
#include <cstdio>
#include <optional>
#include <string_view>

namespace iqdb_tool {

namespace {

std::string fingerprint_text(const iqdb::Fingerprint& snapshot) {
  return std::to_string(snapshot.file_bytes) + " bytes with the checksum " + iqdb::hexadecimal(snapshot.region_crc32);
}

// Mutations that the snapshot lacks: counted where the log was read whole, else by the numbers at its ends.
struct Behind {
  std::optional<std::uint64_t> count;
  bool exact = true;
};

Behind behind_of(const iqdb::LogReport& report) {
  if (report.scan) {
    return {.count = report.scan->mutations, .exact = true};
  }
  if (report.end) {
    return {.count = report.end->position.next_lsn - 1 - report.log.header.base_lsn, .exact = false};
  }
  return {.count = std::nullopt, .exact = false};
}

std::optional<std::uint64_t> last_lsn_of(const iqdb::LogReport& report) {
  return report.end ? std::optional(report.end->position.next_lsn - 1) : std::nullopt;
}

std::string closed_text(const iqdb::LogReport& report, bool in_use) {
  if (!report.end) {
    return "unknown";
  }
  if (report.log.version == 1) {
    return "unknown: version 1 does not say";
  }
  if (in_use) {
    return "in use by a writer";
  }
  if (report.end->closed) {
    return "in order";
  }
  return report.end->position == report.log.first_frame()
             ? "nothing was logged since it was made"
             : "not in order: the last process that wrote was killed, or still runs elsewhere";
}

}  // namespace

std::string name_of_id(std::uint64_t id) {
  std::array<char, 24> text{};
  std::snprintf(text.data(), text.size(), "0x%016" PRIx64, id);
  return text.data();
}

Json json_of_log(const iqdb::LogReport& report, const std::filesystem::path& path, bool beside_snapshot) {
  const Behind behind = behind_of(report);
  Json document{{"path", path.string()}, {"file_bytes", report.file_bytes}};
  document["format_version"] = report.log.version;
  document["read_whole"] = report.scan.has_value();
  // Version 1 has no numbers, and nothing that ties it to a snapshot.
  const bool has_header = report.log.version > 1;
  document["base_lsn"] = has_header ? Json(report.log.header.base_lsn) : Json(nullptr);
  document["lsn"] = has_header ? number_or_null(last_lsn_of(report)) : Json(nullptr);
  document["mutations"] = number_or_null(behind.count);
  document["mutations_exact"] = behind.exact;
  document["aborted"] = report.scan ? Json(report.scan->aborted) : Json(nullptr);
  document["frames"] = report.scan ? Json(report.scan->frames) : Json(nullptr);
  document["torn_bytes"] = report.scan ? Json(report.scan->dropped_bytes) : Json(nullptr);
  document["end"] = report.end ? Json(report.end->position.offset) : Json(nullptr);
  document["closed"] = report.end && report.log.version > 1 ? Json(report.end->closed) : Json(nullptr);
  document["continues"] = nullptr;
  if (beside_snapshot && report.scan) {
    document["continues"] = report.scan->replay.has_value();
  }
  document["log_id"] = has_header ? Json(name_of_id(report.log.header.log_id)) : Json(nullptr);
  document["history_id"] = report.log.version >= 3 ? Json(name_of_id(report.log.header.history_id)) : Json(nullptr);
  document["base"] = nullptr;
  if (has_header) {
    document["base"] = {{"file_bytes", report.log.header.base.file_bytes},
                        {"checksum", iqdb::hexadecimal(report.log.header.base.region_crc32)}};
  }
  return document;
}

void print_log(Output& out, const iqdb::LogReport& report, bool beside_snapshot, bool in_use) {
  const iqdb::LogHeader& header = report.log.header;
  if (report.problem && !report.scan && !report.end) {
    out.field("size", bytes_text(report.file_bytes));
    return;  // its header is not one
  }
  out.field("format", "version " + std::to_string(report.log.version));
  out.field("size", bytes_text(report.file_bytes));
  const Behind behind = behind_of(report);
  std::string mutations = "unknown: no record was found at its end; --full reads the log whole";
  if (behind.count) {
    mutations = std::to_string(*behind.count) + (beside_snapshot && !report.problem ? " behind the snapshot" : "");
    if (report.scan && report.scan->aborted > 0) {
      mutations += ", and " + std::to_string(report.scan->aborted) + " aborted";
    }
    if (!behind.exact) {
      mutations = "up to " + mutations + ", by their numbers; --full reads the log whole";
    }
  }
  out.field("mutations", mutations);
  if (report.log.version > 1) {
    std::string numbers = std::to_string(header.base_lsn);
    if (const auto last = last_lsn_of(report); last && *last != header.base_lsn) {
      numbers = std::to_string(*last) + "; the snapshot that it continues holds those up to " + numbers;
    }
    out.field("last LSN", numbers);
    out.field("continues", "a snapshot of " + fingerprint_text(header.base));
    if (report.log.version >= 3) {
      out.field("history", name_of_id(header.history_id));
    }
  }
  out.field("closed", closed_text(report, in_use));
  if (report.scan && report.scan->dropped_bytes > 0) {
    out.field("torn tail", std::to_string(report.scan->dropped_bytes) +
                               (in_use ? " bytes that are being written"
                                       : " bytes of a record that a crash cut off; the next load drops them"));
  }
}

Json json_of_problems(const std::vector<iqdb::PersistError>& problems) {
  Json list = Json::array();
  for (const iqdb::PersistError& problem : problems) {
    list.push_back({{"kind", to_string(problem.kind())},
                    {"message", problem.what()},
                    {"path", problem.path().string()},
                    {"offset", number_or_null(problem.offset())}});
  }
  return list;
}

void print_problems(Output& out, const std::vector<iqdb::PersistError>& problems) {
  for (const iqdb::PersistError& problem : problems) {
    out.line(out.bad("PROBLEM") + " " + harmless(problem.what()) + " [" + std::string(to_string(problem.kind())) + "]");
  }
}

}  // namespace iqdb_tool
