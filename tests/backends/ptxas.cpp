// See the header.
#include "ptxas.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>

#include "fluxion/error.h"

namespace fluxion::testing {
namespace {

namespace fs = std::filesystem;

struct Batch {
  std::vector<std::string> modules;
  std::string arch;
};
struct Outcome {
  std::map<std::string, Assembled> entries;
  std::string error;
};
struct Waiting {
  Batch now[2];
  std::vector<std::future<Outcome>> running;
  int kernels = 0;
};
Waiting& waiting() {
  static Waiting w;
  return w;
}

Outcome run(const Batch& b) {
  Outcome o;
  try {
    o.entries = assemble(b.modules, b.arch);
  } catch (const std::exception& e) { o.error = e.what(); }
  return o;
}

void start(Batch& b) {
  if (b.modules.empty()) return;
  waiting().running.push_back(std::async(std::launch::async, run, std::exchange(b, {{}, b.arch})));
}

constexpr std::size_t kInBatch = 40;

}  // namespace

const std::string& ptxas() {
  static const std::string found = [] {
    std::vector<std::string> places;
    const auto variable = [](const char* name) { return std::string(std::getenv(name) ? std::getenv(name) : ""); };
    if (!variable("PTXAS").empty()) places.push_back(variable("PTXAS"));
    std::stringstream path(variable("PATH"));
    for (std::string part; std::getline(path, part, ':');) places.push_back(part + "/ptxas");
    if (!variable("CUDA_HOME").empty()) places.push_back(variable("CUDA_HOME") + "/bin/ptxas");
    places.push_back("/usr/local/cuda/bin/ptxas");
    for (const std::string& p : places)
      if (access(p.c_str(), X_OK) == 0 && fs::is_regular_file(p)) return p;
    return std::string();
  }();
  return found;
}

std::map<std::string, Assembled> assemble(const std::vector<std::string>& modules, const std::string& arch) {
  static std::atomic<int> next = 0;
  const fs::path file = fs::temp_directory_path() / ("fluxion_ptx_" + std::to_string(getpid()) + "_" + std::to_string(next++) + ".ptx");
  {
    // One head for all.
    std::ofstream out(file);
    for (std::size_t k = 0; k < modules.size(); ++k) {
      std::stringstream lines(modules[k]);
      for (std::string line; std::getline(lines, line);)
        if (k == 0 || !(line.starts_with(".version") || line.starts_with(".target") || line.starts_with(".address_size")))
          out << line << '\n';
    }
  }
  FILE* pipe = popen((ptxas() + " -v -arch " + arch + " -o /dev/null " + file.string() + " 2>&1").c_str(), "r");
  if (!pipe) throw std::runtime_error("ptxas cannot be started");
  std::string text;
  char piece[4096];
  while (const std::size_t n = fread(piece, 1, sizeof piece, pipe)) text.append(piece, n);
  const int status = pclose(pipe);
  if (status != 0) throw std::runtime_error("ptxas refuses " + file.string() + ":\n" + text);
  if (!std::getenv("FLUXION_SHOW_SPILLS")) fs::remove(file);
  std::map<std::string, Assembled> out;
  std::stringstream lines(text);
  Assembled* now = nullptr;
  const auto number_before = [](const std::string& line, const char* what) {
    const std::size_t at = line.find(what);
    if (at == std::string::npos) return 0;
    std::size_t begin = line.find_last_of(" \t,", at - 2);
    return std::atoi(line.c_str() + (begin == std::string::npos ? 0 : begin + 1));
  };
  for (std::string line; std::getline(lines, line);) {
    const std::size_t at = line.find("Compiling entry function '");
    if (at != std::string::npos) {
      const std::size_t begin = at + 26;
      now = &out[line.substr(begin, line.find('\'', begin) - begin)];
    } else if (now) {
      now->stack += number_before(line, " bytes stack frame");
      now->spills += number_before(line, " bytes spill stores");
      now->shared += number_before(line, " bytes smem");
      const std::size_t used = line.find("Used ");
      if (used != std::string::npos) now->registers = std::atoi(line.c_str() + used + 5);
    }
  }
  return out;
}

void make_ptx(const Function& f, const CompileOptions& options, const std::string& arch, const std::string& name,
              std::vector<std::string>& modules) {
  const gpu::Plan plan = cuda::plan(f, options);
  if (!plan.host.empty()) return;
  int k = 0;
  for (const gpu::Stage& s : plan.stages) {
    for (const Function* kernel : {&s.kernel, s.count ? &*s.count : nullptr})
      if (kernel) {
        const std::string entry = name + "_" + std::to_string(k++);
        modules.push_back(cuda::ptx(*kernel, {.arch = arch, .entry = entry, .compact = k % 4 != 0, .fast = options.fast}));
      }
  }
}

void assemble_later(const Function& f, const CompileOptions& options) {
  if (ptxas().empty()) return;
  Waiting& w = waiting();
  const int n = w.kernels++;
  Batch& b = w.now[n % 2];
  b.arch = n % 2 ? "sm_90" : "sm_75";
  std::string name = f.name;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  make_ptx(f, options, b.arch, name + "_" + std::to_string(n), b.modules);
  if (b.modules.size() >= kInBatch) start(b);
}

std::vector<std::string> refused(int& kernels, std::map<std::string, Assembled>& all) {
  Waiting& w = waiting();
  for (Batch& b : w.now) start(b);
  std::vector<std::string> out;
  for (auto& f : w.running) {
    Outcome o = f.get();
    if (!o.error.empty()) out.push_back(o.error);
    all.merge(o.entries);
  }
  kernels = w.kernels;
  w.running.clear();
  return out;
}

}  // namespace fluxion::testing
