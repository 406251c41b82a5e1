// The frame of a kernel: arguments, the nest of units and lanes, the unmasked body and the masked tail;
// and how values are looked up.
#include "emitter.h"

#include <bit>

#include "fluxion/error.h"
#include "fluxion/mutants.h"
#include "orc.h"

namespace fluxion::cpu {
namespace {
constexpr int kGroup = 1024;  // from 128 (with mask registers 512) values live on the stack, and LLVM takes seconds
}

std::vector<int> number_sites(const Function& f) {
  std::vector<int> sites(f.ops.size(), -1);
  int next = 0;
  const auto walk = [&](const auto& self, RegionId r) -> void {
    for (OpId o : f[r].ops) {
      const Op& op = f[o];
      switch (op.code) {
        case Opcode::load:
        case Opcode::store:
        case Opcode::accumulate:
        case Opcode::check:
        case Opcode::print:
        case Opcode::seq_get:
        case Opcode::seq_set:
        case Opcode::seq_add_at:
        case Opcode::zeros:
        case Opcode::for_:
        case Opcode::while_:
        case Opcode::atomic:
        case Opcode::barrier: sites[o.index] = next++; break;
        case Opcode::call:
          if (f.callees[op.ref]->external) sites[o.index] = next++;
          break;
        default: break;
      }
      for (RegionId inner : op.regions) self(self, inner);
    }
  };
  walk(walk, f.body);
  return sites;
}

int choose_width(const Function& f, const CompileOptions& options) {
  if (const int threads = group_threads(f); threads > 0) {
    if (threads > kGroup)
      throw KernelError(f.loc, "cpu: groups of " + std::to_string(threads) + " threads are too large; at most " + std::to_string(kGroup) +
                                   " run in step");
    return static_cast<int>(std::bit_ceil(static_cast<unsigned>(threads)));
  }
  std::vector<const Function*> all = called(f);
  all.push_back(&f);
  for (const Function* g : all)
    for (const Op& op : g->ops)
      if (op.code == Opcode::print) return 1;  // points print one after the other
  if (options.width == 0) return 16;
  if (options.width < 0 || options.width > 32 || !std::has_single_bit(static_cast<unsigned>(options.width)))
    throw KernelError(f.loc, "SIMD width " + std::to_string(options.width) + " is not 1, 2, 4, 8, 16 or 32");
  return options.width;
}

llvm::Function* emit_kernel(llvm::Module& module, const Function& f, const std::string& symbol, const EmitOptions& options) {
  Calls calls(f);
  return Emitter(module, f, options, &calls).run(symbol);
}

Emitter::Emitter(llvm::Module& module, const Function& f, const EmitOptions& options, Calls* calls, bool varying)
    : c(module.getContext()),
      module_(module),
      calls_(calls),
      f(f),
      u(f, varying),
      opt(options),
      W(static_cast<unsigned>(options.width)),
      b(c),
      values_(f.values.size()),
      uses_(f.values.size()),
      sites_(number_sites(f)),
      memories_(f.memories.size()),
      accumulates_(analyse_accumulates(f, u)),
      region_planned_(f.regions.size()),
      threads_meet_(options.relaxed || !atomics_need_order(f, u)) {
  if (calls_)
    if (const auto first = calls_->first_site.find(&f); first != calls_->first_site.end())
      for (int& s : sites_) s += s >= 0 ? first->second : 0;
  for (const Region& r : f.regions)
    for (OpId o : r.ops)
      for (ValueId v : f[o].operands) ++uses_[v.index];
  for (const Value& v : f.values) uses_arena_ |= v.type.is_seq();
  if (opt.race && f.kind == Function::Kind::kernel) watched_ = watched_memories(f);
  for (const Memory& m : f.memories) {
    std::int64_t bytes = 0;
    for (const Leaf& leaf : layout_of(m.element).leaves) bytes += size_of(leaf.dtype) * m.length * W;
    if (m.space == Memory::Space::local && bytes > (64 << 10)) {
      memories_[&m - f.memories.data()].in_arena = true;
      uses_arena_ = true;
    }
  }
  std::size_t ops = 0;
  bool branches = false, sums = false;
  for (const Region& r : f.regions) {
    ops += r.ops.size();
    for (OpId o : r.ops) {
      branches |= !f[o].regions.empty() || f[o].code == Opcode::call;
      sums |= f[o].code == Opcode::accumulate;
    }
  }
  // Two tiny bodies in a row hide the loop; four keep as many sums apart, an addition has to wait for the last one.
  copies_ = branches || W == 1 || ops > 24 ? 1 : sums ? 4 : 2;
  if (opt.fast) {
    llvm::FastMathFlags flags;
    flags.setAllowReassoc();
    flags.setAllowContract();
    flags.setAllowReciprocal();
    flags.setApproxFunc();
    flags.setNoSignedZeros();
    b.setFastMathFlags(flags);
  }
}

llvm::Function* Emitter::run(const std::string& symbol) {
  llvm::Type *p = b.getPtrTy(), *i64 = b.getInt64Ty();
  auto* type = llvm::FunctionType::get(b.getVoidTy(), {p, i64, i64, p}, false);
  fn = llvm::Function::Create(type, llvm::Function::ExternalLinkage, symbol, module_);
  fn->addFnAttr(llvm::Attribute::NoUnwind);
  fn->addFnAttr("prefer-vector-width", opt.masks_in_k ? "512" : "256");
  for (unsigned k : {0u, 3u}) fn->addParamAttr(k, llvm::Attribute::NoAlias);
  args_ = fn->getArg(0);
  thread_ = fn->getArg(3);

  make_scopes(symbol);
  entry_ = block("entry");
  b.SetInsertPoint(entry_);
  load_arguments();
  if (f.has_groups()) emit_groups();
  else emit_units();
  return fn;
}

void Emitter::make_scopes(const std::string& name) {
  llvm::MDBuilder md(c);
  llvm::MDNode* domain = md.createAnonymousAliasScopeDomain(name);
  std::vector<llvm::MDNode*> scopes;
  for (std::size_t k = 0; k <= f.memories.size(); ++k) scopes.push_back(md.createAnonymousAliasScope(domain));
  for (std::size_t k = 0; k < scopes.size(); ++k) {
    std::vector<llvm::Metadata*> rest;
    for (std::size_t j = 0; j < scopes.size(); ++j)
      if (j != k) rest.push_back(scopes[j]);
    scope_.push_back(llvm::MDNode::get(c, {scopes[k]}));
    others_.push_back(rest.empty() ? nullptr : llvm::MDNode::get(c, rest));
  }
}

void Emitter::load_arguments() {
  const auto word = [&](Node* base, std::uint64_t offset, llvm::Type* t) {
    return b.CreateAlignedLoad(t, b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), base, offset), llvm::Align(8));
  };
  llvm::Type* i32 = b.getInt32Ty();
  for (int k = 0; k < 3; ++k) {
    domain64_[k] = word(args_, 8 * k, b.getInt64Ty());
    domain_[k] = b.CreateTrunc(domain64_[k], i32);
  }
  Node* arrays = word(args_, 40, b.getPtrTy());
  Node* scalars = word(args_, 48, b.getPtrTy());
  std::uint64_t array = 0, number = 0;
  for (const Parameter& p : f.parameters) {
    if (p.kind == Parameter::Kind::memory) {
      Mem& m = memories_[p.memory.index];
      m.data = word(arrays, 32 * array, b.getPtrTy());
      for (int k = 0; k < f[p.memory].rank; ++k) {
        m.extent[k] = word(arrays, 32 * array + 8 + 8 * k, b.getInt64Ty());
        m.extent32[k] = b.CreateTrunc(m.extent[k], i32);
      }
      ++array;
    } else if (p.kind == Parameter::Kind::scalar) {
      const DType t = f.type(p.value).dtype();
      Node* bits = word(scalars, 8 * number++, b.getInt64Ty());
      llvm::Type* s = scalar_type(t);
      if (is_bool(t)) bits = b.CreateICmpNE(bits, b.getInt64(0));
      else if (is_float(t) && !is_half(t)) bits = b.CreateBitCast(b.CreateTrunc(bits, b.getIntNTy(size_of(t) * 8)), s);
      else bits = b.CreateTrunc(bits, s);
      set(p.value, bits);
    } else {
      throw KernelError(f.loc, "kernel \"" + f.name + "\": a whole array is no parameter of a kernel");
    }
  }
  for (std::uint32_t m = 0; m < f.memories.size(); ++m)
    if (f.memories[m].space == Memory::Space::shared) place_shared(MemoryId{m});
  make_locals();
  plan_sums();
  plan_stencils();
}

void Emitter::make_locals() {
  for (std::uint32_t m = 0; m < f.memories.size(); ++m) {
    const Memory& memory = f.memories[m];
    if (memory.space != Memory::Space::local) continue;
    for (const Leaf& leaf : layout_of(memory.element).leaves) {
      llvm::Type* t = llvm::ArrayType::get(vec(memory_type(leaf.dtype)), static_cast<std::uint64_t>(memory.length));
      memories_[m].leaves.push_back(memories_[m].in_arena ? slot(b.getPtrTy()) : slot(t, nullptr, 64));
    }
  }
}

void Emitter::emit_units() {
  llvm::Type* i64 = b.getInt64Ty();
  Node *begin = fn->getArg(1), *end = fn->getArg(2);
  const auto word = [&](std::uint64_t offset) {
    return b.CreateAlignedLoad(i64, b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), args_, offset), llvm::Align(8));
  };
  Node *segment = word(24), *segments = word(32);
  const int rank = f.domain_rank;
  BasicBlock *head = block("unit"), *done = block("done");
  b.CreateCondBr(b.CreateICmpSLT(begin, end), head, done);
  BasicBlock* before = b.GetInsertBlock();
  b.SetInsertPoint(head);
  PHINode* unit = phi(i64, "unit");
  unit->addIncoming(begin, before);
  look_for_requests(OpId{});
  Node *row = b.getInt64(0), *part = unit;
  if (rank > 1) {
    row = b.CreateUDiv(unit, segments);
    part = b.CreateSub(unit, b.CreateMul(row, segments));
  }
  row_ = row;
  const auto& indices = f[f.body].arguments;
  const auto give = [&](int axis, Node* n) {
    if (static_cast<std::size_t>(axis) < indices.size()) set(indices[axis], b.CreateTrunc(n, b.getInt32Ty()));
  };
  if (rank == 2) give(0, row);
  if (rank == 3) {
    Node* slow = b.CreateUDiv(row, domain64_[1]);
    give(0, slow);
    give(1, b.CreateSub(row, b.CreateMul(slow, domain64_[1])));
  }
  start_row_sums();
  Node* lo = b.CreateMul(part, segment);
  Node* hi = b.CreateBinaryIntrinsic(llvm::Intrinsic::smin, b.CreateAdd(lo, segment), domain64_[rank - 1]);
  emit_lanes(b.CreateTrunc(lo, b.getInt32Ty()), b.CreateTrunc(hi, b.getInt32Ty()));
  finish_registers(true);
  Node* next = b.CreateAdd(unit, b.getInt64(1), "", true, true);
  unit->addIncoming(next, b.GetInsertBlock());
  b.CreateCondBr(b.CreateICmpSLT(next, end), head, done);
  b.SetInsertPoint(done);
  finish_registers(false);
  finish_wide_sums();
  b.CreateRetVoid();
}

void Emitter::emit_lanes(Node* lo, Node* hi) {
  std::size_t ops = 0;
  for (const Region& r : f.regions) ops += r.ops.size();
  // A huge body is emitted once, masked; else a plain one (some in a row when it is tiny) and a masked rest.
  const bool plain = W == 1 || ops < 3000;
  const unsigned copies = copies_;
  llvm::Type* i32 = b.getInt32Ty();
  Node* width = b.getInt32(W);
  Node* start = lo;
  start_stencils();
  if (plain) {
    Node* step = b.getInt32(W * copies);
    BasicBlock *before = b.GetInsertBlock(), *loop = block("lanes"), *after = block("rest");
    b.CreateCondBr(b.CreateICmpSGE(b.CreateSub(hi, lo), step), loop, after);
    b.SetInsertPoint(loop);
    PHINode* i = phi(i32, "i");
    i->addIncoming(lo, before);
    if (copies == 1) look_for_requests(OpId{});  // tiny bodies are through with any row in a moment
    for (unsigned k = 0; k < copies; ++k) {
      copy_ = k;
      emit_body(k ? b.CreateAdd(i, b.getInt32(k * W), "", false, true) : i, nullptr);
    }
    copy_ = 0;
    Node* next = b.CreateAdd(i, step, "", false, true);
    i->addIncoming(next, b.GetInsertBlock());
    BasicBlock* latch = b.GetInsertBlock();
    b.CreateCondBr(b.CreateICmpSGE(b.CreateSub(hi, next), step), loop, after);
    b.SetInsertPoint(after);
    PHINode* from = phi(i32);
    from->addIncoming(lo, before);
    from->addIncoming(next, latch);
    start = from;
  }
  if (W == 1) return;
  BasicBlock *before = b.GetInsertBlock(), *loop = block("masked"), *after = block("row.end");
  b.CreateCondBr(b.CreateICmpSLT(start, hi), loop, after);
  b.SetInsertPoint(loop);
  PHINode* i = nullptr;
  Node* first = start;
  const bool repeats = !plain || copies > 1;
  if (repeats) {
    i = phi(i32, "i");
    i->addIncoming(start, before);
    start = i;
    if (!plain) look_for_requests(OpId{});
  }
  Node* left = left_ = b.CreateSub(hi, start);
  if (planted(testing::Mutant::tail_short)) left = b.CreateSub(left, b.getInt32(1));
  emit_body(start, b.CreateICmpSLT(lanes(), splat(left)));
  Node* next = b.CreateAdd(start, width);
  BasicBlock* last = b.GetInsertBlock();
  if (repeats) {  // near the end of i32, i + W may wrap: compare what is left
    i->addIncoming(next, last);
    b.CreateCondBr(b.CreateICmpSGT(b.CreateSub(hi, i), width), loop, after);
  } else {
    b.CreateBr(after);
  }
  b.SetInsertPoint(after);
  if (stencils_.empty()) return;
  PHINode* stop = phi(i32);
  stop->addIncoming(first, before);
  stop->addIncoming(next, last);
  finish_stencils(stop, b.CreateSub(hi, stop));
}

void Emitter::emit_body(Node* first, Node* mask) {
  mask_ = mask;
  const auto& indices = f[f.body].arguments;
  if (indices.size() == static_cast<std::size_t>(f.domain_rank)) set(indices.back(), first);
  if (opt.race) note_threads(b.CreateMul(row_, domain64_[f.domain_rank - 1]), b.CreateAdd(splat(first), lanes()));
  Node* top = uses_arena_ ? arena_top() : nullptr;
  emit_region(f.body);
  if (top) set_arena_top(top);
  mask_ = nullptr;
}

Node* Emitter::emit_invariant(ValueId v) {
  const Value& value = f[v];
  if (value.kind != Value::Kind::result) return scalar(v);
  const Op& op = f.ops[value.owner];
  if (op.code == Opcode::extent) return memories_[op.memory.index].extent32[op.leaf];
  if (op.code == Opcode::domain) return domain_[op.leaf];
  llvm::SmallVector<Node*, 3> x;
  for (ValueId o : op.operands) x.push_back(emit_invariant(o));
  if (op.code == Opcode::load) {
    const Leaf& leaf = layout_of(f[op.memory].element).leaves[op.leaf];
    Node* p = element_address(op.memory, leaf, x);
    return from_memory(leaf.dtype, tag(b.CreateAlignedLoad(memory_type(leaf.dtype), p, llvm::Align(size_of(leaf.dtype))), op.memory));
  }
  if (op.code == Opcode::select) return b.CreateSelect(x[0], x[1], x[2]);
  const DType from = f.type(op.operands[0]).dtype(), to = value.type.dtype();
  if (op.code == Opcode::convert) return convert(x[0], from, to);
  if (op.code == Opcode::bitcast) return b.CreateBitCast(x[0], scalar_type(to));
  return compute(op.code, from, x);
}

/// Of one element, whose indices are i32.
Node* Emitter::element_address(MemoryId memory, const Leaf& leaf, llvm::ArrayRef<Node*> index) {
  const Mem& m = memories_[memory.index];
  Node* at = b.getInt64(0);
  for (int k = 0; k < f[memory].rank; ++k) at = b.CreateAdd(b.CreateMul(at, m.extent[k]), b.CreateSExt(index[k], b.getInt64Ty()));
  at = b.CreateAdd(b.CreateMul(at, b.getInt64(layout_of(f[memory].element).size)), b.getInt64(leaf.offset));
  return b.CreateGEP(b.getInt8Ty(), m.data, at);
}

void Emitter::emit_region(RegionId r) {
  if (!region_planned_[r.index]) {
    plan_stores(r);
    plan_rows(r);
    plan_loads(r);
    region_planned_[r.index] = 1;
  }
  zero_locals(r);
  for (OpId o : f[r].ops) emit_op(o);
}

void Emitter::emit_op(OpId o) {
  const Op& op = f[o];
  const auto grouped = [&]() -> std::vector<OpId> {
    if (const auto g = groups_.find(o.index); g != groups_.end()) return g->second;
    return {o};
  };
  if (is_elementwise(op.code) || op.code == Opcode::convert || op.code == Opcode::bitcast)
    return f.type(op.results[0]).is_seq() ? seq_elementwise(o) : elementwise(op);
  switch (op.code) {
    case Opcode::load: return load(o);
    case Opcode::store:
    case Opcode::accumulate: {
      check_bounds(o);
      if (f[op.memory].space == Memory::Space::local) return local_access(o);
      const std::vector<OpId> group = grouped();
      if (group.empty()) return;  // emitted with the last of its group
      return op.code == Opcode::store ? store(o, group) : accumulate(o, group);
    }
    case Opcode::extent: return set(op.results[0], memories_[op.memory.index].extent32[op.leaf]);
    case Opcode::domain: return set(op.results[0], domain_[op.leaf]);
    case Opcode::atomic: return atomic(o);
    case Opcode::group_index: return set(op.results[0], group_[op.leaf]);
    case Opcode::barrier: return barrier(o);
    case Opcode::subgroup: return subgroup(o);
    case Opcode::if_: return emit_if(o);
    case Opcode::for_: return u.divergent[o.index] ? emit_for_divergent(o) : emit_for(o);
    case Opcode::while_: return emit_while(o);
    case Opcode::call: return emit_call(o);
    case Opcode::yield: return;
    case Opcode::seq_get: return seq_get(o);
    case Opcode::seq_set:
    case Opcode::seq_add_at: return seq_write(o);
    case Opcode::seq_len: return set(op.results[0], seq(op.operands[0]).length);
    case Opcode::zeros: return seq_zeros(o);
    case Opcode::print:
    case Opcode::check: return report(o);
    default: throw KernelError(op.loc, std::string("cpu: `") + name_of(op.code) + "` cannot stand in a kernel");
  }
}

llvm::Type* Emitter::scalar_type(DType t) {
  switch (t) {
    case DType::boolean: return b.getInt1Ty();
    case DType::f32: return b.getFloatTy();
    case DType::f64: return b.getDoubleTy();
    default: return b.getIntNTy(size_of(t) * 8);
  }
}
llvm::Type* Emitter::memory_type(DType t) { return is_bool(t) ? b.getInt8Ty() : scalar_type(t); }

Node* Emitter::constant(DType t, std::uint64_t bits) {
  if (t == DType::f32) return llvm::ConstantFP::get(c, llvm::APFloat(llvm::APFloat::IEEEsingle(), llvm::APInt(32, bits & 0xffffffffu)));
  if (t == DType::f64) return llvm::ConstantFP::get(c, llvm::APFloat(llvm::APFloat::IEEEdouble(), llvm::APInt(64, bits)));
  if (is_bool(t)) return b.getInt1(bits != 0);
  const unsigned width = static_cast<unsigned>(size_of(t)) * 8;
  return llvm::ConstantInt::get(c, llvm::APInt(64, bits).trunc(width));
}

Node* Emitter::scalar(ValueId v) {
  const Value& value = f[v];
  if (value.kind == Value::Kind::constant) return constant(value.type.dtype(), value.bits);
  Node* n = values_[v.index].v;
  if (!n) throw Bug(f.loc, "cpu: a value is used before it is made in kernel \"" + f.name + "\"");
  if (n->getType()->isVectorTy()) throw Bug(f.loc, "cpu: a varying value where a uniform one is needed");
  return n;
}

Node* Emitter::vector(ValueId v) {
  if (u(v) == Class::varying && f[v].kind != Value::Kind::constant) {
    if (!values_[v.index].v) throw Bug(f.loc, "cpu: a value is used before it is made in kernel \"" + f.name + "\"");
    return values_[v.index].v;
  }
  Node* n = splat(scalar(v));
  if (u(v) != Class::affine) return n;
  return b.CreateAdd(n, b.CreateMul(lanes(), splat(b.getInt32(static_cast<std::uint32_t>(u.stride[v.index])))));
}

Node* Emitter::lanes() {
  llvm::SmallVector<llvm::Constant*, 32> k;
  for (unsigned i = 0; i < W; ++i) k.push_back(b.getInt32(i));
  return llvm::ConstantVector::get(k);
}

Node* Emitter::bits_of(Node* mask) { return b.CreateBitCast(mask ? mask : all_ones(), b.getIntNTy(W)); }
Node* Emitter::any(Node* mask) {
  if (!mask) return b.getTrue();
  return b.CreateICmpNE(bits_of(mask), b.getIntN(W, 0));
}

Node* Emitter::first_lane(Node* mask) {
  return b.CreateZExtOrTrunc(b.CreateBinaryIntrinsic(llvm::Intrinsic::cttz, bits_of(mask), b.getFalse()), b.getInt64Ty());
}
Node* Emitter::last_lane(Node* mask) {
  Node* zeros = b.CreateBinaryIntrinsic(llvm::Intrinsic::ctlz, bits_of(mask), b.getFalse());
  return b.CreateSub(b.getInt64(W - 1), b.CreateZExtOrTrunc(zeros, b.getInt64Ty()));
}

llvm::AllocaInst* Emitter::slot(llvm::Type* t, Node* count, unsigned align) {
  llvm::IRBuilder<> at(entry_, entry_->begin());
  auto* a = at.CreateAlloca(t, count);
  if (align) a->setAlignment(llvm::Align(align));
  return a;
}

llvm::FunctionCallee Emitter::runtime(const char* name, llvm::Type* result, llvm::ArrayRef<llvm::Type*> arguments, bool leaves) {
  auto callee = module_.getOrInsertFunction(name, llvm::FunctionType::get(result, arguments, false));
  auto* fun = llvm::cast<llvm::Function>(callee.getCallee());
  fun->addFnAttr(llvm::Attribute::NoUnwind);
  if (leaves) {
    fun->addFnAttr(llvm::Attribute::NoReturn);
    fun->addFnAttr(llvm::Attribute::Cold);
  }
  return callee;
}

}  // namespace fluxion::cpu
