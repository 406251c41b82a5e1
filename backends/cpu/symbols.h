// The host functions that generated code may call, by name.
#pragma once
#include <vector>

namespace fluxion::cpu {

struct Symbol {
  const char* name;
  void* address;
};
const std::vector<Symbol>& runtime_symbols();

}  // namespace fluxion::cpu
