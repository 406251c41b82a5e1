// gradbench PROBLEM INPUT.json[.gz] {primal|derivative}: the result in the shape of the golden file on the first line,
// the seconds of each evaluation on the second.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>

#include "problem.h"

namespace {

int run(const std::string& name, const std::string& input, const std::string& what) {
  gradbench::Problem p = gradbench::make_problem(name, gradbench::read_json(input));
  const bool primal = what == "primal";
  const auto& evaluate = primal ? p.primal : p.derivative;
  evaluate();  // compiles
  std::vector<double> seconds;
  double all = 0;
  while (seconds.size() < 5 || all < 0.5) {
    const auto begin = std::chrono::steady_clock::now();
    evaluate();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    all += seconds.back();
  }
  std::cout << (primal ? p.primal_json() : p.derivative_json()).dump() << '\n' << nlohmann::json(seconds).dump() << '\n';
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc == 4 ? argv[3] : "";
  if (what != "primal" && what != "derivative") {
    std::fprintf(stderr, "usage: gradbench PROBLEM INPUT.json[.gz] {primal|derivative}\n");
    return 2;
  }
  setenv("FLUXION_THREADS", "1", 0);
  try {
    return run(argv[1], argv[2], what);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "gradbench: %s\n", e.what());
    return 1;
  }
}
