// The recipe, and why: a plain precompiled header lacks the code of inline functions, which a session then does not find. With
// -fpch-codegen that code is in the header's file, from which a shared library is made. Headers, flags and the compiler must be the
// same for header, library and session, so that the key of the folder covers all of them.
#include "prelude_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>

namespace fluxion::console {
namespace {

namespace fs = std::filesystem;

/// 128 bits of FNV-1a in two halves: names a folder, keeps no secret.
struct Hash {
  std::uint64_t a = 0xcbf29ce484222325u, b = 0x84222325cbf29ce4u;
  void add(std::string_view text) {
    for (const char c : text) {
      a = (a ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
      b = (b ^ static_cast<unsigned char>(c)) * 0x100000001b3u + (b >> 47);
    }
    a = (a ^ 0x100u) * 0x100000001b3u;
  }
  std::string text() const {
    char out[33];
    std::snprintf(out, sizeof out, "%016llx%016llx", static_cast<unsigned long long>(a), static_cast<unsigned long long>(b));
    return out;
  }
};

/// The folders of headers: beside the program where it is installed, else those of the source tree.
std::vector<std::string> include_folders() {
  std::error_code none;
  const fs::path installed = fs::read_symlink("/proc/self/exe", none).parent_path().parent_path() / "include";
  if (fs::exists(installed / "fluxion" / "console" / "prelude.h", none)) return {installed.string()};
  std::vector<std::string> out;
  std::istringstream in(FLUXION_CONSOLE_INCLUDES);
  for (std::string folder; std::getline(in, folder, ':');)
    if (!folder.empty()) out.push_back(folder);
  return out;
}

std::string contents(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string identity(const fs::path& program) {
  struct stat s{};
  if (stat(program.c_str(), &s) != 0) return {};
  return program.string() + std::to_string(s.st_size) + "," + std::to_string(s.st_mtim.tv_sec) + "," + std::to_string(s.st_mtim.tv_nsec);
}

fs::path cache_root() {
  const auto set = [](const char* name) -> const char* {
    const char* v = std::getenv(name);
    return v && *v ? v : nullptr;
  };
  if (const char* v = set("FLUXION_CACHE_DIR")) return v;
  if (const char* v = set("XDG_CACHE_HOME")) return fs::path(v) / "fluxion";
  if (const char* v = set("HOME")) return fs::path(v) / ".cache" / "fluxion";
  return fs::temp_directory_path() / ("fluxion-" + std::to_string(getuid()));
}

/// The cache folder, or where that cannot be written to one among the temporary files.
fs::path writable_root() {
  const fs::path temporary = fs::temp_directory_path() / ("fluxion-" + std::to_string(getuid()));
  for (const fs::path& root : {cache_root(), temporary}) {
    std::error_code failed;
    fs::create_directories(root / "console", failed);
    if (!failed && access((root / "console").c_str(), W_OK) == 0) return root;
  }
  throw std::runtime_error("no folder for the prelude: neither " + cache_root().string() + " nor " + temporary.string() +
                           " can be written to; set FLUXION_CACHE_DIR");
}

/// Code is loaded from there: it has to be the user's own, and nobody else may write to it.
void check_owner(const fs::path& folder) {
  struct stat s{};
  if (lstat(folder.c_str(), &s) != 0 || !S_ISDIR(s.st_mode)) throw std::runtime_error("cannot make the folder " + folder.string());
  if (s.st_uid != getuid() || (s.st_mode & 022) != 0)
    throw std::runtime_error(folder.string() +
                             " belongs to another user or may be written by others; set FLUXION_CACHE_DIR to a folder of your own");
}

/// Drops what was left by starts that were ended, and preludes that nobody has used for a month.
void tidy(const fs::path& root) {
  std::error_code none;
  const auto now = fs::file_time_type::clock::now();
  for (const auto& entry : fs::directory_iterator(root, none)) {
    const auto age = now - entry.last_write_time(none);
    const bool unfinished = entry.path().filename().string().starts_with("making-");
    if (age > std::chrono::hours(unfinished ? 1 : 24 * 30)) fs::remove_all(entry.path(), none);
  }
}

/// Runs a program with its output in `log`; its status.
int run(const std::vector<std::string>& command, const fs::path& log) {
  std::vector<char*> list;
  for (const std::string& c : command) list.push_back(const_cast<char*>(c.c_str()));
  list.push_back(nullptr);
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    const int out = open(log.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execvp(list[0], list.data());
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

}  // namespace

Prelude prepare_prelude(bool anew, void (*progress)(std::string_view text)) {
  const std::string compiler = FLUXION_CONSOLE_CLANG;
  std::vector<std::string> flags = {"-std=c++20", "-O0", "-fPIC", "-resource-dir", FLUXION_CONSOLE_RESOURCES, "-Wno-unused-value"};
  std::vector<fs::path> headers;
  std::error_code none;
  std::string prelude;
  for (const std::string& folder : include_folders()) {
    flags.push_back("-I" + folder);
    for (const auto& entry : fs::recursive_directory_iterator(folder, none))
      if (entry.is_regular_file(none)) headers.push_back(entry.path());
    if (const fs::path p = fs::path(folder) / "fluxion" / "console" / "prelude.h"; fs::exists(p, none)) prelude = p.string();
  }
  if (prelude.empty()) throw std::runtime_error("the headers of Fluxion are gone from where the console was built");
  std::sort(headers.begin(), headers.end());
  Hash key;
  for (const std::string& f : flags) key.add(f);
  key.add(identity(compiler));
  for (const fs::path& h : headers) key.add(h.string()), key.add(contents(h));

  const fs::path root = writable_root() / "console", home = root / key.text();
  const fs::path header = home / "prelude.pch", library = home / "libprelude.so";
  if (anew || !fs::exists(header, none) || !fs::exists(library, none)) {
    for (const fs::path& p : {root.parent_path(), root}) chmod(p.c_str(), 0700);
    check_owner(root);
    tidy(root);
    progress("compiling the prelude (once for this version) ...");
    // Made beside its place and then moved there: two consoles may start at once.
    const fs::path work = root / ("making-" + std::to_string(getpid()));
    fs::remove_all(work, none);
    fs::create_directory(work, none);
    chmod(work.c_str(), 0700);
    const fs::path log = work / "log";
    std::vector<std::string> first{compiler};
    first.insert(first.end(), flags.begin(), flags.end());
    std::vector<std::string> second = first;
    for (const char* f : {"-Xclang", "-fincremental-extensions", "-Xclang", "-fno-pch-timestamp", "-fpch-codegen",
                          "-fpch-instantiate-templates", "-x", "c++-header"})
      first.push_back(f);
    first.insert(first.end(), {prelude, "-o", (work / "prelude.pch").string()});
    second.insert(second.end(), {"-shared", (work / "prelude.pch").string(), "-o", (work / "libprelude.so").string()});
    for (const auto& command : {first, second})
      if (run(command, log) != 0) {
        const std::string said = contents(log);
        fs::remove_all(work, none);
        throw std::runtime_error("the prelude does not compile (" + compiler + ", package clang-19): " + said.substr(0, 2000));
      }
    fs::remove_all(home, none);
    fs::rename(work, home, none);
    fs::remove_all(work, none);
    progress("");
  }
  check_owner(home);
  fs::last_write_time(home, fs::file_time_type::clock::now(), none);  // in use
  Prelude out;
  out.arguments = flags;
  out.arguments.insert(out.arguments.end(), {"-include-pch", header.string()});
  out.library = library.string();
  return out;
}

}  // namespace fluxion::console
