// Printing, checking and shrinking of random programs.
#include "program.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace fluxion::fuzz {
namespace {

constexpr const char* kNames[] = {"x", "p", "y", "z", "q", "w", "g", "s.0", "s.1", "h", "own0", "own1", "shared0", "shared1"};
std::string memory_name(int id) { return id < kFirstLocal ? kNames[id] : fmt::format("l{}", id - kFirstLocal); }

std::string text(const Expr& e) {
  const auto kid = [&](std::size_t i) { return text(e.kids[i]); };
  switch (e.form) {
    case Expr::Form::literal: return fmt::format("{}", e.number);
    case Expr::Form::variable: return fmt::format("v{}", e.id);
    case Expr::Form::thread: return "t";
    case Expr::Form::scalar: return e.id ? "m" : "a";
    case Expr::Form::extent: return memory_name(e.id) + ".extent";
    case Expr::Form::load: return fmt::format("{}[{}]", memory_name(e.id), kid(0));
    case Expr::Form::to_real: return fmt::format("float({})", kid(0));
    case Expr::Form::to_int: return fmt::format("int({})", kid(0));
    case Expr::Form::both: return fmt::format("({} && {})", kid(0), kid(1));
    case Expr::Form::either: return fmt::format("({} || {})", kid(0), kid(1));
    case Expr::Form::call:
    case Expr::Form::op: break;
  }
  std::string out = e.form == Expr::Form::call ? fmt::format("f{}.{}(", e.id, e.number) : fmt::format("{}(", name_of(e.op));
  for (std::size_t i = 0; i < e.kids.size(); ++i) out += (i ? ", " : "") + kid(i);
  return out + ")";
}

void text(const std::vector<Stmt>& block, int depth, std::string& out) {
  for (const Stmt& s : block) {
    const auto e = [&](std::size_t i) { return text(s.e[i]); };
    out.append(static_cast<std::size_t>(2 * depth), ' ');
    switch (s.form) {
      case Stmt::Form::let: out += fmt::format("let v{} = {}\n", s.id, e(0)); break;
      case Stmt::Form::choose: out += fmt::format("let v{} = if {} then {} else {}\n", s.id, e(0), e(1), e(2)); break;
      case Stmt::Form::set: out += fmt::format("v{} = {}\n", s.id, e(0)); break;
      case Stmt::Form::swap: out += fmt::format("swap v{} v{}\n", s.id, s.other); break;
      case Stmt::Form::call: out += fmt::format("let v{}, v{} = both of {}\n", s.id, s.other, e(0)); break;
      case Stmt::Form::local: out += fmt::format("local {}\n", memory_name(s.id)); break;
      case Stmt::Form::store: out += fmt::format("{}[{}] = {}\n", memory_name(s.id), e(0), e(1)); break;
      case Stmt::Form::accumulate: out += fmt::format("{}[{}] {}+= {}\n", memory_name(s.id), e(0), s.other ? "atomic " : "", e(1)); break;
      case Stmt::Form::branch: out += fmt::format("if {}\n", e(0)); break;
      case Stmt::Form::loop: out += fmt::format("for v{} from {} to {} by {}\n", s.id, e(0), e(1), e(2)); break;
      case Stmt::Form::repeat: out += fmt::format("while {}\n", e(0)); break;
      case Stmt::Form::leave: out += fmt::format("break if {}\n", e(0)); break;
      case Stmt::Form::skip: out += fmt::format("continue if {}\n", e(0)); break;
      case Stmt::Form::barrier: out += "barrier\n"; break;
      case Stmt::Form::subgroup:
        out += fmt::format("let v{} = subgroup {} {}{}\n", s.id, name_of(static_cast<Subgroup>(s.other)), e(0),
                           s.e.size() > 1 ? ", " + e(1) : "");
        break;
      case Stmt::Form::rounds: out += fmt::format("for v{} to {} together\n", s.id, e(0)); break;
      case Stmt::Form::stop: out += fmt::format("return if {}\n", e(0)); break;
    }
    text(s.a, depth + 1, out);
    if (s.b.empty()) continue;
    out.append(static_cast<std::size_t>(2 * depth), ' ');
    out += "else\n";
    text(s.b, depth + 1, out);
  }
}

struct Checker {
  std::set<int> variables, locals;
  int loops = 0, functions = 0;

  bool expr(const Expr& e) const {
    if (e.form == Expr::Form::call && e.id >= functions) return false;
    if (e.form == Expr::Form::variable && !variables.count(e.id)) return false;
    if ((e.form == Expr::Form::load || e.form == Expr::Form::extent) && e.id >= kFirstLocal && !locals.count(e.id)) return false;
    for (const Expr& k : e.kids)
      if (!expr(k)) return false;
    return true;
  }
  bool function(const Device& d) {
    for (const Stmt& s : d.body)
      if (!step(s)) return false;
    return std::all_of(d.results.begin(), d.results.end(), [&](const Expr& e) { return expr(e); });
  }
  bool block(const std::vector<Stmt>& stmts) {
    const auto names = variables, arrays = locals;
    bool ok = true;
    for (const Stmt& s : stmts) ok = ok && step(s);
    variables = names, locals = arrays;
    return ok;
  }
  bool step(const Stmt& s) {
    using F = Stmt::Form;
    for (const Expr& e : s.e)
      if (!expr(e)) return false;
    if ((s.form == F::set || s.form == F::swap) && !variables.count(s.id)) return false;
    if (s.form == F::swap && !variables.count(s.other)) return false;
    if ((s.form == F::store || s.form == F::accumulate) && s.id >= kFirstLocal && !locals.count(s.id)) return false;
    if ((s.form == F::leave || s.form == F::skip) && loops == 0) return false;
    const bool is_loop = s.form == F::loop || s.form == F::repeat;
    const auto names = variables;
    if (s.form == F::loop || s.form == F::rounds) variables.insert(s.id);
    loops += is_loop;
    const bool ok = block(s.a) && block(s.b);
    loops -= is_loop;
    variables = names;
    if (s.form == F::let || s.form == F::choose || s.form == F::call || s.form == F::subgroup) variables.insert(s.id);
    if (s.form == F::call) {
      if (s.e[0].form != Expr::Form::call) return false;
      variables.insert(s.other);
    }
    if (s.form == F::local) locals.insert(s.id);
    return ok;
  }
};

/// While loops end by a counter that their first statement takes down; that one must stay.
bool keeps_fuel(const std::vector<Stmt>& block) {
  for (const Stmt& s : block) {
    if (s.form == Stmt::Form::repeat) {
      const Expr& c = s.e[0];
      if (c.form != Expr::Form::both || c.kids[0].kids.size() != 2 || s.a.empty() || s.a[0].form != Stmt::Form::set) return false;
      const Expr& left = c.kids[0].kids[0];
      const Expr& next = s.a[0].e[0];
      if (left.form != Expr::Form::variable || s.a[0].id != left.id || c.kids[0].op != Opcode::gt) return false;
      if (c.kids[0].kids[1].form != Expr::Form::literal || next.op != Opcode::sub || next.kids.size() != 2 ||
          next.kids[0].form != Expr::Form::variable || next.kids[0].id != left.id || next.kids[1].number != 1)
        return false;
    }
    if (!keeps_fuel(s.a) || !keeps_fuel(s.b)) return false;
  }
  return true;
}

/// y must hold something before it is read, in every thread.
bool stores_out_first(const Program& p) {
  const auto reads = [](const auto& self, const Expr& e) -> bool {
    if (e.form == Expr::Form::load && e.id == kY) return true;
    return std::any_of(e.kids.begin(), e.kids.end(), [&](const Expr& k) { return self(self, k); });
  };
  if (p.body.empty() || p.body[0].form != Stmt::Form::store || p.body[0].id != kY) return false;
  return !reads(reads, p.body[0].e[0]) && !reads(reads, p.body[0].e[1]);
}

int weight(const Expr& e) {
  int n = 1;
  for (const Expr& k : e.kids) n += weight(k);
  return n;
}
int weight(const std::vector<Stmt>& block) {
  int n = 0;
  for (const Stmt& s : block) {
    n += 4 + weight(s.a) + weight(s.b);
    for (const Expr& e : s.e) n += weight(e);
  }
  return n;
}

class Reducer {
 public:
  explicit Reducer(const Program& p) : p_(p) {}
  std::vector<Program> run() {
    if (p_.steps > 1) {
      Program q = p_;
      q.steps = 1;
      out_.push_back(std::move(q));
    }
    for (std::size_t f = 0; f < p_.functions.size(); ++f) {
      if (p_.functions[f].derivative_of >= 0) {
        Program q = p_;
        q.functions[f].derivative_of = -1, q.functions[f].rules = Device::Rules::none;
        out_.push_back(std::move(q));
      }
      blocks(p_.functions[f].body);
      for (Expr& e : p_.functions[f].results) exprs(e);
    }
    if (!p_.functions.empty()) {
      const std::vector<Device> all = p_.functions;  // the last one, where nobody calls it
      p_.functions.pop_back();
      record();
      p_.functions = all;
    }
    blocks(p_.body);
    return std::move(out_);
  }

 private:
  Program p_;  // changed in place, recorded, and put back
  std::vector<Program> out_;

  void record() {
    if (valid(p_)) out_.push_back(p_);
  }
  void blocks(std::vector<Stmt>& block) {
    for (std::size_t i = 0; i < block.size(); ++i) {
      const Stmt whole = block[i];
      const auto replace = [&](const std::vector<Stmt>& by) {
        block.erase(block.begin() + static_cast<std::ptrdiff_t>(i));
        block.insert(block.begin() + static_cast<std::ptrdiff_t>(i), by.begin(), by.end());
        record();
        block.erase(block.begin() + static_cast<std::ptrdiff_t>(i), block.begin() + static_cast<std::ptrdiff_t>(i + by.size()));
        block.insert(block.begin() + static_cast<std::ptrdiff_t>(i), whole);
      };
      replace({});
      if (whole.form == Stmt::Form::branch || whole.form == Stmt::Form::repeat) replace(whole.a);
      if (!whole.b.empty()) {
        replace(whole.b);
        Stmt one = whole;
        one.b.clear();
        replace({one});
      }
      if (whole.form == Stmt::Form::loop || whole.form == Stmt::Form::rounds) {
        std::vector<Stmt> once = whole.a;
        once.insert(once.begin(), Stmt{Stmt::Form::let, Kind::integer, whole.id, {whole.form == Stmt::Form::loop ? whole.e[0] : Expr{}}});
        replace(once);
      }
      for (Expr& e : block[i].e) exprs(e);
      blocks(block[i].a);
      blocks(block[i].b);
    }
  }
  void exprs(Expr& e) {
    const Expr whole = e;
    const auto replace = [&](const Expr& by) {
      e = by;
      record();
      e = whole;
    };
    for (const Expr& k : whole.kids)
      if (k.kind == whole.kind || (whole.kind == Kind::real && k.kind == Kind::exact)) replace(k);
    if (whole.form != Expr::Form::literal)
      for (double v : {0.0, 1.0}) replace({Expr::Form::literal, whole.kind, {}, v});
    for (Expr& k : e.kids) exprs(k);
  }
};

}  // namespace

bool valid(const Program& p) {
  Checker kernel;
  for (const Device& d : p.functions) {
    Checker checker;
    checker.functions = kernel.functions++;
    for (std::size_t k = 0; k < d.takes.size(); ++k) checker.variables.insert(static_cast<int>(k));
    if (!keeps_fuel(d.body) || !checker.function(d)) return false;
  }
  return kernel.block(p.body) && keeps_fuel(p.body) && stores_out_first(p);
}

std::string print(const Program& p) {
  std::string out =
      fmt::format("seed {}, {}, w is {}, steps {}\n", p.seed, name_of(p.real), p.w_accumulates ? "accumulated" : "read", p.steps);
  if (p.group) out += fmt::format("groups of {}\n", p.group);
  for (std::size_t f = 0; f < p.functions.size(); ++f) {
    const Device& d = p.functions[f];
    out += fmt::format(
        "f{} of {}{}\n", f, d.takes.size(),
        d.derivative_of < 0 ? "" : fmt::format(", with the derivative of f{} by rules {}", d.derivative_of, static_cast<int>(d.rules)));
    text(d.body, 1, out);
    for (const Expr& e : d.results) out += "  gives " + text(e) + "\n";
  }
  if (p.keep_calls) out += "calls are kept\n";
  text(p.body, 1, out);
  return out;
}

int size_of(const Program& p) {
  int size = weight(p.body) + 4 * (p.steps - 1);
  for (const Device& d : p.functions) {
    size += 4 + weight(d.body) + 4 * (d.derivative_of >= 0);
    for (const Expr& e : d.results) size += weight(e);
  }
  return size;
}

std::vector<Program> reductions(const Program& p) {
  std::vector<Program> all = Reducer(p).run();
  std::vector<std::pair<int, std::size_t>> order;  // equal sizes in the order they were found
  for (std::size_t i = 0; i < all.size(); ++i) order.emplace_back(size_of(all[i]), i);
  std::sort(order.begin(), order.end());
  std::vector<Program> sorted;
  for (const auto& [size, i] : order) sorted.push_back(std::move(all[i]));
  return sorted;
}

}  // namespace fluxion::fuzz
