// What the two processes of the console say to each other: the front end asks, the engine answers, one question at a time.
// A message is a list of strings, each with its length before it.
#pragma once
#include <optional>
#include <string>
#include <vector>

namespace fluxion::console {

/// The first character of C++ says what it is to be read as.
/// kBody: the body of a function that is to be called. kStatement: such a body, refused where it declares anything, which would be lost.
/// kDeclaration: declarations that may take the place of others. kOutermost: what cannot stand in a namespace that is made for it; asked
/// only where it comes first or clang says that the place of a declaration is wrong. kType: a type, which is an error. kDescription: at the
/// outermost level, where private members may be named. Anything else stands at the outermost level as it is.
inline constexpr char kBody = '\1', kDeclaration = '\2', kStatement = '\3', kOutermost = '\4', kType = '\5', kDescription = '\6';

struct Request {
  enum class Verb : char { run = 'r', complete = 'c', variables = 'v', set = 's' };
  Verb verb = Verb::run;
  /// run: C++, read in different ways; the first that compiles is run, the errors are those of the first that is no misunderstanding.
  /// complete: the text before the cursor. set: a name and a value.
  std::vector<std::string> texts;
  bool quiet = false;  // run again after a crash: nothing is printed
};

/// A value that printed itself.
struct Shown {
  std::string text, type;
};

/// A place in what the user wrote, or in a header.
struct Message {
  std::string level;  // "error", "warning", "note"
  std::string text, file;
  int line = 0, column = 0, width = 0;  // of what is underlined, on that line
};

struct Reply {
  /// "" when all went well, else what kind of failure: "compile", "link", "exception", an fx::Error by its class, "check", "command",
  /// "engine", and "untried" where no copy of the process could be made: nothing has run
  std::string failure;
  std::vector<Shown> shown;
  std::vector<Message> messages;
  bool echo = false;               // an expression that changes nothing
  int form = 0;                    // run: which of the texts it was
  std::vector<std::string> names;  // complete: the candidates; variables: name, type, value, and so on
  double milliseconds = 0;
  bool broken = false;  // the engine is of no use any more: another one is to take its place
};

std::string pack(const Request& r);
std::string pack(const Reply& r);
/// Nothing when the text is no such message.
std::optional<Request> unpack_request(const std::string& text);
std::optional<Reply> unpack_reply(const std::string& text);

/// False when the other side is gone.
bool send(int descriptor, const std::string& message);
/// Blocks; nothing when the other side is gone.
std::optional<std::string> receive(int descriptor);

}  // namespace fluxion::console
