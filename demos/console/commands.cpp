// Commands that look at code become calls of the prelude (fluxion/console/commands.h) around the user's own expression, which thereby may be
// any: `:ir fx::vjp(k)`. The others are done here.
#include "commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>

#include "fluxion/device.h"
#include "tour.h"

namespace fluxion::console {
namespace {

/// The argument of a command and where it stands.
struct Use {
  std::string name;  // of the command
  std::string text;
  Session::Place at;
};
struct Command {
  const char* name;
  const char* arguments;
  const char* what;
  bool (*run)(Session&, Use);
};
extern const std::array<Command, 21> kCommands;

std::string trimmed(std::string t) {
  while (!t.empty() && std::isspace(static_cast<unsigned char>(t.back()))) t.pop_back();
  std::size_t at = 0;
  while (at < t.size() && std::isspace(static_cast<unsigned char>(t[at]))) ++at;
  return t.substr(at);
}
std::string literal(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') out += "\\n";
    else out += c;
  }
  return out + "\"";
}

/// Takes "--name value" (the value may be missing) off the end; nothing where it is not there.
bool take_option(std::string& text, const std::string& name, std::string& value) {
  const std::size_t at = text.rfind(name);
  if (at == text.npos || (at > 0 && text[at - 1] != ' ')) return false;
  const std::string rest = text.substr(at + name.size());
  if (!rest.empty() && rest[0] != ' ') return false;
  value = trimmed(rest);
  if (value.find(' ') != value.npos) return false;
  text = trimmed(text.substr(0, at));
  return true;
}

const std::string kHost = "::fluxion::console::";
constexpr const char* kWanted = "this command takes a kernel, a function, or a call of a program: :ir k, :ir fx::grad(f), :ir p(x)";

bool code(Session& s, std::vector<std::string> texts, const Use& u, const std::string& hint = {}) {
  Request r;
  for (std::string& t : texts) r.texts.push_back(kBody + t);
  return s.run(std::move(r), false, hint, u.at);
}
/// Calls of the prelude for a kernel or function, or for a call of a program.
std::vector<std::string> looks(const std::string& what, const std::string& stage, const Use& u, const std::string& wrap = "") {
  const std::string open = wrap.empty() ? "(" : kHost + wrap + "(";
  std::vector<std::string> texts = {
      around(fmt::format("{}show_code({}, {}, {}", kHost, literal(what), literal(stage), open), u.text, u.at, "));")};
  if (const auto call = split_call(u.text))
    texts.push_back(
        around(fmt::format("{}show_program({}, {}", kHost, literal(what), open), call->first, u.at, fmt::format("))({});", call->second)));
  return texts;
}
/// The options of a command that has none.
bool has_option(Session& s, const Use& u) {
  const std::size_t at = u.text.find(" --");
  if (at == u.text.npos || at + 3 >= u.text.size() || !std::isalpha(static_cast<unsigned char>(u.text[at + 3]))) return false;
  const std::string option = u.text.substr(at + 1, u.text.find(' ', at + 1) - at - 1);
  Session::Place place = u.at;
  place.column += static_cast<int>(at) + 1;
  s.refuse(fmt::format(":{} has no {}; :help {} shows what it takes", u.name, option, u.name), place);
  return true;
}
/// :lowered, :llvm and the like: the command has the name of what it shows.
bool look(Session& s, Use u) {
  if (u.text.empty()) return s.refuse(fmt::format(":{0} needs a kernel: :{0} k", u.name), u.at);
  if (has_option(s, u)) return false;
  return code(s, looks(u.name, "", u), u, kWanted);
}

bool ir(Session& s, Use u) {
  std::string stage;
  if (take_option(u.text, "--stage", stage) && stage.empty()) stage = "all";
  if (u.text.empty()) return s.refuse(":ir needs a kernel, a function, or a call of a program: :ir k", u.at);
  return code(s, looks("ir", stage, u), u, kWanted);
}
bool grad(Session& s, Use u) {
  std::string stage;
  if (take_option(u.text, "--stage", stage) && stage.empty()) stage = "all";
  if (u.text.empty()) return s.refuse(":grad needs a kernel, a function, or a call of a program: :grad k", u.at);
  return code(s, looks("ir", stage, u, "derivative"), u, kWanted);
}
bool explain(Session& s, Use u) {
  if (u.text.empty()) return s.refuse(":explain needs a kernel or a function: :explain k", u.at);
  if (has_option(s, u)) return false;
  return code(s, {around(kHost + "show_explanation((", u.text, u.at, "));")}, u, ":explain takes a kernel or a function");
}
bool time(Session& s, Use u) {
  if (u.text.empty()) return s.refuse(":time needs a call: :time k(x, y)", u.at);
  std::vector<std::string> texts;
  if (const auto call = split_call(u.text))
    texts.push_back(around(kHost + "timed((", call->first, u.at, fmt::format("))({});", call->second)));
  texts.push_back(around(kHost + "time_expression([]() -> decltype(auto) { return (", u.text, u.at, "); });"));
  return code(s, texts, u, ":time takes a call with all that it is called with: :time k(x, y); the kernel's name alone shows what that is");
}
bool check(Session& s, Use u) {
  const auto call = split_call(u.text);
  if (!call) return s.refuse(":check needs a call of a kernel or program: :check k(x, y)", u.at);
  const std::string comma = trimmed(call->second).empty() ? "" : ", ";
  return code(s, {around(kHost + "report(::fluxion::check_gradient((", call->first, u.at, fmt::format("){}{}));", comma, call->second))}, u,
              ":check takes a call of a kernel or program with its arguments: :check k.over(n)(x, y)");
}
bool is_number(const std::string& t) {
  char* end = nullptr;
  std::strtod(t.c_str(), &end);
  return !t.empty() && end == t.c_str() + t.size();
}
bool plot(Session& s, Use u) {
  std::string out;
  if (take_option(u.text, "--out", out) && out.empty()) return s.refuse(":plot --out needs a file", u.at);
  // Two numbers at the end are the interval.
  std::string low, high, expression = u.text;
  const auto last_word = [](std::string& t) {
    const std::size_t at = t.rfind(' ');
    if (at == t.npos) return std::string();
    std::string word = t.substr(at + 1);
    t = trimmed(t.substr(0, at));
    return word;
  };
  std::string rest = expression;
  high = last_word(rest), low = last_word(rest);
  std::string interval;
  if (is_number(low) && is_number(high) && !rest.empty()) expression = rest, interval = ", " + low + ", " + high;
  if (low.empty() && is_number(high) && !rest.empty() && rest.find_first_of("+-*/,<>=&|?:") == rest.npos)
    return s.refuse(":plot takes both ends of the interval: :plot f -6 6", u.at);
  if (!interval.empty() && std::strtod(low.c_str(), nullptr) >= std::strtod(high.c_str(), nullptr))
    return s.refuse(fmt::format(":plot: the interval from {} to {} is empty; the lower end comes first", low, high), u.at);
  if (expression.empty()) return s.refuse(":plot needs an array or a function: :plot x, :plot f -6 6, :plot x --out x.png", u.at);
  return code(
      s,
      {around(fmt::format("{}plot({}, {}, (", kHost, literal(expression), literal(out)), expression, u.at, fmt::format("){});", interval))},
      u, ":plot takes a buffer, a std::vector of numbers, or a function of one number");
}

bool set_variable(Session& s, const std::string& name, const std::string& value, bool quiet = false) {
  Request r;
  r.verb = Request::Verb::set;
  r.texts = {name, value};
  if (!s.run(r, true)) return false;
  s.note_setting(name, value);
  if (!quiet) s.say(value.empty() ? name + " is not set" : name + "=" + value);
  return true;
}
bool device(Session& s, Use u) {
  if (!u.text.empty()) return set_variable(s, "FLUXION_DEVICE", u.text, false);
  Request r;
  r.verb = Request::Verb::set;
  std::string out;
  const auto names = s.query(r);
  for (std::size_t k = 0; k + 2 < names.size(); k += 3)
    out += fmt::format("{} {:<10} {}\n", names[k + 2].empty() ? " " : "*", names[k], names[k + 1]);
  if (names.empty()) return false;
  s.say(out);
  return true;
}
bool set(Session& s, Use u) {
  constexpr std::array<std::pair<const char*, const char*>, 4> kNames = {
      {{"debug", "FLUXION_DEBUG"}, {"dump", "FLUXION_DUMP"}, {"threads", "FLUXION_THREADS"}, {"device", "FLUXION_DEVICE"}}};
  if (u.text.empty()) {
    std::string out =
        "debug bounds,nan,inf,race,verify | off   what kernels and programs made from now on check\n"
        "dump  all | captured,llvm,asm,... | off    stages that are printed while they are compiled\n"
        "threads N                                  of the CPU device\n"
        "device NAME                                what fx::Device::best() gives\n"
        "time on | off                              how long each input took\n"
        "colour on | off\n";
    for (const auto& [name, value] : s.settings) out += fmt::format("now: {}={}\n", name, value);
    s.say(out);
    return true;
  }
  const std::size_t space = u.text.find(' ');
  const std::string name = u.text.substr(0, space);
  std::string value = space == u.text.npos ? "" : trimmed(u.text.substr(space));
  if (name == "time" || name == "colour" || name == "color") {
    if (value != "on" && value != "off") return s.refuse(fmt::format(":set {} is on or off", name), u.at);
    (name == "time" ? s.show_time : s.options().colours) = value == "on";
    return true;
  }
  if (value == "off") value.clear();
  if (name == "debug")
    for (std::size_t at = 0; at < value.size();) {
      const std::size_t end = std::min(value.find(',', at), value.size());
      const std::string word = value.substr(at, end - at);
      if (word != "bounds" && word != "nan" && word != "inf" && word != "race" && word != "verify")
        return s.refuse(fmt::format(":set debug: no check \"{}\"; there are: bounds, nan, inf, race, verify", word), u.at);
      at = end + 1;
    }
  if (name == "threads" && !value.empty() && std::atoi(value.c_str()) < 1)
    return s.refuse(fmt::format(":set threads takes a number from 1 on, not \"{}\"", value), u.at);
  for (const auto& [each, variable] : kNames)
    if (name == each) return set_variable(s, variable, value);
  return s.refuse(fmt::format(":set: nothing is called \"{}\"; there are: debug, dump, threads, device, time, colour", name), u.at);
}

bool load(Session& s, Use u) { return u.text.empty() ? s.refuse(":load needs a file", u.at) : s.load(u.text, u.at); }
bool save(Session& s, Use u) { return u.text.empty() ? s.refuse(":save needs a file", u.at) : s.save(u.text, u.at); }
bool undo(Session& s, Use u) {
  const int count = u.text.empty() ? 1 : std::atoi(u.text.c_str());
  return count > 0 ? s.undo(count, u.at) : s.refuse(":undo takes a number of inputs", u.at);
}
bool reset(Session& s, Use) {
  s.reset();
  s.say("a new session");
  return true;
}
bool vars(Session& s, Use) {
  Request r;
  r.verb = Request::Verb::variables;
  const auto names = s.query(r);
  std::string out;
  std::size_t wide = 0, type = 0;
  for (std::size_t k = 0; k + 2 < names.size(); k += 3)
    wide = std::max(wide, names[k].size()), type = std::max(type, std::min<std::size_t>(names[k + 1].size(), 28));
  for (std::size_t k = 0; k + 2 < names.size(); k += 3) {
    std::string t = names[k + 1], value = names[k + 2].substr(0, names[k + 2].find('\n'));
    if (t.size() > 28) t = t.substr(0, 25) + "...";
    out += fmt::format("{:<{}}  {:<{}}  {}\n", names[k], wide, t, type, value);
  }
  s.say(out.empty() ? "no variables yet" : out);
  return true;
}
bool quit(Session& s, Use u) {
  if (u.text.find_first_not_of("0123456789") != u.text.npos) return s.refuse(":quit takes a status: :quit 1", u.at);
  s.quit(u.text.empty() ? 0 : std::atoi(u.text.c_str()));
  return true;
}
bool tour(Session& s, Use u) {
  const std::vector<TourStep> steps = tour_steps(kTour);
  const int count = static_cast<int>(steps.size());
  const int n = u.text.empty() ? s.tour_step + 1 : std::atoi(u.text.c_str());
  if (n < 1 || n > count) {
    s.tour_step = 0;
    return u.text.empty() ? (s.say("that was the tour; :tour starts again, docs/guide.md goes on"), true)
                          : s.refuse(fmt::format("the tour has the steps 1 to {}", count), u.at);
  }
  const TourStep& step = steps[static_cast<std::size_t>(n - 1)];
  s.say(step.title + "\n" + step.text);
  s.tour_step = n;
  if (!s.type(step.code, fmt::format("tour {}", n))) return false;
  s.say(n < count ? "(:tour for the next step)" : "(the end of the tour)");
  return true;
}
bool help(Session& s, Use u);

// Sorted as :help shows them.
const std::array<Command, 21> kCommands = {{
    {"ir", "k [--stage NAME]", "the text form; --stage: after a pass, or after each", ir},
    {"grad", "k [--stage NAME]", "the text form of the reverse-mode derivative", grad},
    {"lowered", "k", "the text form as the device's compiler gets it", look},
    {"llvm", "k", "the LLVM code that the CPU runs", look},
    {"asm", "k", "the machine code that the CPU runs", look},
    {"ptx", "k", "the code for CUDA devices", look},
    {"spirv", "k", "the code for Vulkan devices", look},
    {"explain", "k", "what a kernel costs, how it uses its arrays, what its derivative needs", explain},
    {"time", "k(args)", "median time on each device, beside its limits; of any expression on the best device", time},
    {"check", "k(args)", "compare the derivatives: reverse, forward, central differences", check},
    {"plot", "x | f [LOW HIGH] [--out FILE.png]", "draw a buffer, numbers, or a function", plot},
    {"device", "[NAME]", "list the devices, or choose the one that fx::Device::best() gives", device},
    {"set", "[NAME VALUE]", "debug nan,bounds; dump; threads; time; colour", set},
    {"vars", "", "the variables with their types and values", vars},
    {"undo", "[N]", "take the last input back: the others are run again", undo},
    {"load", "FILE", "run the inputs of a file", load},
    {"save", "FILE", "write what has run so far, to be loaded again", save},
    {"reset", "", "forget everything", reset},
    {"tour", "[N]", "ten steps, typed for you: from a first kernel to the derivative of a simulation", tour},
    {"help", "[COMMAND]", "this list", help},
    {"quit", "[STATUS]", "leave (or Ctrl-D)", quit},
}};

bool help(Session& s, Use u) {
  if (!u.text.empty() && u.text[0] == ':') u.text.erase(0, 1);
  std::string out;
  std::size_t wide = 0;
  for (const Command& c : kCommands) wide = std::max(wide, std::string(c.name).size() + std::string(c.arguments).size() + 2);
  for (const Command& c : kCommands)
    if (u.text.empty() || u.text == c.name) out += fmt::format("{:<{}}  {}\n", fmt::format(":{} {}", c.name, c.arguments), wide, c.what);
  if (out.empty()) return s.refuse(fmt::format("no command \"{}\"; :help lists them", u.text), u.at);
  if (u.text.empty())
    out +=
        "Anything else is C++20 with <fluxion/fluxion.h> and `namespace fx = fluxion`. An expression without a semicolon prints its "
        "value.\n"
        "Names may be defined again. Ctrl-C stops what runs, Tab completes, Ctrl-R searches the history.\n";
  s.say(out);
  return true;
}

}  // namespace

namespace {
std::vector<std::string> names_of_commands(const std::string& start) {
  std::vector<std::string> out;
  for (const Command& c : kCommands)
    if ((":" + std::string(c.name)).starts_with(start)) out.push_back(":" + std::string(c.name));
  std::sort(out.begin(), out.end());
  return out;
}
}  // namespace

bool run_command(Session& session, const std::string& text, const Session::Place& at) {
  std::size_t end = 1;
  while (end < text.size() && std::isalnum(static_cast<unsigned char>(text[end]))) ++end;
  const std::string name = text.substr(1, end - 1);
  std::size_t begin = end;
  while (begin < text.size() && std::isspace(static_cast<unsigned char>(text[begin]))) ++begin;
  Use use{name, trimmed(text.substr(begin)), at};
  use.at.column += static_cast<int>(begin);
  const Command* found = nullptr;
  int starts = 0;
  for (const Command& c : kCommands) {
    if (name == c.name) {
      found = &c, starts = 1;
      break;
    }
    if (std::string(c.name).starts_with(name)) found = &c, ++starts;
  }
  if (starts == 1) {
    use.name = found->name;
    return found->run(session, use);
  }
  if (starts == 0 || name.empty()) return session.refuse(fmt::format("no command :{}; :help lists them", name), at);
  std::string list;
  for (const std::string& each : names_of_commands(":" + name)) list += (list.empty() ? "" : ", ") + each;
  return session.refuse(fmt::format(":{} may be {}", name, list), at);
}

namespace {

/// Files and folders that a half-typed path may become; only the part after the last character that ends a word, as others complete.
std::vector<std::string> complete_path(const std::string& typed) {
  namespace fs = std::filesystem;
  const std::size_t slash = typed.rfind('/');
  const std::string folder = slash == typed.npos ? "." : typed.substr(0, slash + 1), name = typed.substr(slash + 1);
  std::size_t word = name.size();
  while (word > 0 && (std::isalnum(static_cast<unsigned char>(name[word - 1])) || name[word - 1] == '_')) --word;
  std::vector<std::string> out;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    std::string each = entry.path().filename().string();
    if (!each.starts_with(name) || (name.empty() && each.starts_with('.'))) continue;
    if (entry.is_directory(none)) each += '/';
    out.push_back(each.substr(word));
  }
  return out;
}

}  // namespace

std::optional<std::vector<std::string>> complete_command(const std::string& before) {
  std::vector<std::string> all, out;
  const std::size_t space = before.find(' ');
  std::string typed = before;
  if (space == before.npos) {
    return names_of_commands(before);
  } else {
    const std::string name = before.substr(1, space - 1);
    typed = before.substr(before.find_last_of(" ,") + 1);
    const bool first =
        before.find_first_not_of(' ', space) == before.npos || before.find(' ', before.find_first_not_of(' ', space)) == before.npos;
    if (name == "load" || name == "save") out = complete_path(typed);
    else if (name == "device") all = Device::names();
    else if (name == "set" && first) all = {"debug", "dump", "threads", "device", "time", "colour"};
    else if (name == "set" && before.find(" debug ") != before.npos) all = {"bounds", "nan", "inf", "race", "verify", "off"};
    else if (name == "set" && before.find(" device ") != before.npos) all = Device::names();
    else if (name == "set") all = {"on", "off"};
    else if (name == "help")
      for (const Command& c : kCommands) all.push_back(c.name);
    else return {};
  }
  for (const std::string& each : all)
    if (each.starts_with(typed)) out.push_back(each);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace fluxion::console
