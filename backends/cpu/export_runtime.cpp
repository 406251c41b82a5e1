// What generated code calls, inside an exported object: failures write a text with the user's line and leave the kernel by a jump,
// prints go to standard output. Each site has its format, made here from the text of the language.
#include <llvm/IR/Intrinsics.h>

#include <fmt/format.h>

#include "export_driver.h"
#include "fluxion/error.h"

namespace fluxion::cpu {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char ch : text) out += ch == '%' ? std::string("%%") : std::string(1, ch);
  return out;
}

}  // namespace

Driver::Driver(llvm::Module& module, const ExportSignature& signature, const Function& kernel, const std::vector<KernelPlan>& plans,
               bool arm, std::int64_t tape_bytes)
    : module_(module), c(module.getContext()), b(c), s(signature), f(kernel), plans_(plans), arm_(arm), tape_bytes_(tape_bytes) {}

llvm::FunctionCallee Driver::libc(const char* name, llvm::Type* result, llvm::ArrayRef<llvm::Type*> arguments, bool variadic) {
  return module_.getOrInsertFunction(name, llvm::FunctionType::get(result, arguments, variadic));
}

Driver::Node* Driver::text(const std::string& t) { return b.CreateGlobalString(t, "", 0, &module_); }

void Driver::begin_function(const std::string& name, llvm::Type* result, llvm::ArrayRef<llvm::Type*> arguments, bool exported) {
  fn_ = llvm::Function::Create(llvm::FunctionType::get(result, arguments, false),
                               exported ? llvm::Function::ExternalLinkage : llvm::Function::InternalLinkage, name, module_);
  fn_->addFnAttr(llvm::Attribute::NoUnwind);
  if (!exported) fn_->addFnAttr(llvm::Attribute::NoInline);
  b.SetInsertPoint(block("entry"));
}

std::string Driver::place(Loc at) const {
  const std::string where = to_string(at);
  return where.empty() ? where : where + ": ";
}

std::string Driver::about() const { return escaped(place(s.loc) + "kernel \"" + s.kernel + "\": "); }

void Driver::say(const std::string& format, llvm::ArrayRef<Node*> values) {
  llvm::SmallVector<Node*> all = {message_, size_, text(format)};
  all.append(values.begin(), values.end());
  b.CreateCall(libc("snprintf", b.getInt32Ty(), {b.getPtrTy(), b.getInt64Ty(), b.getPtrTy()}, true), all);
}

/// A word as printf takes it.
Driver::Node* Driver::shown(DType t, Node* bits) {
  if (is_bool(t)) return b.CreateSelect(b.CreateICmpNE(bits, i64(0)), text("true"), text("false"));
  if (t == DType::f64) return b.CreateBitCast(bits, b.getDoubleTy());
  if (t == DType::f32) return b.CreateFPExt(b.CreateBitCast(b.CreateTrunc(bits, b.getInt32Ty()), b.getFloatTy()), b.getDoubleTy());
  if (is_signed(t)) return b.CreateSExt(b.CreateTrunc(bits, b.getIntNTy(static_cast<unsigned>(size_of(t)) * 8)), b.getInt64Ty());
  return bits;
}

std::string Driver::format_of(std::string_view text, const std::vector<DType>& types, Node* words, llvm::SmallVectorImpl<Node*>& values) {
  const auto next = [&]() -> std::string {
    const DType t = types[values.size()];
    values.push_back(shown(t, word(words, 8 * values.size())));
    return is_bool(t) ? "%s" : is_half(t) ? "0x%04llx" : is_float(t) ? "%g" : is_signed(t) ? "%lld" : "%llu";
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 2) == "{}" && values.size() < types.size()) {
      out += next();
      ++i;
    } else {
      out += escaped(text.substr(i, 1));
    }
  }
  while (values.size() < types.size()) out += " " + next();
  return out;
}

/// A block for each site for which `emit` says so, reached by phase and number in `key`; all go on to where this ends.
void Driver::for_site(Node* key, const std::function<bool(int, const Site&)>& emit) {
  llvm::BasicBlock* out = block("out");
  auto* which = b.CreateSwitch(key, out);
  for (std::size_t phase = 0; phase < plans_.size(); ++phase)
    for (std::size_t k = 0; k < plans_[phase].sites.size(); ++k) {
      llvm::BasicBlock* here = block("site");
      b.SetInsertPoint(here);
      if (!emit(static_cast<int>(phase), plans_[phase].sites[k])) {
        here->eraseFromParent();
        continue;
      }
      b.CreateBr(out);
      which->addCase(b.getInt64(phase << 32 | k), here);
    }
  b.SetInsertPoint(out);
}

namespace {
llvm::Value* key_of(llvm::IRBuilder<>& b, llvm::Value* phase, llvm::Value* site) {
  return b.CreateOr(b.CreateShl(phase, 32), b.CreateZExt(site, b.getInt64Ty()));
}
}  // namespace

void Driver::define_fail(llvm::Function* fail) {
  fn_ = fail;
  fail->setLinkage(llvm::Function::InternalLinkage);
  fail->addFnAttr(llvm::Attribute::NoInline);
  b.SetInsertPoint(block("entry"));
  Node *state = fail->getArg(0), *words = fail->getArg(2);
  message_ = pointer(state, kMessageAt);
  size_ = word(state, kMessageSizeAt);
  for_site(key_of(b, word(state, kPhaseAt), fail->getArg(1)), [&](int, const Site& site) {
    llvm::SmallVector<Node*> values;
    const std::string kernel = fmt::format("kernel \"{}\": ", escaped(s.kernel));
    std::string format;
    if (site.code == Opcode::print || site.code == Opcode::call) return false;
    if (site.code == Opcode::check) {
      format = format_of(site.text, site.operands, words, values);
    } else if (site.code == Opcode::barrier) {
      format = kernel + "not all threads of a group come to this barrier";
    } else if (site.code == Opcode::load || site.code == Opcode::store || site.code == Opcode::accumulate || site.code == Opcode::atomic) {
      std::string where, shape;
      for (std::size_t k = 0; k < site.operands.size(); ++k) where += k ? ", %lld" : "%lld", shape += k ? " x %lld" : "%lld";
      for (std::size_t k = 0; k < 2 * site.operands.size(); ++k) values.push_back(shown(DType::i32, word(words, 8 * k)));
      format = fmt::format("{}{}[{}] is outside {}, which has {} elements", kernel, escaped(site.text), where, escaped(site.text), shape);
    } else {
      for (std::size_t k = 0; k < 2; ++k) values.push_back(shown(DType::i32, word(words, 8 * k)));
      format = kernel + "item %lld of a sequence of %lld";
    }
    say(escaped(place(site.loc)) + format, values);
    return true;
  });
  b.CreateCall(libc("longjmp", b.getVoidTy(), {b.getPtrTy(), b.getInt32Ty()}), {at(state, kEscapeAt), b.getInt32(1)});
  b.CreateUnreachable();
}

void Driver::define_exhausted(llvm::Function* exhausted) {
  fn_ = exhausted;
  exhausted->setLinkage(llvm::Function::InternalLinkage);
  exhausted->addFnAttr(llvm::Attribute::NoInline);
  b.SetInsertPoint(block("entry"));
  Node* state = exhausted->getArg(0);
  message_ = pointer(state, kMessageAt);
  size_ = word(state, kMessageSizeAt);
  auto* where = b.CreateAlloca(b.getPtrTy());
  b.CreateStore(text(place(s.loc)), where);
  for_site(key_of(b, word(state, kPhaseAt), exhausted->getArg(1)), [&](int, const Site& site) {
    if (!site.loc) return false;
    b.CreateStore(text(place(site.loc)), where);
    return true;
  });
  Node* used = b.CreateSub(word(state, 0), word(state, 16));
  say(fmt::format("%skernel \"{}\": the tape is full: %lld of {} bytes are in use and %lld more are needed; shorten the loop, save less of "
                  "it, or export it with more tape_bytes",
                  escaped(s.kernel), tape_bytes_),
      {b.CreateLoad(b.getPtrTy(), where), used, exhausted->getArg(2)});
  b.CreateCall(libc("longjmp", b.getVoidTy(), {b.getPtrTy(), b.getInt32Ty()}), {at(state, kEscapeAt), b.getInt32(1)});
  b.CreateUnreachable();
}

void Driver::define_print(llvm::Function* print) {
  fn_ = print;
  print->setLinkage(llvm::Function::InternalLinkage);
  b.SetInsertPoint(block("entry"));
  for_site(key_of(b, word(print->getArg(0), kPhaseAt), print->getArg(1)), [&](int, const Site& site) {
    if (site.code != Opcode::print) return false;
    llvm::SmallVector<Node*> values;
    const std::string format = format_of(site.text, site.operands, print->getArg(2), values) + "\n";
    llvm::SmallVector<Node*> all = {text(format)};
    all.append(values.begin(), values.end());
    b.CreateCall(libc("printf", b.getInt32Ty(), {b.getPtrTy()}, true), all);
    return true;
  });
  b.CreateRetVoid();
}

void Driver::define_runtime() {
  std::vector<llvm::Function*> called;
  for (llvm::Function& g : module_)
    if (g.isDeclaration() && g.getName().starts_with("fluxion_")) called.push_back(&g);
  const auto stand_in = [&](llvm::Function* g, const char* name) {
    g->replaceAllUsesWith(module_.getOrInsertFunction(name, g->getFunctionType(), g->getAttributes()).getCallee());
    g->eraseFromParent();
  };
  for (llvm::Function* g : called) {
    const std::string name = g->getName().str();
    if (name == "fluxion_op_fma") stand_in(g, "fma");
    else if (name == "fluxion_op_fmaf") stand_in(g, "fmaf");
    else if (name == "fluxion_op_rem") stand_in(g, "fmod");
    else if (name == "fluxion_op_remf") stand_in(g, "fmodf");
    else if (name == "fluxion_cpu_fail") define_fail(g);
    else if (name == "fluxion_cpu_print") define_print(g);
    else if (name == "fluxion_cpu_exhausted") define_exhausted(g), arena_ = true;
    else throw KernelError(s.loc, fmt::format("export: kernel \"{}\" needs {} of the library", s.kernel, name));
    if (name.starts_with("fluxion_cpu_")) g->setName(s.name + name.substr(11));  // the next kernel of the module has its own
  }
}

/// guard(kernel, begin, end, args, state): true when the kernel came to its end. A function of its own, so that no value of its caller
/// lives in a register across the jump.
llvm::Function* Driver::define_guard() {
  llvm::Type *p = b.getPtrTy(), *w = b.getInt64Ty();
  begin_function(s.name + ".guard", b.getInt1Ty(), {p, w, w, p, p}, false);
  auto target = libc("_setjmp", b.getInt32Ty(), {p});
  llvm::cast<llvm::Function>(target.getCallee())->addFnAttr(llvm::Attribute::ReturnsTwice);
  auto* first = b.CreateCall(target, {at(fn_->getArg(4), kEscapeAt)});
  first->addFnAttr(llvm::Attribute::ReturnsTwice);
  llvm::BasicBlock *go = block("go"), *failed = block("failed");
  b.CreateCondBr(b.CreateICmpEQ(first, b.getInt32(0)), go, failed);
  b.SetInsertPoint(go);
  auto* type = llvm::FunctionType::get(b.getVoidTy(), {p, w, w, p}, false);
  b.CreateCall(type, fn_->getArg(0), {fn_->getArg(3), fn_->getArg(1), fn_->getArg(2), fn_->getArg(4)});
  b.CreateRet(b.getTrue());
  b.SetInsertPoint(failed);
  b.CreateRet(b.getFalse());
  return fn_;
}

}  // namespace fluxion::cpu
