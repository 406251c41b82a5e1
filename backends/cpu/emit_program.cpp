// A program in memory form as one native function: plain scalar control flow, kernels called through the
// runtime. Pointers, extents and constant domains of each run are written once, on entry; a turn of a time loop
// stores what changes (records, scalars) and calls. Everything scalar is the kernel emitter's, with all values
// uniform.
#include <algorithm>

#include "emitter.h"
#include "fluxion/error.h"
#include "program_emit.h"
#include "program_state.h"

namespace fluxion::cpu {
namespace {

class ProgramEmitter final : public Emitter {
 public:
  ProgramEmitter(llvm::Module& module, const Function& f, const EmitOptions& options, std::span<llvm::Function* const> kernels,
                 ProgramEmission how)
      : Emitter(module, f, options, nullptr),
        kernels_(kernels),
        numbers_(number_program_sites(f)),
        own_calls_(f),
        watched_(how.watched),
        interrupt_(how.interrupt) {
    calls_ = &own_calls_;
    for (std::uint32_t o = 0; o < f.ops.size(); ++o)
      if (f.ops[o].code == Opcode::for_ || f.ops[o].code == Opcode::while_) loop_of_[f.ops[o].regions.back().index] = OpId{o};
  }

  void run_program(const std::string& symbol) {
    auto* type = llvm::FunctionType::get(b.getInt32Ty(), {b.getPtrTy()}, false);
    fn = llvm::Function::Create(type, llvm::Function::ExternalLinkage, symbol, module_);
    fn->addFnAttr(llvm::Attribute::NoUnwind);
    state_ = fn->getArg(0);
    entry_ = block("entry");
    failed_ = block("failed");
    BasicBlock* start = block("start");
    b.SetInsertPoint(entry_);
    arrays_ = word(state_, 0);
    scalars_ = word(state_, 8);
    counts_ = word(state_, 16);
    plans_ = word(state_, 24);
    context_ = word(state_, 32);
    thread_ = context_;
    data_.resize(f.memories.size());
    for (std::uint32_t m = 0; m < f.memories.size(); ++m)
      if (!f.memories[m].records) data_[m] = word(arrays_, 32 * m);
    std::uint64_t number = 0;
    for (const Parameter& p : f.parameters)
      if (p.kind == Parameter::Kind::scalar) set(p.value, from_bits(f.type(p.value).dtype(), load_i64(scalars_, 8 * number++)));
    b.SetInsertPoint(start);
    emit_region(f.body);
    b.CreateRet(b.getInt32(0));
    b.SetInsertPoint(failed_);
    b.CreateRet(b.getInt32(1));
    b.SetInsertPoint(entry_);
    b.CreateBr(start);
  }

 protected:
  void emit_region(RegionId r) override {
    for (std::uint32_t m = 0; m < f.memories.size(); ++m)
      if (f.memories[m].records && f.memories[m].scope == r) b.CreateStore(b.getInt64(0), at(counts_, 8 * m));
    if (const auto loop = loop_of_.find(r.index); watched_ && loop != loop_of_.end())
      tell(loop->second, 1, f[loop->second].code == Opcode::for_ ? scalar(f[r].arguments[0]) : b.getInt32(~0u));
    for (OpId o : f[r].ops) {
      const bool loop = watched_ && (f[o].code == Opcode::for_ || f[o].code == Opcode::while_);
      if (loop) tell(o, 0, b.getInt32(0));
      emit_op(o);
      if (loop) tell(o, 2, b.getInt32(0));
    }
  }

  /// A program leaves by its own exit, not by that of the kernels.
  void look_for_requests(OpId loop) override {
    if (!interrupt_) return;
    BasicBlock *stop = block("stop"), *on = block("on");
    b.CreateCondBr(requested(), stop, on, llvm::MDBuilder(c).createBranchWeights(1, 1u << 20));
    b.SetInsertPoint(stop);
    b.CreateCall(runtime("fluxion_cpu_program_cancelled", b.getVoidTy(), {b.getPtrTy(), b.getInt32Ty()}), {state_, site_number(loop)});
    b.CreateBr(failed_);
    b.SetInsertPoint(on);
  }

  void emit_op(OpId o) override {
    const Op& op = f[o];
    std::size_t operand = 0;
    switch (op.code) {
      case Opcode::load: {
        const DType t = f.type(op.results[0]).dtype();
        Node* p = element(op, operand);
        return set(op.results[0], from_memory(t, b.CreateAlignedLoad(memory_type(t), p, llvm::Align(1))));
      }
      case Opcode::store: {
        const ValueId v = op.operands.back();
        Node* p = element(op, operand);
        b.CreateAlignedStore(to_memory(f.type(v).dtype(), scalar(v)), p, llvm::Align(1));
        return;
      }
      case Opcode::buffer_alloc: {
        llvm::Type* i32 = b.getInt32Ty();
        Node* first = b.CreateCall(runtime("fluxion_cpu_records", i32, {b.getPtrTy(), i32, i32, i32}),
                                   {state_, b.getInt32(op.buffers[0].index), scalar(op.operands[0]), site_number(o)});
        leave_if(b.CreateICmpSLT(first, b.getInt32(0)));
        return set(op.results[0], first);
      }
      case Opcode::buffer_copy: {
        Node* to = array(op, op.buffers[0], operand);
        Node* from = array(op, op.buffers[1], operand);
        b.CreateMemMove(to, llvm::Align(1), from, llvm::Align(1), bytes(op.buffers[0]));
        return;
      }
      case Opcode::buffer_zero: {
        Node* size = b.getInt64(bytes(op.buffers[0]));
        Node* to = array(op, op.buffers[0], operand);
        if (f[op.buffers[0]].records) size = b.CreateMul(size, b.CreateSExt(scalar(op.operands[operand]), b.getInt64Ty()));
        b.CreateMemSet(to, b.getInt8(0), size, llvm::Align(1));
        return;
      }
      case Opcode::run: return run_kernel(o);
      case Opcode::call: {
        if (f.callees[op.ref]->external) return call_external(o);
        // A failure would leave by the kernels' exit, which a program does not have.
        for (const Function* g : called(f))
          if (may_leave(*g))
            throw KernelError(op.loc, "cpu: a program calls \"" + f.callees[op.ref]->name +
                                          "\", which is too large to become part of it and has checks, "
                                          "prints, host functions or loops that keep values; call it in a kernel");
        return emit_call(o);
      }
      case Opcode::print:
      case Opcode::check: return report(o);
      default: return Emitter::emit_op(o);
    }
  }

 private:
  std::span<llvm::Function* const> kernels_;
  std::vector<int> numbers_;
  Calls own_calls_;
  const bool watched_, interrupt_;
  std::map<std::uint32_t, OpId> loop_of_;  // by body
  BasicBlock* failed_ = nullptr;
  Node *state_ = nullptr, *arrays_ = nullptr, *scalars_ = nullptr, *counts_ = nullptr, *plans_ = nullptr, *context_ = nullptr;
  std::vector<Node*> data_;  // by memory; of stacks null: they move

  static bool may_leave(const Function& g) {
    for (const Op& op : g.ops)
      if (op.code == Opcode::check || op.code == Opcode::print || (op.code == Opcode::call && g.callees[op.ref]->external)) return true;
    for (const Value& v : g.values)
      if (v.type.is_seq()) return true;
    return std::any_of(g.memories.begin(), g.memories.end(), [](const Memory& m) { return m.length > 64; });
  }
  void tell(OpId loop, std::uint32_t what, Node* step) {
    llvm::Type* i32 = b.getInt32Ty();
    b.CreateCall(runtime("fluxion_cpu_loop", b.getVoidTy(), {b.getPtrTy(), i32, i32, i32}),
                 {state_, site_number(loop), b.getInt32(what), step});
  }
  Node* at(Node* base, std::uint64_t offset) { return b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), base, offset); }
  Node* word(Node* base, std::uint64_t offset) { return b.CreateAlignedLoad(b.getPtrTy(), at(base, offset), llvm::Align(8)); }
  Node* load_i64(Node* base, std::uint64_t offset) { return b.CreateAlignedLoad(b.getInt64Ty(), at(base, offset), llvm::Align(8)); }
  Node* site_number(OpId o) { return b.getInt32(static_cast<std::uint32_t>(numbers_[o.index])); }
  std::uint64_t bytes(MemoryId m) const {
    const auto& s = f[m].shape;
    return static_cast<std::uint64_t>(s[0] * s[1] * s[2]) * layout_of(f[m].element).size;
  }
  Node* from_bits(DType t, Node* bits) {
    if (is_bool(t)) return b.CreateICmpNE(bits, b.getInt64(0));
    if (is_float(t) && !is_half(t)) return b.CreateBitCast(b.CreateTrunc(bits, b.getIntNTy(size_of(t) * 8)), scalar_type(t));
    return b.CreateTrunc(bits, scalar_type(t));
  }
  Node* to_bits(ValueId v) {
    const DType t = f.type(v).dtype();
    Node* n = scalar(v);
    if (is_float(t) && !is_half(t)) n = b.CreateBitCast(n, b.getIntNTy(size_of(t) * 8));
    return b.CreateZExt(n, b.getInt64Ty());
  }
  void leave_if(Node* failed) {
    BasicBlock* on = block("on");
    b.CreateCondBr(failed, failed_, on, llvm::MDBuilder(c).createBranchWeights(1, 1u << 20));
    b.SetInsertPoint(on);
  }
  /// Where an array begins; takes the record from the operands when there is one.
  Node* array(const Op& op, MemoryId m, std::size_t& operand) {
    if (!f[m].records) return data_[m.index];
    Node* record = b.CreateSExt(scalar(op.operands[operand++]), b.getInt64Ty());
    return b.CreateGEP(b.getInt8Ty(), word(arrays_, 32 * m.index), b.CreateMul(record, b.getInt64(bytes(m))));
  }
  Node* element(const Op& op, std::size_t& operand) {
    const Memory& m = f[op.memory];
    Node* begin = array(op, op.memory, operand);
    const Layout& layout = layout_of(m.element);
    Node* index = b.getInt64(0);
    for (int axis = 0; axis < m.rank; ++axis) {
      Node* k = b.CreateSExt(scalar(op.operands[operand++]), b.getInt64Ty());
      index = b.CreateAdd(b.CreateMul(index, b.getInt64(static_cast<std::uint64_t>(m.shape[axis]))), k);
    }
    index = b.CreateAdd(b.CreateMul(index, b.getInt64(layout.size)), b.getInt64(layout.leaves[op.leaf].offset));
    return b.CreateGEP(b.getInt8Ty(), begin, index);
  }

  void run_kernel(OpId o) {
    const Op& op = f[o];
    const Function& k = *f.callees[op.ref];
    llvm::Type *i64 = b.getInt64Ty(), *p = b.getPtrTy();
    std::uint64_t scalars = 0;
    for (const Parameter& q : k.parameters) scalars += q.kind == Parameter::Kind::scalar;
    llvm::AllocaInst* domain = slot(llvm::ArrayType::get(i64, 3), nullptr, 8);
    llvm::AllocaInst* table = slot(llvm::ArrayType::get(b.getInt8Ty(), 32 * std::max<std::size_t>(1, op.buffers.size())), nullptr, 8);
    llvm::AllocaInst* numbers = slot(llvm::ArrayType::get(i64, std::max<std::uint64_t>(1, scalars)), nullptr, 8);
    llvm::IRBuilder<> once(entry_);  // entry_ has no end yet
    const auto put = [&](llvm::IRBuilder<>& where, Node* v, Node* base, std::uint64_t offset) {
      where.CreateAlignedStore(v, where.CreateConstInBoundsGEP1_64(where.getInt8Ty(), base, offset), llvm::Align(8));
    };
    std::size_t operand = 0;
    for (int axis = 0; axis < 3; ++axis) {
      if (axis >= k.domain_rank) {
        put(once, once.getInt64(1), domain, 8u * static_cast<unsigned>(axis));
      } else if (const ValueId v = op.operands[operand++]; f.is_constant(v)) {
        put(once, once.getInt64(f[v].bits), domain, 8u * static_cast<unsigned>(axis));
      } else {
        put(b, b.CreateSExt(scalar(v), i64), domain, 8u * static_cast<unsigned>(axis));
      }
    }
    std::uint64_t buffer = 0, number = 0;
    for (const Parameter& q : k.parameters) {
      if (q.kind == Parameter::Kind::scalar) {
        const ValueId v = op.operands[operand++];
        put(f.is_constant(v) ? once : b, to_bits(v), numbers, 8 * number++);
        continue;
      }
      const MemoryId m = op.buffers[buffer];
      put(f[m].records ? b : once, array(op, m, operand), table, 32 * buffer);
      for (unsigned axis = 0; axis < 3; ++axis)
        put(once, once.getInt64(static_cast<std::uint64_t>(f[m].shape[axis])), table, 32 * buffer + 8 + 8 * axis);
      ++buffer;
    }
    if (k.external) {
      Node* failed = b.CreateCall(runtime("fluxion_cpu_program_host", b.getInt32Ty(), {p, b.getInt32Ty(), p, p}),
                                  {state_, b.getInt32(op.ref), table, numbers});
      return leave_if(b.CreateICmpNE(failed, b.getInt32(0)));
    }
    Node* failed = nullptr;
    if (watched_)
      failed = b.CreateCall(runtime("fluxion_cpu_watched_launch", b.getInt32Ty(), {p, b.getInt32Ty(), b.getInt32Ty(), p, p, p, p}),
                            {state_, site_number(o), b.getInt32(op.ref), kernels_[op.ref], domain, table, numbers});
    else
      failed = b.CreateCall(runtime("fluxion_cpu_launch", b.getInt32Ty(), {p, p, p, p, p, p}),
                            {context_, word(plans_, 8u * op.ref), kernels_[op.ref], domain, table, numbers});
    leave_if(b.CreateICmpNE(failed, b.getInt32(0)));
  }

  void call_external(OpId o) {
    const Op& op = f[o];
    const auto room = [&](std::size_t n) { return slot(llvm::ArrayType::get(b.getInt64Ty(), std::max<std::size_t>(1, n)), nullptr, 8); };
    llvm::AllocaInst *in = room(op.operands.size()), *out = room(op.results.size());
    for (std::size_t k = 0; k < op.operands.size(); ++k) b.CreateAlignedStore(to_bits(op.operands[k]), at(in, 8 * k), llvm::Align(8));
    llvm::Type* p = b.getPtrTy();
    Node* failed =
        b.CreateCall(runtime("fluxion_cpu_program_external", b.getInt32Ty(), {p, b.getInt32Ty(), p, p}), {state_, site_number(o), in, out});
    leave_if(b.CreateICmpNE(failed, b.getInt32(0)));
    for (std::size_t k = 0; k < op.results.size(); ++k) set(op.results[k], from_bits(f.type(op.results[k]).dtype(), load_i64(out, 8 * k)));
  }

  void report(OpId o) {
    const Op& op = f[o];
    const bool check = op.code == Opcode::check;
    BasicBlock *then = nullptr, *after = nullptr;
    if (check) {
      then = block("check.failed");
      after = block("check.held");
      b.CreateCondBr(scalar(op.operands[0]), after, then, llvm::MDBuilder(c).createBranchWeights(1u << 20, 1));
      b.SetInsertPoint(then);
    }
    const std::size_t n = op.operands.size() - check;
    llvm::AllocaInst* values = slot(llvm::ArrayType::get(b.getInt64Ty(), std::max<std::size_t>(1, n)), nullptr, 8);
    for (std::size_t k = 0; k < n; ++k) b.CreateAlignedStore(to_bits(op.operands[k + check]), at(values, 8 * k), llvm::Align(8));
    b.CreateCall(runtime("fluxion_cpu_program_report", b.getVoidTy(), {b.getPtrTy(), b.getInt32Ty(), b.getPtrTy()}),
                 {state_, site_number(o), values});
    if (check) {
      b.CreateBr(failed_);
      b.SetInsertPoint(after);
    }
  }
};

}  // namespace

void emit_program(llvm::Module& module, const Function& f, const std::string& symbol, std::span<llvm::Function* const> kernels,
                  ProgramEmission how) {
  EmitOptions options;
  options.width = 1;
  ProgramEmitter(module, f, options, kernels, how).run_program(symbol);
}

}  // namespace fluxion::cpu
