// An index whose save_to and load_from do what a test wants.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "iqdb/persist/bytes/stream.hpp"
#include "iqdb/persist/persistable.hpp"
#include "iqdb/types.hpp"

namespace iqdb_test {

/// Holds a text. Its payload is the text's length and its bytes, unless a script says otherwise.
class ScriptedIndex {
 public:
  static constexpr std::string_view index_type = "scripted";

  explicit ScriptedIndex(std::string text) : text_(std::move(text)) {}

  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  [[nodiscard]] std::size_t size() const noexcept { return text_.size(); }
  [[nodiscard]] static std::size_t dim() noexcept { return 1; }
  [[nodiscard]] static iqdb::DistanceMetric metric() noexcept { return iqdb::DistanceMetric::euclidean; }

  void save_to(iqdb::Writer& writer) const {
    if (on_save) {
      on_save(writer);
    }
    writer.write_le(std::uint64_t{text_.size()});
    writer.write_array(text_);
  }

  static ScriptedIndex load_from(iqdb::Reader& reader) { return on_load ? on_load(reader) : decode(reader); }

  static ScriptedIndex decode(iqdb::Reader& reader) {
    const auto length = reader.read_le<std::uint64_t>();
    return ScriptedIndex(reader.read_string(length));
  }

  inline static std::function<void(iqdb::Writer&)> on_save;           // called before the payload is written
  inline static std::function<ScriptedIndex(iqdb::Reader&)> on_load;  // called instead of decode

 private:
  std::string text_;
};

static_assert(iqdb::Persistable<ScriptedIndex>);

/// Sets a script for ScriptedIndex until it goes.
class Script {
 public:
  static Script saving(std::function<void(iqdb::Writer&)> script) {
    ScriptedIndex::on_save = std::move(script);
    return Script();
  }
  static Script loading(std::function<ScriptedIndex(iqdb::Reader&)> script) {
    ScriptedIndex::on_load = std::move(script);
    return Script();
  }
  Script(const Script&) = delete;
  Script& operator=(const Script&) = delete;
  ~Script() {
    ScriptedIndex::on_save = nullptr;
    ScriptedIndex::on_load = nullptr;
  }

 private:
  Script() = default;
};

}  // namespace iqdb_test
