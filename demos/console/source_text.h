// Everything that was typed or read from files, by file and line, so that errors can show the user's line.
#pragma once
#include <map>
#include <string>
#include <string_view>

namespace fluxion::console {

class SourceText {
 public:
  /// `text` starts at this line of `file`.
  void add(const std::string& file, int line, std::string_view text) {
    auto& lines = files_[file];
    for (std::size_t at = 0; at <= text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      lines[line++] = std::string(text.substr(at, end - at));
      at = end + 1;
    }
  }
  bool has(const std::string& file) const { return files_.count(file) != 0; }
  /// Null where nothing is known.
  const std::string* line(const std::string& file, int n) const {
    const auto f = files_.find(file);
    if (f == files_.end()) return nullptr;
    const auto l = f->second.find(n);
    return l == f->second.end() ? nullptr : &l->second;
  }

 private:
  std::map<std::string, std::map<int, std::string>> files_;
};

}  // namespace fluxion::console
