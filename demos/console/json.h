// For editors and notebooks: an object for each input, on a line of its own.
#pragma once
#include <string>

#include "session.h"

namespace fluxion::console {

/// {"id": ..., "ok": ..., "values": [{"text", "type"}], "output", "errors", "error": {"kind", "message", "file", "line", "column", "report"}, "ms"}
std::string to_json(const Record& record, const std::string& id, const std::string& file, int line);

/// What a line asks for: {"code": "..."} or a string; {"complete": "text before the cursor"}; each may have an "id".
struct JsonRequest {
  bool good = false, completes = false;
  std::string id, text;  // id: as JSON, "null" where there is none
};
JsonRequest from_json(const std::string& line);
std::string names_to_json(const std::vector<std::string>& names, const std::string& id);

}  // namespace fluxion::console
