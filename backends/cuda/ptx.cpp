// LLVM's NVPTX code generator behind ptx.h, and what is known of a kernel without it.
#include "ptx.h"

#include <llvm/Analysis/AliasAnalysis.h>
#include <llvm/Analysis/BasicAliasAnalysis.h>
#include <llvm/Analysis/ScopedNoAliasAA.h>
#include <llvm/Config/llvm-config.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/Verifier.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/Transforms/InstCombine/InstCombine.h>
#include <llvm/Transforms/Scalar/DCE.h>
#include <llvm/Transforms/Scalar/EarlyCSE.h>
#include <llvm/Transforms/Scalar/LICM.h>
#include <llvm/Transforms/Scalar/LoopPassManager.h>
#include <llvm/Transforms/Scalar/LoopRotation.h>
#include <llvm/Transforms/Scalar/LoopUnrollPass.h>
#include <llvm/Transforms/Scalar/SROA.h>
#include <llvm/Transforms/Scalar/SimplifyCFG.h>

#include "common/llvm_analyses.h"
#include "common/uniformity.h"
#include "emit.h"
#include "fluxion/error.h"

namespace fluxion::cuda {
namespace {

struct Arch {
  const char* name;
  int number;       // compute capability times 10
  const char* isa;  // the oldest PTX that has it, so that old drivers take it
};
constexpr Arch kArchs[] = {{"sm_70", 70, "+ptx63"}, {"sm_72", 72, "+ptx63"}, {"sm_75", 75, "+ptx63"}, {"sm_80", 80, "+ptx70"},
                           {"sm_86", 86, "+ptx71"}, {"sm_87", 87, "+ptx74"}, {"sm_89", 89, "+ptx78"}, {"sm_90", 90, "+ptx78"}};

const Arch& arch_of(const std::string& name) {
  std::string known;
  for (const Arch& a : kArchs) {
    if (name == a.name) return a;
    known += (known.empty() ? "" : ", ") + std::string(a.name);
  }
  throw DeviceError({}, "cuda: no code can be made for \"" + name + "\"; there are: " + known);
}

std::unique_ptr<llvm::TargetMachine> make_machine(const PtxOptions& options) {
  static const bool once = [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    return true;
  }();
  (void)once;
  std::string error;
  const std::string triple = "nvptx64-nvidia-cuda";
  const llvm::Target* found = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!found) throw DeviceError({}, "device cuda: this LLVM cannot make PTX: " + error);
  llvm::TargetOptions target;
  // fma is an op of the IR; the .rn of each instruction keeps ptxas from making others.
  target.AllowFPOpFusion = options.fast ? llvm::FPOpFusion::Fast : llvm::FPOpFusion::Strict;
  target.UnsafeFPMath = options.fast;
  const Arch& arch = arch_of(options.arch);
  return std::unique_ptr<llvm::TargetMachine>(
      found->createTargetMachine(triple, arch.name, arch.isa, target, std::nullopt, std::nullopt, llvm::CodeGenOptLevel::Default));
}

void optimise(llvm::Function& f, llvm::TargetMachine& machine) {
  LlvmAnalyses analyses(machine);
  llvm::FunctionPassManager passes;
  const auto on_loops = [](auto... pass) {
    llvm::LoopPassManager loop;
    (loop.addPass(std::move(pass)), ...);
    return llvm::createFunctionToLoopPassAdaptor(std::move(loop), /*UseMemorySSA=*/true);
  };
  passes.addPass(llvm::SROAPass(llvm::SROAOptions::ModifyCFG));
  passes.addPass(llvm::EarlyCSEPass());
  passes.addPass(llvm::InstCombinePass());
  passes.addPass(llvm::SimplifyCFGPass());
  passes.addPass(on_loops(llvm::LoopRotatePass(), llvm::LICMPass(llvm::LICMOptions())));
  // Short loops of known length go, so that arrays of the thread become registers: what is indexed at run time lies in slow memory.
  passes.addPass(llvm::createFunctionToLoopPassAdaptor(llvm::LoopFullUnrollPass(/*OptLevel=*/2)));
  passes.addPass(llvm::SROAPass(llvm::SROAOptions::ModifyCFG));
  passes.addPass(llvm::EarlyCSEPass(true));
  passes.addPass(llvm::InstCombinePass());
  passes.addPass(llvm::SimplifyCFGPass());
  passes.addPass(llvm::DCEPass());
  passes.run(f, analyses.functions);
}

void visit_sites(const Function& f, RegionId r, std::vector<gpu::Site>& out, int& values) {
  for (OpId o : f[r].ops) {
    const Op& op = f[o];
    for (RegionId inner : op.regions) visit_sites(f, inner, out, values);
    if (op.code != Opcode::check && op.code != Opcode::print) continue;
    gpu::Site site{op.code, op.loc, f.texts[op.ref], {}};
    for (std::size_t k = op.code == Opcode::check; k < op.operands.size(); ++k) site.types.push_back(f.type(op.operands[k]).dtype());
    values = std::max(values, static_cast<int>(site.types.size()));
    out.push_back(std::move(site));
  }
}

}  // namespace

std::vector<gpu::Site> sites(const Function& kernel, int& values) {
  std::vector<gpu::Site> out;
  values = 0;
  visit_sites(kernel, kernel.body, out, values);
  return out;
}

int parameter_bytes(const Function& kernel) {
  int bytes = 3 * 8 + 3 * 4;
  const auto add = [&](int size) { bytes = (bytes + size - 1) / size * size + size; };
  for (const Parameter& p : kernel.parameters) {
    if (p.kind == Parameter::Kind::scalar) {
      add(size_of(kernel.type(p.value).dtype()));
      continue;
    }
    add(8);
    for (int k = 0; k < kernel[p.memory].rank; ++k) add(4);
  }
  return bytes;
}

gpu::Plan plan(const Function& f, const CompileOptions& options, bool many) {
  return gpu::make_plan(f, options, {true, true, true, true, true, true}, {.subgroups = true, .warp_sums = true, .many = many});
}

std::string ptx(const Function& kernel, const PtxOptions& options) {
  if (const int bytes = parameter_bytes(kernel); bytes > kParameterBytes)
    throw KernelError(kernel.loc, "kernel \"" + kernel.name + "\": " + std::to_string(bytes) + " bytes of parameters are more than the " +
                                      std::to_string(kParameterBytes) + " that CUDA takes; pass fewer arrays");
  const auto machine = make_machine(options);
  llvm::LLVMContext context;
  context.setDiscardValueNames(true);
  llvm::Module module("fluxion", context);
  module.setDataLayout(machine->createDataLayout());
  module.setTargetTriple(machine->getTargetTriple().getTriple());
  llvm::Function* entry = emit(module, kernel, options);
  if (options.fast) entry->addFnAttr("denormal-fp-math-f32", "preserve-sign,preserve-sign");
  std::string why;
  llvm::raw_string_ostream explanation(why);
  if (llvm::verifyModule(module, &explanation)) throw Bug(kernel.loc, "cuda: bad LLVM IR: " + why);
  optimise(*entry, *machine);
  llvm::SmallVector<char, 0> text;
  llvm::raw_svector_ostream out(text);
  llvm::legacy::PassManager passes;
  if (machine->addPassesToEmitFile(passes, out, nullptr, llvm::CodeGenFileType::AssemblyFile)) throw Bug({}, "cuda: no code generator");
  passes.run(module);
  return {text.data(), text.size()};
}

std::string arch_for(int major, int minor) {
  std::string best;
  for (const Arch& a : kArchs)
    if (a.number <= 10 * major + minor) best = a.name;
  return best;
}

std::string fingerprint() { return "llvm " LLVM_VERSION_STRING " 1"; }

}  // namespace fluxion::cuda
