// Runs the console as its users do: as a program with pipes, or at a terminal (a pseudo-terminal that is typed into).
#pragma once
#include <catch2/catch.hpp>
#include <string>
#include <utility>
#include <vector>

namespace console_test {

struct Outcome {
  int status = -1;
  std::string out, error;
};
/// `part` is in `text`; where it is not, the failing check shows both.
inline bool has(const std::string& text, const std::string& part) {
  if (text.find(part) != text.npos) return true;
  UNSCOPED_INFO("no \"" << part << "\" in:\n" << text);
  return false;
}

/// Runs the console with these arguments and standard input to its end.
Outcome run(const std::vector<std::string>& arguments, const std::string& input = "");
/// A value of the environment of all consoles that are started from now on.
void set_environment(const std::string& name, const std::string& value);

/// A console at a terminal of 100 columns.
class Typed {
 public:
  explicit Typed(const std::vector<std::string>& arguments = {});
  ~Typed();
  Typed(const Typed&) = delete;

  /// Types this as it is.
  void type(const std::string& text);
  /// Types a line and waits for the next prompt; what was printed in between, without control sequences.
  std::string line(const std::string& text);
  /// Reads until this appears, at most so long; false where it does not. What was read is in seen().
  bool wait_for(const std::string& text, double seconds = 30);
  /// What has been printed since the last line() or clear().
  const std::string& seen() const { return seen_; }
  void clear() { seen_.clear(), raw_.clear(); }
  const std::string& raw() const { return raw_; }
  /// After :quit or the end of input: the exit status, -1 where it does not end.
  int end();

 private:
  bool read_some(double seconds);
  int terminal_ = -1, child_ = -1;
  std::string seen_, raw_;
};

/// An empty folder of the test's own, gone with it.
class Folder {
 public:
  Folder();
  ~Folder();
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace console_test
