// inline_calls -- a callee takes the place of its call where that is cheap: it is small, or called from one place, or its
// copies stay below a limit. The rest stay calls, so that functions that call each other twice and more grow
// linearly. Callees first; each once, however many call it. A function with rules stays a call until the
// derivatives have been made: inline_final comes after that, and leaves no call of a program. A host function stays a call.
#include <fmt/format.h>

#include <map>

#include "fluxion/error.h"
#include "fluxion/mutants.h"
#include "fluxion/passes.h"
#include "fluxion/rewrite.h"

namespace fluxion {
namespace {

using Pointer = std::shared_ptr<const Function>;

thread_local bool t_keep = false;

constexpr std::size_t kSmall = 160;    // ops: always, while the caller stays below kCaller
constexpr std::size_t kCopies = 1024;  // ops of all copies together
constexpr std::size_t kCaller = 6000;

class Inliner {
 public:
  explicit Inliner(bool final) : final_(final) {}

  /// Null: the function stays as it is.
  Pointer run(const Function& f) {
    std::map<const Function*, Site> sites;
    std::vector<const Function*> order;
    bool any = f.rules != Rules{} && final_;
    for (const Region& r : f.regions)
      for (OpId id : r.ops) {
        const Op& op = f[id];
        if (op.code != Opcode::call) continue;
        Site& s = sites[f.callees[op.ref].get()];
        if (s.count++ > 0) continue;
        order.push_back(f.callees[op.ref].get());
        s.callee = now(f.callees[op.ref]);
        any |= s.callee != f.callees[op.ref];
      }
    std::size_t size = count(f);
    for (const Function* callee : order) {
      Site& s = sites[callee];
      const Function& g = *s.callee;
      if (g.external || (!final_ && ((g.rules != Rules{} && !planted(testing::Mutant::rules_ignored)) || g.stands_in()))) continue;
      const std::size_t each = count(g);
      const bool cheap = !t_keep && (each <= kSmall || s.count == 1 || each * s.count <= kCopies);
      s.inlined = (cheap && size + each * s.count <= kCaller) || (final_ && g.kind == Function::Kind::program);
      if (s.inlined) size += each * s.count;
      any |= s.inlined;
    }
    if (!any) return nullptr;
    auto out = std::make_shared<Function>(rewrite(f, [&](Rewriter& r, OpId id) {
      const Op& op = f[id];
      if (op.code != Opcode::call) return false;
      const Site& s = sites[f.callees[op.ref].get()];
      const Values arguments = r(op.operands);
      r.map(op.results, s.inlined ? body(*s.callee, r.to, arguments) : r.to.call(s.callee, arguments));
      return true;
    }));
    if (final_) {
      out->rules = {};
      out->self = 0;
    }
    return out;
  }

 private:
  struct Site {
    Pointer callee;
    std::size_t count = 0;
    bool inlined = false;
  };
  bool final_;
  std::map<const Function*, Pointer> done_;

  Pointer now(const Pointer& callee) {
    const auto it = done_.find(callee.get());
    if (it != done_.end()) return it->second;
    Pointer made = run(*callee);
    return done_[callee.get()] = made ? made : callee;
  }
  static std::size_t count(const Function& f) {
    std::size_t n = 0;
    for (const Region& r : f.regions) n += r.ops.size();
    return n;
  }
  static Values body(const Function& g, Builder& to, const Values& arguments) {
    Rewriter inner(g, to);
    std::size_t next = 0;
    for (const Parameter& p : g.parameters)
      if (p.role != Role::out) inner.map(p.value, arguments[next++]);
    if (planted(testing::Mutant::inline_crossed))
      for (const Parameter& p : g.parameters)
        if (g.type(p.value) == g.type(g.parameters.back().value) && p.role != Role::out) inner.map(p.value, arguments.back());
    inner.hook = [&g](Rewriter&, OpId id) {
      // Where an Out has no value yet, nothing may read it: the program's own check has seen to that.
      for (ValueId v : g[id].operands)
        if (g[v].kind == Value::Kind::parameter && g.parameters[g[v].owner].role == Role::out)
          throw KernelError(g[id].loc, fmt::format("program \"{}\": {} is Out and is read before a launch has written it; declare it InOut",
                                                   g.name, g.parameters[g[v].owner].name));
      return false;
    };
    inner.copy_ops(g.body);
    return inner(g.terminator(g.body).operands);
  }
};

Function run(const Function& f, bool final) {
  const Pointer out = Inliner(final).run(f);
  return out ? *out : f;
}

}  // namespace

namespace testing {
void keep_calls(bool on) { t_keep = on; }
}  // namespace testing

Function inline_calls(const Function& f) { return run(f, false); }
Function inline_final(const Function& f) { return run(f, true); }

}  // namespace fluxion
