// LLVM's optimiser, code generator and JIT linker: the one file that includes their headers.
#include "orc.h"

#include <llvm/Analysis/AliasAnalysis.h>
#include <llvm/Analysis/BasicAliasAnalysis.h>
#include <llvm/Analysis/ScopedNoAliasAA.h>
#include <llvm/Analysis/TargetTransformInfo.h>
#include <llvm/ExecutionEngine/JITLink/JITLinkMemoryManager.h>
#include <llvm/ExecutionEngine/Orc/Core.h>
#include <llvm/ExecutionEngine/Orc/ExecutorProcessControl.h>
#include <llvm/ExecutionEngine/Orc/ObjectLinkingLayer.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/Verifier.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/TargetParser/Host.h>
#include <llvm/Transforms/InstCombine/InstCombine.h>
#include <llvm/Transforms/Scalar/DCE.h>
#include <llvm/Transforms/Scalar/EarlyCSE.h>
#include <llvm/Transforms/Scalar/LICM.h>
#include <llvm/Transforms/Scalar/LoopPassManager.h>
#include <llvm/Transforms/Scalar/SROA.h>
#include <llvm/Transforms/Scalar/SimplifyCFG.h>
#include <llvm/Transforms/Utils/Cloning.h>

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>

#include "common/llvm_analyses.h"
#include "fluxion/error.h"
#include "symbols.h"

namespace fluxion::cpu {
namespace {
namespace orc = llvm::orc;

[[noreturn]] void bug(const std::string& what, llvm::Error e) { throw Bug({}, "cpu: " + what + ": " + llvm::toString(std::move(e))); }

void initialize() {
  static const bool once = [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
    return true;
  }();
  (void)once;
}

/// One session for the process; never destroyed, since code may run until the very end.
struct Session {
  std::unique_ptr<orc::ExecutionSession> session;
  std::unique_ptr<orc::ObjectLinkingLayer> layer;
  orc::JITDylib* runtime = nullptr;

  Session() {
    auto control = orc::SelfExecutorProcessControl::Create();
    if (!control) bug("no executor", control.takeError());
    session = std::make_unique<orc::ExecutionSession>(std::move(*control));
    layer = std::make_unique<orc::ObjectLinkingLayer>(*session);
    session->setErrorReporter([](llvm::Error e) { llvm::consumeError(std::move(e)); });
    runtime = &session->createBareJITDylib("runtime");
    orc::SymbolMap map;
    for (const Symbol& s : runtime_symbols())
      map[session->intern(s.name)] = {orc::ExecutorAddr::fromPtr(s.address), llvm::JITSymbolFlags::Exported};
    if (auto e = runtime->define(orc::absoluteSymbols(std::move(map)))) bug("runtime symbols", std::move(e));
  }
};
Session& session() {
  static Session* s = new Session;
  return *s;
}

class LinkedCode final : public Linked {
 public:
  explicit LinkedCode(std::string_view object) {
    static std::atomic<unsigned> next = 0;
    Session& s = session();
    code_ = &s.session->createBareJITDylib("code" + std::to_string(next++));
    code_->addToLinkOrder(*s.runtime);
    auto buffer = llvm::MemoryBuffer::getMemBufferCopy(llvm::StringRef(object.data(), object.size()), "fluxion");
    if (auto e = s.layer->add(*code_, std::move(buffer))) {
      llvm::consumeError(s.session->removeJITDylib(*code_));
      throw DeviceError({}, "cpu: an object does not load: " + llvm::toString(std::move(e)));
    }
  }
  ~LinkedCode() override { llvm::consumeError(session().session->removeJITDylib(*code_)); }
  void* symbol(const std::string& name) const override {
    auto found = session().session->lookup({code_}, name);
    if (!found) throw DeviceError({}, "cpu: code does not link: " + llvm::toString(found.takeError()));
    return found->getAddress().toPtr<void*>();
  }

 private:
  orc::JITDylib* code_ = nullptr;
};

const char* const kSse2 = "+sse2,+cx8,+fxsr,+mmx,+cmov";
const char* const kAvx2 =
    "+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe,+cx8,+cx16,+fxsr,+mmx,+cmov";
const char* const kAvx512 = ",+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd";

Target with_features(Target t) {
  t.features = t.name == "sse2" ? kSse2 : kAvx2;
  if (t.name == "avx512") t.features += kAvx512;
  t.avx512 = t.name == "avx512";
  t.fma = t.f16c = t.name != "sse2";
  return t;
}

Target make_target(std::string_view forced) {
  // CPUID (with the operating system's word on the wide registers), not the name of the CPU.
  const llvm::StringMap<bool> host = llvm::sys::getHostCPUFeatures();
  const auto has = [&](std::initializer_list<const char*> list) {
    for (const char* name : list)
      if (!host.lookup(name)) return false;
    return true;
  };
  const bool avx2 = has({"avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "popcnt", "movbe"});
  const bool avx512 = avx2 && has({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"});
  Target t;
  t.name = forced.empty() ? (avx512 ? "avx512" : avx2 ? "avx2" : "sse2") : std::string(forced);
  if (t.name != "sse2" && t.name != "avx2" && t.name != "avx512")
    throw DeviceError({}, "cpu: features \"" + t.name + "\" are unknown; use sse2, avx2, avx512, or nothing for this machine");
  if ((t.name == "avx2" && !avx2) || (t.name == "avx512" && !avx512))
    throw DeviceError({}, "cpu: this machine lacks the features of \"" + t.name + "\"");
  return with_features(std::move(t));
}

std::unique_ptr<llvm::TargetMachine> make_machine(const Target& target) {
  initialize();
  std::string error;
  const std::string triple = target.arm ? "aarch64-unknown-linux-gnu" : "x86_64-unknown-linux-gnu";
  const llvm::Target* found = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!found) throw Bug({}, "cpu: " + error);
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;  // fma is an op of the IR, never made downstream
  return std::unique_ptr<llvm::TargetMachine>(found->createTargetMachine(triple, target.arm ? "generic" : "x86-64", target.features,
                                                                         options, llvm::Reloc::PIC_, llvm::CodeModel::Small,
                                                                         llvm::CodeGenOptLevel::Default));
}

void optimise(llvm::Module& module, llvm::TargetMachine& machine) {
  LlvmAnalyses analyses(machine);
  llvm::FunctionPassManager passes;
  passes.addPass(llvm::SROAPass(llvm::SROAOptions::PreserveCFG));
  passes.addPass(llvm::EarlyCSEPass());
  passes.addPass(llvm::InstCombinePass());
  passes.addPass(llvm::SimplifyCFGPass());
  passes.addPass(llvm::createFunctionToLoopPassAdaptor(llvm::LICMPass(llvm::LICMOptions()), /*UseMemorySSA=*/true));
  passes.addPass(llvm::EarlyCSEPass(true));
  passes.addPass(llvm::DCEPass());
  for (llvm::Function& f : module)
    if (!f.isDeclaration()) passes.run(f, analyses.functions);
}

std::string emit(llvm::Module& module, llvm::TargetMachine& machine, llvm::CodeGenFileType kind) {
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream out(bytes);
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, out, nullptr, kind)) throw Bug({}, "cpu: no code generator");
  passes.run(module);
  return {bytes.data(), bytes.size()};
}

}  // namespace

const Target& target(std::string_view forced) {
  static std::mutex mutex;
  static auto& targets = *new std::map<std::string, Target, std::less<>>;  // never destroyed, as the session
  std::lock_guard lock(mutex);
  const auto it = targets.find(forced);
  if (it != targets.end()) return it->second;
  return targets.emplace(std::string(forced), make_target(forced)).first->second;
}

Target object_target(std::string_view name) {
  if (name == "native") return target("");
  Target t;
  if (name == "aarch64") {
    t.name = name;
    t.features = "+neon,+fp-armv8";
    t.fma = t.f16c = t.arm = true;
    return t;
  }
  t.name = name == "x86-64" ? "sse2" : name == "x86-64-v3" ? "avx2" : name == "x86-64-v4" ? "avx512" : "";
  if (t.name.empty())
    throw DeviceError({}, "export: no target is named \"" + std::string(name) +
                              "\"; objects can be made for native, x86-64, x86-64-v3, x86-64-v4, aarch64");
  return with_features(std::move(t));
}

EmitOptions emit_options(const CompileOptions& options, const Target& t, int width) {
  EmitOptions e;
  e.width = width;
  e.bounds = options.bounds || options.race;
  e.race = options.race;
  e.fast = options.fast;
  e.relaxed = options.relaxed;
  e.interrupt = options.interrupt;
  e.masks_in_k = t.avx512;
  e.f16c = t.f16c;
  e.fma = t.fma;
  return e;
}

CompiledObject compile_object(const Target& target, bool texts, const std::function<void(llvm::Module&)>& fill) {
  const auto machine = make_machine(target);
  llvm::LLVMContext context;
  context.setDiscardValueNames(!texts);
  llvm::Module module("fluxion", context);
  module.setDataLayout(machine->createDataLayout());
  module.setTargetTriple(machine->getTargetTriple().getTriple());
  module.setPICLevel(llvm::PICLevel::BigPIC);
  fill(module);
#ifndef NDEBUG
  constexpr bool check = true;
#else
  constexpr bool check = false;
#endif
  if (check || texts) {
    std::string why;
    llvm::raw_string_ostream out(why);
    if (llvm::verifyModule(module, &out)) throw Bug({}, "cpu: bad LLVM IR: " + why);
  }
  optimise(module, *machine);
  CompiledObject r;
  if (texts) {
    llvm::raw_string_ostream out(r.llvm);
    module.print(out, nullptr);
    r.assembly = emit(*std::unique_ptr<llvm::Module>(llvm::CloneModule(module)), *machine, llvm::CodeGenFileType::AssemblyFile);
  }
  r.object = emit(module, *machine, llvm::CodeGenFileType::ObjectFile);
  return r;
}

std::shared_ptr<Linked> link_object(std::string_view object) { return std::make_shared<LinkedCode>(object); }

}  // namespace fluxion::cpu
