// The list of problems, and what their files share.
#include "problem.h"

#include <memory>
#include <stdexcept>

#include "golden.h"
#include "peer_adolc.h"

namespace gradbench {
namespace {

void keep(const Numbers& v) { asm volatile("" : : "g"(v.data()) : "memory"); }

}  // namespace

template <class Input>
void add_rivals(Problem& p, const Input& in) {
  auto shared = std::make_shared<const Input>(in);
  p.golden = [shared] { keep(golden::primal(*shared)); };
  p.golden_fast = [shared] { keep(golden_fast::primal(*shared)); };
  if (auto work = adolc::derivative(in)) p.peers.emplace_back("adolc", std::move(work));
}
template void add_rivals(Problem&, const Gmm&);
template void add_rivals(Problem&, const Ba&);
template void add_rivals(Problem&, const Ht&);
template void add_rivals(Problem&, const Lstm&);
template void add_rivals(Problem&, const Ode&);
template void add_rivals(Problem&, const Llsq&);
template void add_rivals(Problem&, const Lse&);

Problem make_problem(const std::string& name, const nlohmann::json& input) {
  if (name == "gmm") return make_gmm(read_gmm(input));
  if (name == "ba") return make_ba(read_ba(input));
  if (name == "ht") return make_ht(read_ht(input));
  if (name == "lstm") return make_lstm(read_lstm(input));
  if (name == "ode") return make_ode(read_ode(input));
  if (name == "llsq") return make_llsq(read_llsq(input));
  if (name == "lse") return make_lse(read_lse(input));
  throw std::runtime_error("no problem \"" + name + "\"; there are: gmm ba ht lstm ode llsq lse");
}

nlohmann::json rows(const std::vector<double>& flat, int width, std::size_t count) {
  nlohmann::json out = nlohmann::json::array();
  for (std::size_t r = 0; r < count; ++r) {
    const auto begin = flat.begin() + static_cast<std::ptrdiff_t>(r) * width;
    out.push_back(std::vector<double>(begin, begin + width));
  }
  return out;
}

}  // namespace gradbench
