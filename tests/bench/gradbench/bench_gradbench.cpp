// The table of GradBench: each input's primal, derivative, golden primals and peers, in turns; minima over rounds.
// Inputs are the files *.input.json.gz of the folder gradbench in FLUXION_DATA.
#include "../bench.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "problem.h"

namespace {

/// Seconds by name, as the suite reports them, for the closing means.
struct Means {
  double log_sum = 0, worst = 0;
  int count = 0;
  void add(double ratio) {
    log_sum += std::log(ratio);
    worst = std::max(worst, ratio);
    ++count;
  }
  double mean() const { return std::exp(log_sum / count); }
};

}  // namespace

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  bench::Suite suite(argc, argv);
  const char* data = std::getenv("FLUXION_DATA");
  const fs::path folder = fs::path(data ? data : "") / "gradbench";
  if (!data || !fs::is_directory(folder)) {
    std::cout << "skipped: gradbench needs FLUXION_DATA with a folder gradbench of inputs\n";
    return 0;
  }
  std::vector<fs::path> inputs;
  const std::string ending = ".input.json.gz";
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().ends_with(ending)) inputs.push_back(entry.path());
  std::sort(inputs.begin(), inputs.end());
  Means golden, golden_fast, own, own_small;
  for (const fs::path& input : inputs) {
    const std::string file = input.filename().string(), name = file.substr(0, file.size() - ending.size());
    const std::string problem = name.substr(0, name.find('.'));
    if (!suite.only().empty() && name.find(suite.only()) == std::string::npos) continue;
    gradbench::Problem p = gradbench::make_problem(problem, gradbench::read_json(input.string()));
    std::vector<bench::Contender> contenders{
        {"derivative", p.derivative}, {"golden_primal", p.golden}, {"golden_primal_fast_math", p.golden_fast}, {"primal", p.primal}};
    for (const auto& [who, work] : p.peers) contenders.push_back({who, work});
    const auto seconds = suite.compare(name, contenders, [](double) { return std::numeric_limits<double>::infinity(); }, 1, 60);
    golden.add(seconds[0] / seconds[1]);
    golden_fast.add(seconds[0] / seconds[2]);
    if (problem == "ba" || problem == "ht") own.add(seconds[0] / seconds[3]);  // as large as their outputs
    else own_small.add(seconds[0] / seconds[3]);
  }
  if (!golden.count) return 0;
  std::printf("derivative / golden primal            %.2f in the geometric mean, %.2f at worst\n", golden.mean(), golden.worst);
  std::printf("derivative / golden primal, fast-math %.2f in the geometric mean, %.2f at worst\n", golden_fast.mean(), golden_fast.worst);
  if (own_small.count)
    std::printf("derivative / primal, gradients        %.2f in the geometric mean, %.2f at worst\n", own_small.mean(), own_small.worst);
  if (own.count) std::printf("derivative / primal, Jacobians        %.2f in the geometric mean, %.2f at worst\n", own.mean(), own.worst);
}
