// Calls of device functions: an internal function for each (callee, lanes, uniform or varying arguments), emitted when it is
// first called. A call whose arguments are all uniform runs once, on scalars; any other runs all lanes under the
// caller's mask. Arguments and results travel as values, bools and masks as bytes, because LLVM cannot pass every
// width of i1 vectors in registers; tapes and locals of a callee end with it.
#include "emitter.h"
#include "fluxion/error.h"
#include "fluxion/external_code.h"

namespace fluxion::cpu {

std::vector<const Function*> called(const Function& f) {
  std::vector<const Function*> out;
  std::set<const Function*> seen;
  const auto function = [&](const auto& self, const Function& g) -> void {
    const auto region = [&](const auto& walk, RegionId r) -> void {
      for (OpId id : g[r].ops) {
        const Op& op = g[id];
        if (op.code == Opcode::call && !g.callees[op.ref]->external && seen.insert(g.callees[op.ref].get()).second) {
          out.push_back(g.callees[op.ref].get());
          self(self, *g.callees[op.ref]);
        }
        for (RegionId inner : op.regions) walk(walk, inner);
      }
    };
    region(region, g.body);
  };
  function(function, f);
  return out;
}

Calls::Calls(const Function& f) {
  const auto count = [](const Function& g) {
    int last = -1;
    for (int site : number_sites(g)) last = std::max(last, site);
    return last + 1;
  };
  int next = count(f);
  for (const Function* g : called(f)) {
    first_site[g] = next;
    next += count(*g);
  }
}

llvm::Function* Emitter::run_callee(const std::string& symbol, bool uniform) {
  const auto type = [&](ValueId v) {
    llvm::Type* t = memory_type(f.type(v).dtype());
    return uniform ? t : vec(t);
  };
  llvm::SmallVector<llvm::Type*> takes = {b.getPtrTy()}, gives;
  if (!uniform) takes.push_back(vec(b.getInt8Ty()));
  for (const Parameter& p : f.parameters) takes.push_back(type(p.value));
  const Values& yields = f.terminator(f.body).operands;
  for (ValueId v : yields) gives.push_back(type(v));
  llvm::Type* result = gives.empty() ? b.getVoidTy() : llvm::StructType::get(c, gives);
  fn = llvm::Function::Create(llvm::FunctionType::get(result, takes, false), llvm::Function::InternalLinkage, symbol, module_);
  fn->addFnAttr(llvm::Attribute::NoUnwind);
  fn->addFnAttr(llvm::Attribute::NoInline);  // what is worth it has been inlined in the IR
  fn->addFnAttr("prefer-vector-width", opt.masks_in_k ? "512" : "256");
  thread_ = fn->getArg(0);
  make_scopes(symbol);
  entry_ = block("entry");
  b.SetInsertPoint(entry_);
  make_locals();
  const unsigned first = uniform ? 1 : 2;
  for (unsigned k = 0; k < f.parameters.size(); ++k) {
    const ValueId v = f.parameters[k].value;
    set(v, from_memory(f.type(v).dtype(), fn->getArg(k + first)));
  }
  mask_ = uniform ? nullptr : from_memory(DType::boolean, fn->getArg(1));
  Node* top = uses_arena_ ? arena_top() : nullptr;
  emit_region(f.body);
  if (top) set_arena_top(top);
  if (gives.empty()) {
    b.CreateRetVoid();
    return fn;
  }
  Node* out = llvm::PoisonValue::get(result);
  for (unsigned k = 0; k < yields.size(); ++k) {
    Node* v = nullptr;
    if (!uniform) v = vector(yields[k]);
    else if (u.uniform(yields[k])) v = scalar(yields[k]);
    else v = b.CreateExtractElement(vector(yields[k]), std::uint64_t{0});
    out = b.CreateInsertValue(out, to_memory(f.type(yields[k]).dtype(), v), k);
  }
  b.CreateRet(out);
  return fn;
}

void Emitter::emit_call(OpId o) {
  const Op& op = f[o];
  const Function& callee = *f.callees[op.ref];
  if (!calls_ || callee.kind != Function::Kind::fn) throw KernelError(op.loc, "cpu: `" + callee.name + "` cannot be called from here");
  if (callee.external) return emit_external(o);
  bool uniform = !is_impure(callee);
  for (ValueId v : op.operands) uniform &= u.uniform(v);
  const unsigned width = uniform ? 1 : W;
  llvm::Function*& made = calls_->made[{&callee, width, uniform}];
  if (!made) {
    EmitOptions options = opt;
    options.width = static_cast<int>(width);
    made = Emitter(module_, callee, options, calls_, !uniform).run_callee(callee.name, uniform);
  }
  llvm::SmallVector<Node*> arguments = {thread_};
  if (!uniform) arguments.push_back(to_memory(DType::boolean, mask_or_all()));
  for (ValueId v : op.operands) arguments.push_back(to_memory(f.type(v).dtype(), uniform ? scalar(v) : vector(v)));
  Node* out = b.CreateCall(made, arguments);
  for (unsigned k = 0; k < op.results.size(); ++k)
    set(op.results[k], from_memory(f.type(op.results[k]).dtype(), b.CreateExtractValue(out, k)));
}

}  // namespace fluxion::cpu
