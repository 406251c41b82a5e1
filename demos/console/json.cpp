#include "json.h"

#include <nlohmann/json.hpp>

namespace fluxion::console {
namespace {

using nlohmann::json;
std::string line_of(const json& j) { return j.dump(-1, ' ', false, json::error_handler_t::replace); }

}  // namespace

std::string to_json(const Record& r, const std::string& id, const std::string& file, int line) {
  json out = {{"id", json::parse(id)}, {"ok", r.failure.empty()}, {"values", json::array()},
              {"output", r.out},       {"errors", r.error},       {"ms", r.milliseconds}};
  for (const Shown& s : r.values) out["values"].push_back({{"text", s.text}, {"type", s.type}});
  if (!r.warnings.empty()) out["warnings"] = r.warnings;
  if (r.replayed > 0) out["replayed"] = r.replayed;
  if (!r.failure.empty()) {
    out["error"] = {{"kind", r.failure}, {"message", r.message}, {"report", r.report}};
    if (!r.place.file.empty()) {
      // Lines are those of the input; a place in a file that it loaded, or in an earlier input, keeps its own.
      const bool here = r.place.file == file && r.place.line >= line;
      out["error"]["file"] = here ? json() : json(r.place.file);
      out["error"]["line"] = here ? r.place.line - line + 1 : r.place.line;
      if (r.place.column > 0) out["error"]["column"] = r.place.column;
    }
  }
  return line_of(out);
}

JsonRequest from_json(const std::string& text) {
  JsonRequest r;
  r.id = "null";
  const json j = json::parse(text, nullptr, false);
  if (j.is_string()) {
    r.good = true;
    r.text = j.get<std::string>();
  } else if (j.is_object()) {
    if (j.contains("id")) r.id = line_of(j["id"]);
    r.completes = j.contains("complete");
    const auto found = j.find(r.completes ? "complete" : "code");
    if (found != j.end() && found->is_string()) r.good = true, r.text = found->get<std::string>();
  }
  return r;
}

std::string names_to_json(const std::vector<std::string>& names, const std::string& id) {
  return line_of({{"id", json::parse(id)}, {"ok", true}, {"names", names}});
}

}  // namespace fluxion::console
