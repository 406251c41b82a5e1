// Parameter names of derived functions: the primal's, or the primal's with a suffix, and never one twice.
#pragma once
#include <set>
#include <string>

namespace fluxion::ad {

class Names {
 public:
  std::string unique(const std::string& wish) {
    std::string name = wish.empty() ? "p" : wish;
    for (int k = 2; !taken_.insert(name).second; ++k) name = wish + std::to_string(k);
    return name;
  }

 private:
  std::set<std::string> taken_;
};

}  // namespace fluxion::ad
