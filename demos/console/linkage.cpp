// Names tell things apart: to clang a session is one translation unit, in which a mangled name of internal linkage belongs to one entity,
// lambdas and unnamed types being numbered throughout.
#include "linkage.h"

#include <vector>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <llvm/IR/Constants.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/Module.h>
#pragma GCC diagnostic pop

namespace fluxion::console {
namespace {

/// The variables that a function names.
void variables_of(const llvm::Value* v, std::set<const llvm::GlobalVariable*>& out) {
  if (const auto* g = llvm::dyn_cast<llvm::GlobalVariable>(v)) out.insert(g);
  else if (const auto* c = llvm::dyn_cast<llvm::ConstantExpr>(v))
    for (const llvm::Use& u : c->operands()) variables_of(u.get(), out);
}
std::set<const llvm::GlobalVariable*> variables_of(const llvm::Function& f) {
  std::set<const llvm::GlobalVariable*> out;
  for (const llvm::Instruction& i : llvm::instructions(f))
    for (const llvm::Use& u : i.operands()) variables_of(u.get(), out);
  return out;
}

}  // namespace

std::set<std::string> share(llvm::Module& module, const std::set<std::string>& shared) {
  std::set<std::string> added;
  std::set<const llvm::GlobalVariable*> known;
  std::vector<llvm::GlobalVariable*> again;
  for (llvm::GlobalVariable& v : module.globals()) {
    if (v.isDeclaration() || !v.hasInternalLinkage() || !v.getName().starts_with("_Z")) continue;
    if (shared.count(v.getName().str()) != 0) {
      known.insert(&v);
      again.push_back(&v);
    } else {
      added.insert(v.getName().str());
      v.setLinkage(llvm::GlobalValue::WeakAnyLinkage);
      v.setDSOLocal(false);
    }
  }
  for (llvm::Function& f : module) {
    if (f.isDeclaration() || !f.hasInternalLinkage() || !f.getName().starts_with("_Z")) continue;
    f.setLinkage(llvm::GlobalValue::WeakAnyLinkage);
    f.setDSOLocal(false);
  }
  // An initialisation belongs to a variable from before where it names such a one and none that is new.
  std::vector<llvm::CallInst*> calls;
  for (llvm::Function& f : module) {
    if (!f.getName().starts_with("_GLOBAL__sub_I_")) continue;
    for (llvm::Instruction& i : llvm::instructions(f)) {
      auto* call = llvm::dyn_cast<llvm::CallInst>(&i);
      const llvm::Function* init = call ? call->getCalledFunction() : nullptr;
      if (!init || !init->hasInternalLinkage() || !init->getName().starts_with("__cxx_global_var_init")) continue;
      bool old = false, fresh = false;
      for (const llvm::GlobalVariable* v : variables_of(*init)) {
        old |= known.count(v) != 0;
        fresh |= !v->isDeclaration() && !v->hasPrivateLinkage() && known.count(v) == 0;
      }
      if (old && !fresh) calls.push_back(call);
    }
  }
  for (llvm::CallInst* call : calls) {
    llvm::Function* init = call->getCalledFunction();
    call->eraseFromParent();
    if (init->use_empty()) init->eraseFromParent();
  }
  for (llvm::GlobalVariable* v : again) {
    v->setInitializer(nullptr);
    v->setLinkage(llvm::GlobalValue::ExternalLinkage);
    v->setComdat(nullptr);
    v->setDSOLocal(false);
  }
  return added;
}

}  // namespace fluxion::console
