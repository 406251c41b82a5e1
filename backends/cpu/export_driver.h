// Private to export*.cpp: what an exported object has around its kernels, as LLVM IR. It stands in for the runtime of launches: checks of
// the arguments, scratch, the arena of tapes, and what generated code calls when something fails. Needs libc alone.
//
// The state of a call, which kernels take as their ThreadContext (abi.h: they know its first two words):
//   0 top, 8 end, 16 base of the arena; 24 message, 32 its size; 40 phase (i32); 48 a jmp_buf
#pragma once
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include <functional>

#include "emit.h"
#include "fluxion/export.h"

namespace fluxion::cpu {

inline constexpr std::uint64_t kMessageAt = 24, kMessageSizeAt = 32, kPhaseAt = 40, kEscapeAt = 48;
inline constexpr std::uint64_t kStateBytes = kEscapeAt + 512;  // a jmp_buf has 200 bytes (x86-64) or 312 (AArch64) in glibc
inline constexpr std::int64_t kRangeSegment = 1024;            // points of a part of a domain of one axis

class Driver {
 public:
  using Node = llvm::Value;
  Driver(llvm::Module& module, const ExportSignature& signature, const Function& kernel, const std::vector<KernelPlan>& plans, bool arm,
         std::int64_t tape_bytes);
  /// Bodies for the runtime entries that the kernels call. ops: see symbols.cpp.
  void define_runtime();
  /// The public functions. `kernels`, `wide`: by phase.
  void define_entries(const std::vector<llvm::Function*>& kernels, const std::vector<llvm::Function*>& wide, bool ranges);

 private:
  llvm::Module& module_;
  llvm::LLVMContext& c;
  llvm::IRBuilder<> b;
  const ExportSignature& s;
  const Function& f;
  const std::vector<KernelPlan>& plans_;
  const bool arm_;
  const std::int64_t tape_bytes_;
  bool arena_ = false;
  llvm::Function* fn_ = nullptr;

  struct ArrayNodes {  // of a memory parameter of the kernel, scratch too
    Node *data = nullptr, *count = nullptr, *bytes = nullptr;
    Node* extent[3] = {};
  };
  Node *args_ = nullptr, *message_ = nullptr, *size_ = nullptr;
  Node* domain_[3] = {};
  std::vector<ArrayNodes> arrays_;  // by parameter of the kernel; scalars have none
  std::vector<Node*> scratch_;      // allocas of what is to be freed
  llvm::AllocaInst* status_ = nullptr;
  llvm::AllocaInst* state_ = nullptr;

  llvm::BasicBlock* block(const char* name) { return llvm::BasicBlock::Create(c, name, fn_); }
  llvm::FunctionCallee libc(const char* name, llvm::Type* result, llvm::ArrayRef<llvm::Type*> arguments, bool variadic = false);
  Node* text(const std::string& s);
  Node* at(Node* base, std::uint64_t offset) { return b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), base, offset); }
  Node* word(Node* base, std::uint64_t offset) { return b.CreateAlignedLoad(b.getInt64Ty(), at(base, offset), llvm::Align(8)); }
  Node* pointer(Node* base, std::uint64_t offset) { return b.CreateAlignedLoad(b.getPtrTy(), at(base, offset), llvm::Align(8)); }
  void put(Node* v, Node* base, std::uint64_t offset) { b.CreateAlignedStore(v, at(base, offset), llvm::Align(8)); }
  Node* i64(std::int64_t v) { return b.getInt64(static_cast<std::uint64_t>(v)); }
  void begin_function(const std::string& name, llvm::Type* result, llvm::ArrayRef<llvm::Type*> arguments, bool exported);
  /// snprintf to the message; `values`: i64, double or ptr.
  void say(const std::string& format, llvm::ArrayRef<Node*> values);
  std::string place(Loc at) const;
  /// What a message about the whole kernel begins with, as a format of printf.
  std::string about() const;
  /// A text of the language as a format of printf, and its values, which lie in memory as words.
  std::string format_of(std::string_view text, const std::vector<DType>& types, Node* words, llvm::SmallVectorImpl<Node*>& values);
  Node* shown(DType t, Node* bits);
  void for_site(Node* key, const std::function<bool(int phase, const Site&)>& emit);

  void define_fail(llvm::Function* fail);
  void define_exhausted(llvm::Function* exhausted);
  void define_print(llvm::Function* print);
  llvm::Function* define_guard();
  // ---- export_entries.cpp
  void load_arguments();
  void require(Node* ok, const std::string& format, llvm::ArrayRef<Node*> values = {});
  std::pair<Node*, Node*> product(Node* const (&n)[3]);
  void check_extents();
  void check_reach();
  void check_overlap();
  Node* units();
  Node* points();
  void leave_with(ExportStatus status, llvm::BasicBlock* leave);
  void make_scratch(llvm::BasicBlock* leave);
  void add_scratch();
  void make_arena(llvm::BasicBlock* leave);
  Node* flush_denormals();
  void restore_control(Node* saved);
  llvm::Function* define_run(const std::vector<llvm::Function*>& kernels, const std::vector<llvm::Function*>& wide);
};

}  // namespace fluxion::cpu
