// The kernels that the derivative tests run over: each is a way to get a gradient wrong.
#pragma once
#include "build.h"

namespace fluxion::testing {

struct Case {
  const char* name;
  Function f;
  Fill fill{};
  std::array<std::int64_t, 3> domain{6, 1, 1};
};

std::vector<Case> straight_cases();
std::vector<Case> control_cases();
std::vector<Case> memory_cases();
inline std::vector<Case> all_cases() {
  std::vector<Case> out = straight_cases();
  for (auto& x : control_cases()) out.push_back(std::move(x));
  for (auto& x : memory_cases()) out.push_back(std::move(x));
  return out;
}

}  // namespace fluxion::testing
