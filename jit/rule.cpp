// Rules beneath their types: signatures, and the check of a rule against the function.
#include "fluxion/rule.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <random>

#include "fluxion/ad.h"
#include "fluxion/builder.h"
#include "fluxion/error.h"
#include "fluxion/evaluate.h"

namespace fluxion::detail {
namespace {

using Signature = std::vector<std::string>;

std::string text(const Function& f, const Parameter& p) {
  if (p.kind != Parameter::Kind::memory) return to_string(f.type(p.value));
  return fmt::format("{} {}[{}]", name_of(p.role), to_string(f[p.memory].element), static_cast<int>(f[p.memory].rank));
}
Signature parameters(const Function& f) {
  Signature out;
  for (const Parameter& p : f.parameters) out.push_back(text(f, p));
  return out;
}
Signature results(const Function& f) {
  Signature out;
  for (ValueId v : f.terminator(f.body).operands) out.push_back(to_string(f.type(v)));
  return out;
}

void same(const Function& f, const FunctionPointer& rule, const Function& wanted, const char* which, Loc at) {
  if (!rule) return;
  Signature mine = parameters(*rule), other = parameters(wanted);
  while (!rule->parameters.empty() && mine.size() > other.size()) {  // scratch at the end is its own affair
    const Parameter& last = rule->parameters[mine.size() - 1];
    if (last.kind != Parameter::Kind::memory || !(*rule)[last.memory].scratch) break;
    mine.pop_back();
  }
  if (mine != other || results(*rule) != results(wanted))
    throw KernelError(
        at, fmt::format("the {} rule of \"{}\" takes ({}) and gives ({}); it must take ({}) and give ({})", which, f.name,
                        fmt::join(mine, ", "), fmt::join(results(*rule), ", "), fmt::join(other, ", "), fmt::join(results(wanted), ", ")));
}

double number(DType t, std::uint64_t bits) {
  return t == DType::f64   ? std::bit_cast<double>(bits)
         : t == DType::f32 ? std::bit_cast<float>(static_cast<std::uint32_t>(bits))
                           : static_cast<double>(static_cast<std::int64_t>(bits));
}
std::uint64_t bits(DType t, double v) {
  return t == DType::f64 ? std::bit_cast<std::uint64_t>(v) : std::bit_cast<std::uint32_t>(static_cast<float>(v));
}

}  // namespace

FunctionPointer with_rules(const FunctionPointer& f, FunctionPointer vjp, FunctionPointer jvp, Loc at) {
  // What the signatures must be is what they are for a function of this signature that computes nothing.
  if (f->kind == Function::Kind::fn) {
    Function empty;
    Builder b(empty);
    for (const Parameter& p : f->parameters) b.scalar_parameter(f->type(p.value).dtype(), p.name);
    Values zeros;
    for (ValueId v : f->terminator(f->body).operands) zeros.push_back(b.zero(f->type(v)));
    b.finish(zeros);
    Function reverse = fluxion::vjp(empty);
    // What the function returned may stand between its parameters and the cotangents.
    if (vjp && vjp->parameters.size() > reverse.parameters.size()) {
      Function wider;
      Builder w(wider);
      wider.kind = Function::Kind::fn;
      std::size_t cotangents = 0;
      for (ValueId v : f->terminator(f->body).operands) cotangents += has_float(f->type(v));
      const auto copy = [&](std::size_t from, std::size_t to) {
        for (std::size_t p = from; p < to; ++p)
          w.scalar_parameter(reverse.type(reverse.parameters[p].value).dtype(), reverse.parameters[p].name);
      };
      const std::size_t n = reverse.parameters.size() - cotangents;
      copy(0, n);
      for (ValueId v : f->terminator(f->body).operands) w.scalar_parameter(f->type(v).dtype(), "result");
      copy(n, reverse.parameters.size());
      Values gradients;
      for (ValueId v : reverse.terminator(reverse.body).operands) gradients.push_back(w.zero(reverse.type(v)));
      w.finish(gradients);
      reverse = wider;
    }
    same(*f, vjp, reverse, "vjp", at);
    same(*f, jvp, fluxion::jvp(empty), "jvp", at);
  }
  auto out = std::make_shared<Function>(*f);
  out->rules = {std::move(vjp), std::move(jvp)};
  return out;
}

void check_rules(const Function& f, const std::uint64_t* arguments, int n, Loc at) {
  if (f.rules == Rules{}) throw KernelError(at, fmt::format("check_rules: \"{}\" has no rules", f.name));
  const Function j = jvp(f), v = vjp(f);
  std::mt19937_64 random(11);
  std::uniform_real_distribution<double> u(-1, 1);
  const std::vector<std::uint64_t> x(arguments, arguments + n);
  std::vector<std::uint64_t> jx = x, vx = x;
  std::vector<double> dx, w;
  std::vector<std::size_t> moved;
  bool single = false;
  for (std::size_t p = 0; p < f.parameters.size(); ++p) {
    const DType t = f.type(f.parameters[p].value).dtype();
    if (!is_float(t)) continue;
    if (is_half(t)) throw KernelError(at, fmt::format("check_rules: \"{}\" takes half precision; check a version of it in f32", f.name));
    single |= t == DType::f32;
    moved.push_back(p);
    dx.push_back(u(random));
    jx.push_back(bits(t, dx.back()));
  }
  const Values& yields = f.terminator(f.body).operands;
  std::vector<DType> types;
  for (ValueId r : yields) {
    types.push_back(f.type(r).dtype());
    if (!is_float(types.back())) continue;
    single |= types.back() == DType::f32;
    w.push_back(u(random));
    vx.push_back(bits(types.back(), w.back()));
  }
  const auto jy = evaluate_fn(j, jx), vy = evaluate_fn(v, vx), y = evaluate_fn(f, x);
  double forward = 0, reverse = 0, size = 1e-30, difference = 0, wrong = 0;
  const double h = single ? 4e-3 : 1e-5;
  const auto at_step = [&](double s) {
    std::vector<std::uint64_t> moved_x = x;
    for (std::size_t k = 0; k < moved.size(); ++k) {
      const DType t = f.type(f.parameters[moved[k]].value).dtype();
      moved_x[moved[k]] = bits(t, number(t, x[moved[k]]) + s * dx[k]);
    }
    return evaluate_fn(f, moved_x);
  };
  const auto up = at_step(h), down = at_step(-h);
  std::size_t tangent = types.size(), seed = 0;
  for (std::size_t r = 0; r < types.size(); ++r) {
    if (number(types[r], jy[r]) != number(types[r], y[r]))
      wrong = std::max(wrong, std::abs(number(types[r], jy[r]) - number(types[r], y[r])));
    if (!is_float(types[r])) continue;
    const double t = number(types[r], jy[tangent++]);
    forward += t * w[seed];
    size += std::abs(t * w[seed]);
    difference += (number(types[r], up[r]) - number(types[r], down[r])) / (2 * h) * w[seed++];
  }
  for (std::size_t k = 0; k < moved.size(); ++k) {
    const double g = number(f.type(f.parameters[moved[k]].value).dtype(), vy[k]);
    reverse += g * dx[k];
    size += std::abs(g * dx[k]);
  }
  const double close = single ? 1e-4 : 1e-9, near = single ? 2e-2 : 1e-6;
  // Not-a-number fails every comparison, so ask for agreement.
  if (!(wrong <= near * (1 + size)) || !(std::abs(forward - reverse) <= close * size) ||
      !(std::abs(forward - difference) <= near * (1e-3 + size)))
    throw KernelError(
        at, fmt::format("the rules of \"{}\" do not fit: along one direction jvp gives {}, vjp {}, differences of the function {}; "
                        "its value is off by {} in jvp",
                        f.name, forward, reverse, difference, wrong));
}

}  // namespace fluxion::detail
