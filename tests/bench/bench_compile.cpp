// How long code takes to be made: a kernel of 60 operations, the same from the disk cache, and a user's source file.
// Compiling is measured in processes of their own, so that the first of a process and its cold caches count.
#include <fluxion/fluxion.h>
#include <stdlib.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <stdexcept>
#include <string>

#include "bench.h"

namespace {
namespace fx = fluxion;

/// 60 arithmetic operations; `salt` makes a kernel that no cache has.
auto sixty(float salt) {
  return fx::kernel("sixty", [salt](fx::In<float> x, fx::Out<float> y) {
    fx::Float a = x[fx::index()], b = a + salt;
    for (int i = 0; i < 19; ++i) {
      a = a * b + float(i + 1);  // two operations
      b = b - a;
    }
    a = a * a;
    y[fx::index()] = a + b;
  });
}

/// Prints the processor time of the first launch of `sixty`, less that of a launch of code that is there already.
int child(const std::string& what) {
  const fx::Device dev = fx::Device::cpu();
  auto x = dev.zeros<float>(1), y = dev.zeros<float>(1);
  if (what != "first") {  // the process has compiled something before
    sixty(-1.0f).over(1)(x, y);
    dev.wait();
  }
  auto kernel = sixty(what == "load" ? -2.0f : std::strtof(std::getenv("FLUXION_BENCH_SALT"), nullptr));
  const double begin = bench::cpu_seconds();
  kernel.over(1)(x, y);
  dev.wait();
  const double first = bench::cpu_seconds();
  kernel.over(1)(x, y);
  dev.wait();
  std::printf("%.9g\n", (first - begin) - (bench::cpu_seconds() - first));
  return 0;
}

double output_of(const std::string& command) {
  std::FILE* pipe = popen(command.c_str(), "r");
  double value = -1;
  if (!pipe || std::fscanf(pipe, "%lf", &value) != 1) value = -1;
  if (!pipe || pclose(pipe) != 0 || value < 0) throw std::runtime_error("failed: " + command);
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  bench::Suite suite(argc, argv);
  if (!suite.child().empty()) return child(suite.child());
  std::string cache = (std::filesystem::temp_directory_path() / "fluxion-bench-XXXXXX").string();
  if (!mkdtemp(cache.data())) throw std::runtime_error("no temporary folder");
  setenv("FLUXION_CACHE_DIR", cache.c_str(), 1);
  auto best = [&](const std::string& what) {
    double least = std::numeric_limits<double>::infinity();
    for (int round = 0; round < 9; ++round) {
      setenv("FLUXION_BENCH_SALT", std::to_string(1 + round + (what == "first" ? 0.25 : 0.5)).c_str(), 1);
      least = std::min(least, output_of(std::string(argv[0]) + " --threads 1 --child " + what));
    }
    return least;
  };
  suite.row("compile 60 ops, first", {{"fluxion", best("first")}}, std::numeric_limits<double>::infinity());
  suite.row("compile 60 ops, next", {{"fluxion", best("next")}}, 15e-3);
  best("load");  // fills the cache
  suite.row("load 60 ops from disk", {{"fluxion", best("load")}}, 2e-3);
  std::filesystem::remove_all(cache);

  const std::string command = std::string(FLUXION_CXX) + " -std=c++20 -O2 " + FLUXION_INCLUDES + " -c " + FLUXION_SOURCE_DIR +
                              "/tests/bench/user_kernel.cpp -o /dev/null";
  double least = std::numeric_limits<double>::infinity();
  for (int round = 0; round < 3; ++round) {
    const double begin = bench::children_cpu_seconds();
    if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
    least = std::min(least, bench::children_cpu_seconds() - begin);
  }
  suite.row("g++ -O2 of a 100-line kernel", {{"fluxion", least}}, 4);
}
