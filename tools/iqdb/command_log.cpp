// iqdb log PATH: what a log holds, one mutation a line.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "given_path.hpp"
#include "growing_file.hpp"
#include "id_text.hpp"
#include "iqdb/persist/bytes/row_format.hpp"
#include "iqdb/persist/wal/frame_body.hpp"
#include "iqdb/persist/wal/frame_reader.hpp"
#include "iqdb/persist/wal/log_clock.hpp"
#include "iqdb/persist/wal/log_identity.hpp"
#include "iqdb/persist/wal/log_object.hpp"
#include "iqdb/persist/wal/log_paths.hpp"
#include "iqdb/persist/wal/object_run.hpp"
#include "iqdb/persist/wal/wal_reader.hpp"
#include "log_facts.hpp"
#include "object_place.hpp"

namespace iqdb_tool {

namespace {

namespace fs = std::filesystem;
using iqdb::FrameOp;
using iqdb::PersistErrorKind;

struct LogOptions {
  std::string path;
  std::uint64_t from = 0;
  std::uint64_t to = std::numeric_limits<std::uint64_t>::max();
  std::string id;
  std::vector<std::string> ops;
  bool frames = false;
  bool values = false;
  bool follow = false;
};

struct OpName {
  FrameOp op;
  std::string_view name;
};
constexpr std::array op_names{OpName{FrameOp::insert, "insert"},
                              OpName{FrameOp::erase, "erase"},
                              OpName{FrameOp::upsert, "upsert"},
                              OpName{FrameOp::metadata, "metadata"},
                              OpName{FrameOp::typed_insert, "typed-insert"},
                              OpName{FrameOp::typed_upsert, "typed-upsert"},
                              OpName{FrameOp::batch, "batch"},
                              OpName{FrameOp::abort, "abort"},
                              OpName{FrameOp::checkpoint, "checkpoint"},
                              OpName{FrameOp::close, "close"},
                              OpName{FrameOp::time, "time"}};

std::string_view name_of(FrameOp op) { return std::ranges::find(op_names, op, &OpName::op)->name; }

std::string_view name_of(iqdb::ElementType type) {
  constexpr std::array<std::string_view, 7> names{"", "f16", "bf16", "i8", "u8", "bits", "f64"};
  return names.at(static_cast<std::size_t>(type));
}

// A sink that only counts: the size of metadata as the log stores them.
class CountingSink final : public iqdb::ByteSink {
 public:
  void write(std::span<const std::byte> bytes) override { count_ += bytes.size(); }
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

 private:
  std::uint64_t count_ = 0;
};

std::uint64_t stored_bytes(const std::optional<iqdb::Metadata>& metadata) {
  if (!metadata) {
    return 0;
  }
  CountingSink sink;
  constexpr std::size_t piece_bytes = 256;
  iqdb::Writer writer(sink, piece_bytes);
  iqdb::write_metadata(writer, metadata);
  writer.flush();
  return sink.count();
}

// Which lines are printed.
class Filter {
 public:
  explicit Filter(const LogOptions& options) : options_(&options) {
    if (!options.id.empty()) {
      id_ = parse_id(options.id);
    }
    for (const std::string& name : options.ops) {
      ops_.push_back(std::ranges::find(op_names, std::string_view(name), &OpName::name)->op);
    }
  }

  [[nodiscard]] bool takes_op(FrameOp op) const { return ops_.empty() || std::ranges::find(ops_, op) != ops_.end(); }
  [[nodiscard]] bool takes_lsn(std::uint64_t lsn) const { return lsn >= options_->from && lsn <= options_->to; }
  [[nodiscard]] bool takes_id(const iqdb::VectorId& id) const { return !id_ || *id_ == id; }
  [[nodiscard]] bool names_id() const { return id_.has_value(); }

 private:
  const LogOptions* options_;
  std::optional<iqdb::VectorId> id_;
  std::vector<FrameOp> ops_;
};

// Prints the lines of a log.
class Listing {
 public:
  // `place` is what says where a frame stands: its offset in a file, or the number of its object.
  Listing(Output& out, const LogOptions& options, const char* place = "offset")
      : out_(&out), options_(&options), filter_(options), place_(place) {
    if (!out.json() && ::isatty(STDOUT_FILENO) == 1) {
      out.line(
          out.bold("       LSN        " + std::string(place) +
                   (options.frames ? "     bytes  op            mutations  durable up to" : "  op            id")));
    }
  }

  // Prints what is in a frame. `aborted` are those of its mutations that are no part of the state.
  void take(const iqdb::LogFrame& frame, iqdb::FrameBody& body, const std::vector<iqdb::LsnRange>& aborted,
            const std::vector<iqdb::LsnRange>& names, std::uint64_t covered_lsn) {
    bool wanted = !filter_.names_id();  // a frame without mutations concerns no vector
    for (std::uint32_t at = 0; at < body.mutations(); ++at) {
      frame.decoded([&] { body.read_next(mutation_); });
      wanted = wanted || filter_.takes_id(mutation_.id);
      if (!options_->frames) {
        take_mutation(frame, body, at, aborted);
      }
    }
    frame.decoded([&] { body.require_end(); });
    if (options_->frames) {
      if (wanted && filter_.takes_op(body.op()) && takes_any_of(frame, body)) {
        print_frame(frame, body, aborted, names, covered_lsn);
      }
    } else if (body.mutations() == 0 && wanted && filter_.takes_op(body.op()) &&
               filter_.takes_lsn(frame.position.next_lsn)) {
      print_control(frame, body, names, covered_lsn);
    }
  }

  // Prints that a writer opened a log on an object store.
  void take_fence(std::uint64_t lsn, std::uint64_t object) {
    if (filter_.names_id() || !options_->ops.empty() || !filter_.takes_lsn(lsn)) {
      return;
    }
    if (out_->json()) {
      out_->json_line({{"lsn", lsn}, {place_, object}, {"op", "fence"}});
      return;
    }
    std::array<char, 96> text{};
    std::snprintf(text.data(), text.size(), "%10" PRIu64 "  %12" PRIu64 "  ", lsn, object);
    out_->line(std::string(text.data()) + (options_->frames ? "          " : "") +
               "fence         a writer opened the log, and ended the one before");
  }

  // Says something that is no part of the log: beside it in text, in a line of its own in JSON.
  void note(const std::string& text, const Json& document) {
    if (out_->json()) {
      out_->json_line(document);
    } else {
      out_->flush();
      std::fprintf(stderr, "iqdb: note: %s\n", harmless(text).c_str());
    }
  }

  void flush() { out_->flush(); }

 private:
  [[nodiscard]] bool takes_any_of(const iqdb::LogFrame& frame, const iqdb::FrameBody& body) const {
    const std::uint64_t first = frame.position.next_lsn;
    const std::uint64_t last = first + std::max<std::uint64_t>(body.mutations(), 1) - 1;
    return last >= options_->from && first <= options_->to;
  }

  static bool holds(const std::vector<iqdb::LsnRange>& ranges, std::uint64_t lsn) {
    return std::ranges::any_of(ranges,
                               [lsn](const iqdb::LsnRange& range) { return lsn >= range.first && lsn <= range.last; });
  }

  void take_mutation(const iqdb::LogFrame& frame, const iqdb::FrameBody& body, std::uint32_t at,
                     const std::vector<iqdb::LsnRange>& aborted) {
    const std::uint64_t lsn = frame.position.next_lsn + at;
    if (!filter_.takes_op(mutation_.op) || !filter_.takes_lsn(lsn) || !filter_.takes_id(mutation_.id)) {
      return;
    }
    const bool is_aborted = holds(aborted, lsn);
    const bool has_vector = mutation_.op != FrameOp::erase && mutation_.op != FrameOp::metadata;
    const bool is_typed = mutation_.op == FrameOp::typed_insert || mutation_.op == FrameOp::typed_upsert;
    const std::uint64_t dim = is_typed ? mutation_.element_count : mutation_.vector.size();
    const auto& metadata = mutation_.op == FrameOp::erase ? no_metadata_ : mutation_.metadata;
    if (out_->json()) {
      Json line{{"lsn", lsn}, {place_, frame.position.offset}, {"op", name_of(mutation_.op)}};
      line["id"] = json_of_id(mutation_.id);
      line["dimensions"] = has_vector ? Json(dim) : Json(nullptr);
      if (is_typed) {
        line["element_type"] = name_of(mutation_.element_type);
      }
      line["metadata_bytes"] = stored_bytes(metadata);
      line["aborted"] = is_aborted;
      if (body.op() == FrameOp::batch) {
        line["batch"] = {{"number", at + 1}, {"of", body.mutations()}};
      }
      if (options_->values) {
        line["vector"] = has_vector && !is_typed ? Json(mutation_.vector) : Json(nullptr);
        line["metadata"] = json_of_metadata(metadata);
      }
      out_->json_line(line);
      return;
    }
    std::string line = beginning(lsn, frame.position.offset, mutation_.op) + to_string(mutation_.id);
    if (has_vector) {
      line += "  " + std::to_string(dim) + (is_typed ? " " + std::string(name_of(mutation_.element_type)) : "") +
              (dim == 1 ? " component" : " components");
    }
    if (metadata) {
      line += "  " + std::to_string(stored_bytes(metadata)) + " bytes of metadata";
    }
    if (body.op() == FrameOp::batch) {
      line += "  " + std::to_string(at + 1) + " of a batch of " + std::to_string(body.mutations());
    }
    if (is_aborted) {
      line += "  " + out_->warning("aborted");
    }
    if (options_->values && has_vector && !is_typed) {
      line += "  " + Json(mutation_.vector).dump();
    }
    if (options_->values && metadata) {
      line += "  " + harmless(json_of_metadata(metadata).dump(-1, ' ', false, Json::error_handler_t::replace));
    }
    out_->line(line);
  }

  static std::string beginning(std::uint64_t lsn, std::uint64_t offset, FrameOp op) {
    std::array<char, 96> text{};
    const std::string name(name_of(op));
    std::snprintf(text.data(), text.size(), "%10" PRIu64 "  %12" PRIu64 "  %-12s  ", lsn, offset, name.c_str());
    return text.data();
  }

  static std::string ranges_text(const std::vector<iqdb::LsnRange>& ranges) {
    std::string text;
    for (const iqdb::LsnRange& range : ranges) {
      text += (text.empty() ? "" : ", ") + std::to_string(range.first) +
              (range.first == range.last ? "" : " to " + std::to_string(range.last));
    }
    return text;
  }

  static Json json_of_ranges(const std::vector<iqdb::LsnRange>& ranges) {
    Json list = Json::array();
    for (const iqdb::LsnRange& range : ranges) {
      list.push_back({{"first", range.first}, {"last", range.last}});
    }
    return list;
  }

  // What a control frame says beside its number and place.
  static void add_control(Json& line, const iqdb::FrameBody& body, const std::vector<iqdb::LsnRange>& names,
                          std::uint64_t covered_lsn) {
    if (body.op() == FrameOp::abort) {
      line["aborts"] = json_of_ranges(names);
    } else if (body.op() == FrameOp::checkpoint) {
      line["snapshot"] = {{"file_bytes", body.fingerprint().file_bytes},
                          {"checksum", iqdb::hexadecimal(body.fingerprint().region_crc32)},
                          {"lsn", covered_lsn}};
    } else if (body.op() == FrameOp::time) {
      line["milliseconds"] = body.time();
    }
  }

  static std::string control_text(const iqdb::FrameBody& body, const std::vector<iqdb::LsnRange>& names,
                                  std::uint64_t covered_lsn) {
    switch (body.op()) {
      case FrameOp::abort:
        return "takes back " + ranges_text(names);
      case FrameOp::checkpoint:
        return "a snapshot of " + std::to_string(body.fingerprint().file_bytes) + " bytes with the checksum " +
               iqdb::hexadecimal(body.fingerprint().region_crc32) + " holds those up to " + std::to_string(covered_lsn);
      case FrameOp::time:
        return iqdb::utc_text(body.time());
      default:
        return "in order";
    }
  }

  void print_control(const iqdb::LogFrame& frame, const iqdb::FrameBody& body, const std::vector<iqdb::LsnRange>& names,
                     std::uint64_t covered_lsn) {
    if (out_->json()) {
      Json line{{"lsn", frame.position.next_lsn}, {place_, frame.position.offset}, {"op", name_of(body.op())}};
      add_control(line, body, names, covered_lsn);
      out_->json_line(line);
      return;
    }
    out_->line(beginning(frame.position.next_lsn, frame.position.offset, body.op()) +
               control_text(body, names, covered_lsn));
  }

  void print_frame(const iqdb::LogFrame& frame, const iqdb::FrameBody& body, const std::vector<iqdb::LsnRange>& aborted,
                   const std::vector<iqdb::LsnRange>& names, std::uint64_t covered_lsn) {
    const std::uint64_t bytes = frame.end - frame.position.offset;
    std::uint64_t aborted_count = 0;
    for (const iqdb::LsnRange& range : aborted) {
      aborted_count += range.count();
    }
    if (out_->json()) {
      Json line{{"lsn", frame.position.next_lsn},
                {place_, frame.position.offset},
                {"bytes", bytes},
                {"op", name_of(body.op())},
                {"mutations", body.mutations()},
                {"aborted", aborted_count},
                {"checksum", iqdb::hexadecimal(frame.crc32)}};
      add_control(line, body, names, covered_lsn);
      out_->json_line(line);
      return;
    }
    std::array<char, 128> text{};
    const std::string name(name_of(body.op()));
    std::snprintf(text.data(), text.size(), "%10" PRIu64 "  %12" PRIu64 "  %8" PRIu64 "  %-12s  ",
                  frame.position.next_lsn, frame.position.offset, bytes, name.c_str());
    std::string line = text.data();
    if (body.mutations() == 0) {
      line += control_text(body, names, covered_lsn);
    } else {
      line += std::to_string(body.mutations()) + (body.mutations() == 1 ? " mutation" : " mutations");
    }
    if (aborted_count > 0) {
      line += "  " + out_->warning(std::to_string(aborted_count) + " aborted");
    }
    out_->line(line);
  }

  Output* out_;
  const LogOptions* options_;
  Filter filter_;
  const char* place_;
  iqdb::Mutation mutation_;
  std::optional<iqdb::Metadata> no_metadata_;
};

constexpr std::size_t piece_bytes = std::size_t{256} * 1024;

// A log that is open, and how far it was listed.
class OpenLog {
 public:
  explicit OpenLog(GrowingFile file)
      : file_(std::move(file)),
        identity_(iqdb::identify_log(file_)),
        position_(identity_.first_frame()),
        order_(identity_) {}

  [[nodiscard]] const iqdb::LogIdentity& identity() const noexcept { return identity_; }
  [[nodiscard]] const iqdb::LogPosition& position() const noexcept { return position_; }
  [[nodiscard]] GrowingFile& file() noexcept { return file_; }

  // Lists the frames behind the position, up to the end of the file as it is now. Of mutations up to `shown` it lists none.
  // Returns whether there was one. Throws PersistError log_corrupted for a frame that no writer makes.
  bool list(Listing& listing, std::uint64_t shown) {
    file_.refresh();
    iqdb::FrameReader reader(file_, identity_, position_, piece_bytes);
    bool any = false;
    while (const auto frame = reader.next()) {
      iqdb::FrameBody body = order_.take(*frame);
      const auto aborted = reader.abort_behind(*frame, body.mutations());
      reader.advance(body.mutations());
      // A frame was shown whole or not at all; one without mutations carries the number that comes next.
      if (reader.position().next_lsn - 1 > shown || (body.mutations() == 0 && frame->position.next_lsn > shown)) {
        listing.take(*frame, body, aborted, order_.aborted(), order_.covered_lsn());
      }
      position_ = reader.position();
      any = true;
    }
    return any;
  }

  // The bytes behind the last frame that are no zeros. Throws PersistError log_corrupted if they were durable.
  [[nodiscard]] std::uint64_t torn_bytes() {
    file_.refresh();
    return iqdb::FrameReader(file_, identity_, position_, piece_bytes).torn_bytes();
  }

 private:
  GrowingFile file_;
  iqdb::LogIdentity identity_;
  iqdb::LogPosition position_;
  iqdb::FrameOrder order_;
};

bool is_there(const fs::path& path) {
  std::error_code unknown;
  return fs::exists(path, unknown);
}

[[noreturn]] void throw_no_log(const fs::path& path, const fs::path& snapshot) {
  std::error_code unknown;
  iqdb::throw_persist_error(
      PersistErrorKind::io,
      fs::exists(snapshot, unknown) ? "the index has no log: it was saved with the log off"
                                    : "there is no such log; check the path",
      {.path = path, .code = std::make_error_code(std::errc::no_such_file_or_directory), .offset = {}});
}

OpenLog open_log(const fs::path& path, const fs::path& snapshot) {
  auto file = GrowingFile::open(path);
  if (!file) {
    throw_no_log(path, snapshot);
  }
  return OpenLog(std::move(*file));
}

// Lists a log to its end. What looks torn or damaged may be a record that is being written: it is read again from there,
// and only what stays is an end, or damage.
void list_to_the_end(OpenLog& log, Listing& listing) {
  constexpr int most_tries = 5;
  constexpr std::chrono::milliseconds pause{10};
  for (int tries = 1;; ++tries) {
    if (log.list(listing, 0)) {
      tries = 1;
    }
    try {
      const std::uint64_t torn = log.torn_bytes();
      if (torn == 0) {
        return;
      }
      if (tries >= most_tries) {
        listing.note("behind byte " + std::to_string(log.position().offset) + " stand " + std::to_string(torn) +
                         " bytes of a record that is being written, or that a crash cut off",
                     {{"torn_bytes", torn}, {"offset", log.position().offset}});
        return;
      }
    } catch (const iqdb::PersistError& error) {
      if (error.kind() != PersistErrorKind::log_corrupted || tries >= most_tries) {
        throw;
      }
    }
    std::this_thread::sleep_for(pause);
  }
}

// Lists a log and what is appended to it, and goes on in each log that takes its name.
[[noreturn]] void follow(OpenLog log, const fs::path& path, Listing& listing) {
  constexpr std::chrono::milliseconds pause{100};
  std::uint64_t shown = 0;
  for (;;) {
    // A log that lost its name gets no more records: what it holds now is all.
    const bool replaced = !log.file().has_name(path);
    log.list(listing, shown);
    listing.flush();
    if (replaced) {
      if (auto file = GrowingFile::open(path)) {
        const iqdb::LogIdentity before = log.identity();
        const std::uint64_t last = log.position().next_lsn - 1;
        log = OpenLog(std::move(*file));
        const bool goes_on = before.version >= 3 && log.identity().version >= 3 &&
                             before.header.history_id == log.identity().header.history_id;
        shown = goes_on ? last : 0;
        if (!goes_on) {
          listing.note("another history begins: the same numbers may be other mutations",
                       {{"history_id", name_of_id(log.identity().header.history_id)}});
        }
        continue;
      }
    }
    std::this_thread::sleep_for(pause);
  }
}

// ---- A log on an object store -------------------------------------------------------------------------------------------

// A frame of a log on an object store, and the object in which it stands.
struct PlacedFrame {
  const iqdb::LogObject* object;
  const iqdb::LogObjectFrame* frame;

  // With the number of the object as its place.
  [[nodiscard]] iqdb::LogFrame as_log_frame() const {
    const std::uint64_t number = object->header.number;
    const std::uint64_t bytes = iqdb::FrameHeader::bytes + frame->bytes;
    const auto header = iqdb::read_frame_header(
        std::span(object->bytes).subspan(frame->begin - iqdb::FrameHeader::bytes).first<iqdb::FrameHeader::bytes>());
    return {.position = {.offset = number, .next_lsn = frame->lsn},
            .end = number + bytes,
            .body = object->body(*frame),
            .crc32 = header.crc32,
            .fields = {}};
  }
};

// Lists objects that follow one another. An abort may name mutations of the frame before, also where that one is not among
// them.
void list_objects(Listing& listing, std::span<const iqdb::LogObject> objects, const std::string& name) {
  std::vector<PlacedFrame> frames;
  for (const iqdb::LogObject& object : objects) {
    if (object.header.kind == iqdb::LogObjectKind::fence) {
      frames.push_back({.object = &object, .frame = nullptr});
    }
    for (const iqdb::LogObjectFrame& frame : object.frames) {
      frames.push_back({.object = &object, .frame = &frame});
    }
  }
  const auto is_abort = [](const PlacedFrame& each) {
    return each.frame != nullptr && static_cast<FrameOp>(each.object->body(*each.frame).front()) == FrameOp::abort;
  };
  const auto body_of = [](const PlacedFrame& each) {
    return iqdb::FrameBody(each.object->body(*each.frame), iqdb::log_objects::frame_version);
  };
  for (std::size_t at = 0; at < frames.size(); ++at) {
    const PlacedFrame& each = frames[at];
    const std::uint64_t number = each.object->header.number;
    if (each.frame == nullptr) {
      listing.take_fence(each.object->header.base_lsn + 1, number);
      continue;
    }
    iqdb::naming_file(iqdb::log_object_key(name, number), [&] {
      iqdb::FrameBody body = body_of(each);
      std::vector<iqdb::LsnRange> aborted;
      // A fence may stand between a frame and its abort: who takes the log over finds out what is rejected.
      std::size_t behind = at + 1;
      while (behind < frames.size() && frames[behind].frame == nullptr) {
        ++behind;
      }
      if (behind < frames.size() && is_abort(frames[behind])) {
        aborted = body_of(frames[behind]).aborted_within(each.frame->lsn, each.frame->mutations);
      }
      const auto names = is_abort(each) ? body.aborted_within(1, each.frame->lsn - 1) : std::vector<iqdb::LsnRange>();
      const std::uint64_t covered =
          body.op() == FrameOp::checkpoint ? body.checkpoint_lsn().value_or(each.frame->lsn - 1) : 0;
      listing.take(each.as_log_frame(), body, aborted, names, covered);
    });
  }
}

// Lists what is written behind `run`, and goes on where a checkpoint has taken the place of what was not read yet.
[[noreturn]] void follow_objects(ObjectPlace& place, iqdb::ObjectRun run, Listing& listing) {
  constexpr std::chrono::milliseconds pause{200};  // a look costs two requests
  ObjectStorage storage = place.storage();
  const std::string& name = place.address.name;
  for (unsigned looks_in_vain = 0;;) {
    listing.flush();
    const iqdb::EndOfObjectLog end = iqdb::end_of_object_log(run, name);
    const std::uint64_t last_lsn = run.next_lsn() - 1;
    auto object = storage.object_of_log(name, end.next_number);
    if (object && end.goes_on_with(object->header, last_lsn)) {
      looks_in_vain = 0;
      run.objects.assign(1, std::move(*object));
      list_objects(listing, run.objects, name);
      continue;
    }
    if (!object && !storage.is_swept(end, ++looks_in_vain)) {
      std::this_thread::sleep_for(pause);
      continue;
    }
    run = run_at(place);
    const iqdb::LogObjectHeader& first = run.objects.front().header;
    const bool is_same = first.history_id == end.history_id;
    if (!is_same || first.base_lsn > last_lsn) {
      listing.note(is_same ? "a checkpoint took the place of the mutations from " + std::to_string(last_lsn + 1) +
                                 " to " + std::to_string(first.base_lsn) + " before they were listed"
                           : std::string("another history begins: the same numbers may be other mutations"),
                   {{"history_id", name_of_id(first.history_id)}, {"behind_lsn", first.base_lsn}});
    }
    const auto is_new = std::ranges::find_if(
        run.objects, [&](const iqdb::LogObject& each) { return !is_same || each.header.number >= end.next_number; });
    list_objects(listing, std::span(is_new, run.objects.end()), name);
  }
}

ExitCode log_of_objects(Output& out, const LogOptions& options) {
  ObjectPlace place = object_place(options.path, Access::reads);
  Listing listing(out, options, "object");
  iqdb::naming_file(place.text, [&] {
    iqdb::ObjectRun run = run_at(place);
    list_objects(listing, run.objects, place.address.name);
    if (options.follow) {
      follow_objects(place, std::move(run), listing);
    }
  });
  return ExitCode::fine;
}

ExitCode log(Output& out, const LogOptions& options) {
  out.answer_in_lines();
  if (iqdb::is_object_address(options.path)) {
    return log_of_objects(out, options);
  }
  const GivenPath given = look_at(options.path);
  if (given.kind == FileKind::missing && !given.names_log && !given.names_torn &&
      !is_there(iqdb::log_path(given.path))) {
    throw_missing(given);
  }
  const bool is_log = given.kind == FileKind::log || given.names_log || given.names_torn;
  if (!is_log && given.kind == FileKind::other) {
    throw_unknown(given, "no snapshot and no log");
  }
  const fs::path path = is_log ? given.path : iqdb::log_path(given.path);
  Listing listing(out, options);
  iqdb::naming_file(path, [&] {
    OpenLog opened = open_log(path, given.snapshot);
    if (options.follow) {
      follow(std::move(opened), path, listing);
    }
    list_to_the_end(opened, listing);
  });
  return ExitCode::fine;
}

}  // namespace

void add_log(Program& program) {
  auto options = std::make_shared<LogOptions>();
  CLI::App& command = program.add("log", "List the mutations of a log, one a line",
                                  [options](Output& out) { return log(out, *options); });
  std::vector<std::string> names;
  for (const OpName& each : op_names) {
    names.emplace_back(each.name);
  }
  command.add_option("path", options->path, "A snapshot, or its log, or the address of an index on an object store")
      ->required();
  command.add_option("--from", options->from, "Begin at this number")->option_text("LSN");
  command.add_option("--to", options->to, "End at this number")->option_text("LSN");
  command.add_option("--id", options->id, "Only mutations of this vector: a number, or bytes, also in double quotes")
      ->option_text("ID");
  command
      .add_option(
          "--op", options->ops,
          "Only these: insert, erase, upsert, metadata, typed-insert, typed-upsert, batch, abort, checkpoint, close, "
          "time; may be repeated")
      ->check(CLI::IsMember(names))
      ->option_text("OP")
      ->allow_extra_args(false);
  command.add_flag("--frames", options->frames, "List frames, as they were written, in place of mutations");
  command.add_flag("--values", options->values, "Also print vectors and metadata");
  command.add_flag("-f,--follow", options->follow, "Go on as the log grows, also over checkpoints, until interrupted");
}

}  // namespace iqdb_tool
