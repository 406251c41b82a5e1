#include "prepare.h"

#include <fmt/format.h>

#include "analysis.h"
#include "fluxion/error.h"
#include "fluxion/passes.h"
#include "groups.h"
#include "rotate.h"

namespace fluxion::ad {

Function prepare(const Function& f) { return cse(forward_stores(cse(fold(rotate_whiles(ordered(f)))))); }

Function ordered(const Function& f) { return order_launched_minmax(order_array_minmax(order_minmax(f))); }

Function tidy(const Function& f) { return dce(cse(forward_stores(fold(f)))); }

Before moved(Before before, const std::vector<int>& at) {
  for (Before::Array& a : before.arrays) a.like = at[static_cast<std::size_t>(a.like)];
  for (Before::Stage& s : before.stages)
    for (int& a : s.arguments)
      if (a >= 0) a = at[static_cast<std::size_t>(a)];
  return before;
}

bool float_parameter(const Function& f, const Parameter& p) {
  Type t;
  if (p.kind == Parameter::Kind::memory) t.element = f[p.memory].element;
  else t = f.type(p.value);
  return differentiable(t);
}

std::vector<char> wrt_mask(const Function& f, const Wrt& wrt, bool inout) {
  std::vector<char> mask(f.parameters.size());
  if (wrt.empty())
    for (std::size_t p = 0; p < mask.size(); ++p) mask[p] = f.parameters[p].role == Role::in && float_parameter(f, f.parameters[p]);
  for (int p : wrt) {
    if (p < 0 || p >= static_cast<int>(mask.size()))
      throw KernelError(f.loc, fmt::format("\"{}\": wrt names parameter {}, but there are {}", f.name, p, mask.size()));
    const Parameter& parameter = f.parameters[p];
    if (!float_parameter(f, parameter))
      throw KernelError(f.loc, fmt::format("\"{}\": wrt names parameter {} ({}), which is not floating point", f.name, p, parameter.name));
    if (parameter.role != Role::in && !(inout && parameter.role == Role::inout))
      throw KernelError(f.loc, fmt::format("\"{}\": wrt names parameter {} ({}), which is {}; name an In or a scalar{}", f.name, p,
                                           parameter.name, name_of(parameter.role), inout ? ", or an InOut" : ""));
    mask[p] = 1;
  }
  return mask;
}

void check_one_result(const Function& f, const char* what) {
  if (f.kind != Function::Kind::fn)
    throw KernelError(f.loc, fmt::format("{}: \"{}\" is not a device function; a kernel has a vjp", what, f.name));
  const Values& results = f.terminator(f.body).operands;
  if (results.size() != 1 || !is_float(f.type(results[0]).dtype()))
    throw KernelError(f.loc, fmt::format("{}: \"{}\" must return one floating point number; use vjp", what, f.name));
}

}  // namespace fluxion::ad
