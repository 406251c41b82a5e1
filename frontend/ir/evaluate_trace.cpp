// See the header. The words of a report are made here.
#include "evaluate_trace.h"

#include <fmt/format.h>

#include <algorithm>

#include "fluxion/evaluate.h"

namespace fluxion {
namespace {

struct Parts {
  std::uint64_t exponent, mantissa;
};
Parts parts(DType t, std::uint64_t bits) {
  switch (t) {
    case DType::f16: return {bits & 0x7c00u, bits & 0x3ffu};
    case DType::bf16: return {bits & 0x7f80u, bits & 0x7fu};
    case DType::f32: return {bits & 0x7f800000u, bits & 0x7fffffu};
    default: return {bits & 0x7ff0000000000000u, bits & 0xfffffffffffffu};
  }
}
std::uint64_t top(DType t) { return parts(t, ~std::uint64_t{0}).exponent; }

/// Of NaNs the sign says nothing.
std::string number(DType t, std::uint64_t bits) { return Trace::is_nan(t, bits) ? "nan" : format_value(t, bits); }

/// As one would write it.
std::string expression(const Op& op, DType t, std::span<const std::uint64_t> x) {
  const auto v = [&](std::size_t k) { return number(t, x[k]); };
  const auto infix = [&](const char* with) { return fmt::format("{} {} {}", v(0), with, v(1)); };
  switch (op.code) {
    case Opcode::add:
    case Opcode::accumulate: return infix("+");
    case Opcode::sub: return infix("-");
    case Opcode::mul:
      return op.loc.product ? fmt::format("{} {} * partial {}",
                                          (op.loc.sweeps & 3) == static_cast<int>(Sweep::reverse) ? "cotangent" : "tangent", v(0), v(1))
                            : infix("*");
    case Opcode::div: return infix("/");
    case Opcode::fma: return fmt::format("{} * {} + {}", v(0), v(1), v(2));
    case Opcode::call: return "an external function";
    default: break;
  }
  std::string list;
  for (std::size_t k = 0; k < x.size(); ++k) list += (k ? ", " : "") + v(k);
  return fmt::format("{}({})", name_of(op.code), list);
}

/// "the derivative of sqrt in the reverse sweep: " of what a transform made, else nothing.
std::string derivation(Loc at) {
  if (at.sweeps == 0 || at.rule == 0) return {};
  std::string s = fmt::format("the derivative of {}", name_of(static_cast<Opcode>(at.rule - 1)));
  const char* in = " in the ";
  for (unsigned left = at.sweeps; left; left >>= 2) {
    s += fmt::format("{}{} sweep", in, (left & 3) == static_cast<int>(Sweep::reverse) ? "reverse" : "forward");
    in = " of the ";
  }
  return s + ": ";
}

}  // namespace

bool Trace::is_nan(DType t, std::uint64_t bits) {
  const Parts p = parts(t, bits);
  return is_float(t) && p.exponent == top(t) && p.mantissa != 0;
}
bool Trace::is_odd(DType t, std::uint64_t bits) { return is_float(t) && parts(t, bits).exponent == top(t); }

std::uint32_t Trace::computed(const Function& f, const Op& op, const std::vector<std::uint64_t>& bits,
                              const std::vector<std::uint32_t>& made) {
  const ValueId r = op.results[0];
  const DType t = f.type(r).dtype();
  const std::uint64_t result = bits[r.index];
  if (!is_odd(t, result)) return 0;
  if (op.code == Opcode::select) return made[op.operands[bits[op.operands[0].index] ? 1 : 2].index];
  const bool nan = is_nan(t, result);
  Made m{&op, caller(), thread_, f.type(op.operands[0]).dtype(), t, {}, 0, result, 0, {}};
  for (ValueId v : op.operands) {
    const DType from = f.type(v).dtype();
    const std::uint64_t x = bits[v.index];
    if (m.arity < 3) m.x[m.arity++] = x;
    if (!is_odd(from, x)) continue;
    // A NaN goes back to a NaN, an infinity to whatever is odd.
    if (is_nan(from, x) || !nan) return made[v.index];
    if (!m.because) m.because = made[v.index];
  }
  return add(std::move(m));
}

std::uint32_t Trace::combined(const Op& op, DType t, std::uint64_t a, std::uint32_t made_a, std::uint64_t b, std::uint32_t made_b,
                              std::uint64_t result) {
  if (!is_odd(t, result)) return 0;
  const bool nan = is_nan(t, result);
  if (is_nan(t, a) || (!nan && is_odd(t, a))) return made_a;
  if (is_nan(t, b) || (!nan && is_odd(t, b))) return made_b;
  return add({&op, caller(), thread_, t, t, {a, b, 0}, 2, result, is_odd(t, b) && made_b ? made_b : made_a, {}});
}

void Trace::stores(const std::byte* p, DType t, std::uint64_t old, std::uint64_t now, std::uint32_t made) {
  if (is_odd(t, old) && !at_.contains(p)) before_.insert(p);
  if (!is_odd(t, now)) {
    if (!at_.empty()) at_.erase(p);
    return;
  }
  at_[p] = made;
  fresh_.push_back(p);
}

std::string Trace::describe(const Made& m) const {
  return fmt::format("{}{} = {}", derivation(loc_of(m)), expression(*m.op, m.type, {m.x.data(), m.arity}), number(m.result_type, m.result));
}

std::string Trace::point(std::uint32_t thread, const std::array<std::int64_t, 3>& domain) const {
  std::string s;
  std::int64_t rest = thread;
  for (int a = std::max(1, kernel_.domain_rank) - 1; a >= 0; --a) {
    s = fmt::format("{}{}{}", rest % domain[static_cast<std::size_t>(a)], s.empty() ? "" : ", ", s);
    rest /= domain[static_cast<std::size_t>(a)];
  }
  return s;
}

std::string Trace::written(const std::vector<Written>& arrays, const std::byte* p) const {
  for (const Written& a : arrays) {
    const std::int64_t at = p - a.data;
    if (at < 0 || at >= a.extent[0] * a.extent[1] * a.extent[2] * static_cast<std::int64_t>(a.layout->size)) continue;
    const auto offset = static_cast<std::uint32_t>(at % a.layout->size);
    for (const Leaf& leaf : a.layout->leaves) {
      std::uint64_t now = 0;
      if (leaf.offset != offset) continue;
      __builtin_memcpy(&now, p, static_cast<std::size_t>(size_of(leaf.dtype)));
      if (!is_nan(leaf.dtype, now) && !(inf_ && is_odd(leaf.dtype, now))) continue;
      std::int64_t rest = at / a.layout->size;
      std::string index;
      for (int axis = a.rank - 1; axis >= 0; --axis) {
        index = fmt::format("{}{}{}", rest % a.extent[static_cast<std::size_t>(axis)], index.empty() ? "" : ", ", index);
        rest /= a.extent[static_cast<std::size_t>(axis)];
      }
      return fmt::format("{}[{}]", a.name, index);
    }
  }
  return {};
}

void Trace::check_lost(const std::vector<Written>& arrays) const {
  for (const auto& [p, made] : at_)
    if (const std::string where = made ? std::string() : written(arrays, p); !where.empty())
      throw TracedError(kernel_.loc,
                        fmt::format("kernel \"{}\": {} became NaN; it makes so many NaNs that this one has no trace, launch it over less",
                                    kernel_.name, where));
}

std::uint32_t Trace::scalar(const std::string& name, DType t, std::uint64_t bits) {
  if (!is_odd(t, bits)) return 0;
  const std::uint32_t made = add({nullptr, {}, 0, t, t, {}, 0, bits, 0, name});
  scalars_ = list_.size();
  return made;
}

void Trace::check(const std::vector<Written>& arrays, const std::array<std::int64_t, 3>& domain, bool last) {
  const Made* first = nullptr;
  std::string where;
  const auto ask = [&](const std::byte* p, std::uint32_t made) {
    if (made == 0) return;
    const Made& m = list_[made - 1];
    if (!m.passed.empty() && (!last || before_.contains(p) || !is_nan(m.type, m.result))) return;
    if (first && (first->passed.empty() ? !m.passed.empty() || first <= &m : !m.passed.empty() && first <= &m)) return;
    if (std::string found = written(arrays, p); !found.empty()) {
      first = &m;
      where = std::move(found);
    }
  };
  if (last) {
    for (const auto& [p, made] : at_) ask(p, made);
  } else {
    for (const std::byte* p : fresh_)
      if (const auto at = at_.find(p); at != at_.end()) ask(p, at->second);
    fresh_.clear();
  }
  if (!first) {
    if (last && full_) check_lost(arrays);
    if (at_.empty()) list_.resize(scalars_);
    return;
  }
  const Made& m = *first;
  const std::string who = fmt::format("kernel \"{}\", thread ({})", kernel_.name, point(m.thread, domain));
  if (!m.passed.empty())
    throw TracedError(
        loc_of(m), fmt::format("{}: {} was {} when the launch began, and goes on to {}", who, m.passed, number(m.type, m.result), where));
  std::string text = fmt::format("{}: {}", who, describe(m));
  for (const Made* b = m.because ? &list_[m.because - 1] : nullptr; b; b = b->because ? &list_[b->because - 1] : nullptr) {
    text += b->passed.empty() ? fmt::format(", because of {}{}", loc_of(*b) ? to_string(loc_of(*b)) + ": " : "", describe(*b))
                              : fmt::format(", where {} was {} when the launch began", b->passed, number(b->type, b->result));
  }
  if (m.caller) text += fmt::format(" (in a function called at {})", to_string(m.caller));
  throw TracedError(loc_of(m), fmt::format("{}; it reaches {}", text, where));
}

std::string turn_text(Loc loop, std::int64_t step, bool down) {
  return fmt::format(", step {} of the loop at {}{}", step, to_string(loop), down ? " (backwards)" : "");
}

TracedError Turns::placed(const TracedError& e, const std::string& program, Loc at) const {
  const std::string line = to_string(e.where()), what = e.what();
  std::string text = fmt::format("program \"{}\", launch {}{}", program, launches, at ? " at " + to_string(at) : "");
  for (const Turn& t : loops) text += turn_text(t.loop->loc, t.step, t.loop->down);
  return TracedError(e.where() ? e.where() : at, fmt::format("{}: {}", text, line.empty() ? what : what.substr(line.size() + 2)));
}

}  // namespace fluxion
