// Accumulates where all lanes meet at one element. A sum over lanes costs ten times an addition, so it is put off:
//   an index that is the same for the whole launch, or for a row of the domain: a vector of sums in a register, added up
//   over lanes at the end of the chunk or row;
//   other uniform indices of a small memory: a vector of sums for each of its scalars on the stack, if the chunk adds often
//   enough to each.
// The lanes are added up in a fixed order, so sums are the same on any number of threads.
#include <algorithm>

#include "common/linear_sums.h"
#include "emitter.h"
#include "fluxion/mutants.h"

namespace fluxion::cpu {

namespace {
constexpr std::uint64_t kWideBytes = 128 << 10;  // what wide sums of one memory may take of the stack
// Vectors lie side by side, so each is aligned to its own size at most.
llvm::Align wide_align(unsigned width, DType t) {
  return llvm::Align(std::min<std::uint64_t>(64, width * static_cast<std::uint64_t>(size_of(t))));
}
}  // namespace

/// True for what is made by pure ops of the indices of the slower axes alone (not even those without `rows`); with `loads`
/// of elements at such indices that the kernel does not write, too.
bool Emitter::row_invariant(ValueId v, int& fuel, bool rows, bool loads) const {
  if (u(v) == Class::launch || f.is_constant(v)) return true;
  const Value& value = f[v];
  if (--fuel < 0) return false;
  if (value.kind == Value::Kind::argument) return rows && value.owner == f.body.index && static_cast<int>(value.slot) + 1 < f.domain_rank;
  if (value.kind != Value::Kind::result) return false;
  const Op& op = f.ops[value.owner];
  if (op.code == Opcode::load) {
    const Memory& m = f[op.memory];
    if (!loads || m.space != Memory::Space::parameter || m.role != Role::in || is_half(value.type.dtype())) return false;
  } else if (!is_elementwise(op.code) && op.code != Opcode::convert) {
    return false;
  }
  return std::all_of(op.operands.begin(), op.operands.end(), [&](ValueId x) { return row_invariant(x, fuel, rows, loads); });
}

void Emitter::plan_sums() {
  std::vector<char> others(f.memories.size());
  std::vector<OpId> sites[2];  // of the launch, of a row
  for (std::uint32_t o = 0; o < f.ops.size(); ++o) {
    const Op& op = f.ops[o];
    if (op.code != Opcode::accumulate || !u.nesting.region[o].valid() || f[op.memory].space != Memory::Space::parameter) continue;
    const DType t = layout_of(f[op.memory].element).leaves[op.leaf].dtype;
    if (!accumulates_[op.memory.index].only || is_half(t) || is_bool(t)) continue;
    bool launch = true, row = true;
    for (int k = 0; k < f[op.memory].rank; ++k) {
      int fuel = 100;
      launch &= u(op.operands[k]) == Class::launch;
      row &= row_invariant(op.operands[k], fuel);
    }
    if (f.has_groups() && !launch) continue;  // its threads are in step: there are no rows
    if (row) sites[!launch].push_back(OpId{o});
    else others[op.memory.index] |= classify(f, u, op).kind == Access::Kind::uniform;
  }
  for (const bool row : {false, true}) {
    const auto shared = [&](ValueId v) {
      int fuel = 100;
      return row_invariant(v, fuel, row, true);
    };
    std::set<std::uint32_t> linear;
    if (!f.has_groups())
      for (LinearSum& sum : linear_sums(f, u.nesting, sites[row], shared)) {
        for (OpId o : sum.sites) linear.insert(o.index);
        plan_register_sums(std::move(sum.sites), row, sum.leaves);
      }
    for (OpId o : sites[row])
      if (!linear.count(o.index)) plan_register_sums({o}, row, {f[o].operands[f[f[o].memory].rank]});
  }
  std::size_t registers = 0;
  for (const RegisterSums& s : register_sums_) registers += s.registers.size();
  narrow_sums_ = registers > 8;
  for (RegisterSums& s : register_sums_) {
    for (Register& r : s.registers)
      for (unsigned k = 0; k < copies_; ++k) r.sums.push_back(slot(no_sum(f.type(r.value).dtype())->getType()));
    if (!s.row) start_register_sums(s);
  }
  for (std::uint32_t m = 0; m < others.size(); ++m)
    if (others[m]) plan_wide_sum(m);
}

void Emitter::plan_register_sums(std::vector<OpId> sites, bool row, const std::vector<ValueId>& values) {
  for (OpId o : sites) register_sum_of_[o.index] = register_sums_.size();
  RegisterSums s{std::move(sites), row, {}, slot(b.getInt1Ty())};
  for (ValueId v : values) s.registers.push_back({v, {}});
  register_sums_.push_back(std::move(s));
}

void Emitter::start_register_sums(const RegisterSums& s) {
  for (const Register& r : s.registers)
    for (llvm::AllocaInst* sum : r.sums) b.CreateStore(no_sum(f.type(r.value).dtype()), sum);
  b.CreateStore(b.getFalse(), s.touched);
}

/// How often a point adds to the memory, as far as trip counts are constants; others count as 8.
double Emitter::adds_a_point(RegionId r, std::uint32_t memory) const {
  double adds = 0;
  for (OpId o : f[r].ops) {
    const Op& op = f[o];
    if (op.code == Opcode::accumulate && op.memory.index == memory) ++adds;
    double times = op.code == Opcode::if_ ? 0.5 : 8;
    if (op.code == Opcode::for_ && f.is_constant(op.operands[0]) && f.is_constant(op.operands[1]))
      times = std::clamp(
          static_cast<double>(static_cast<std::int32_t>(f[op.operands[1]].bits)) - static_cast<std::int32_t>(f[op.operands[0]].bits), 0.0,
          1e6);
    for (RegionId inner : op.regions) adds += times * adds_a_point(inner, memory);
  }
  return adds;
}

// Only where chunks that run at a time have private copies: all of the memory is added to at the end.
void Emitter::plan_wide_sum(std::uint32_t memory) {
  int n = 0;
  DType t;
  if (W < 4 || accumulates_[memory].own || accumulates_[memory].halo >= 0 || !packed_layout(f.memories[memory].element, n, t)) return;
  Node* items = b.getInt64(static_cast<std::uint64_t>(n));
  for (int k = 0; k < f.memories[memory].rank; ++k) items = b.CreateMul(items, memories_[memory].extent[k]);
  const std::uint64_t bytes = W * static_cast<std::uint64_t>(size_of(t));
  Node* segment = b.CreateAlignedLoad(b.getInt64Ty(), b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), args_, 24), llvm::Align(8));
  Node* points = b.CreateMul(b.CreateSub(fn->getArg(2), fn->getArg(1)), segment);
  const double adds = std::min(adds_a_point(f.body, memory), 1e6);
  Node* fits = b.CreateICmpULE(items, b.getInt64(kWideBytes / bytes));
  Node* pays = b.CreateICmpSGE(b.CreateMul(points, b.getInt64(std::max<std::uint64_t>(1, static_cast<std::uint64_t>(adds)))),
                               b.CreateMul(items, b.getInt64(3 * W)));
  WideSum s;
  s.on = b.CreateAnd(fits, pays);
  s.items = b.CreateSelect(s.on, items, b.getInt64(0));
  auto* sums = b.CreateAlloca(vec(scalar_type(t)), s.items);
  sums->setAlignment(llvm::Align(64));
  s.sums = sums;
  b.CreateMemSet(sums, b.getInt8(0), b.CreateMul(s.items, b.getInt64(bytes)), llvm::MaybeAlign(64));
  wide_.emplace(memory, s);
}

void Emitter::start_row_sums() {
  for (const RegisterSums& s : register_sums_)
    if (s.row) start_register_sums(s);
}

/// What sums start from. Many of them do not fit in registers: they are as wide as one register then, so that each addition
/// loads and stores one.
llvm::Constant* Emitter::no_sum(DType t) {
  const unsigned native = (opt.masks_in_k ? 64 : 32) / static_cast<unsigned>(size_of(t));
  auto* one = llvm::cast<llvm::Constant>(minus_zero(t, false));
  return llvm::ConstantVector::getSplat(llvm::ElementCount::getFixed(narrow_sums_ ? std::min(W, native) : W), one);
}

/// Halves onto halves, a fixed tree, down to that many lanes.
Node* Emitter::fold_lanes(DType t, Node* v, unsigned lanes) {
  for (unsigned half = llvm::cast<llvm::FixedVectorType>(v->getType())->getNumElements() / 2; half >= lanes; half /= 2) {
    llvm::SmallVector<int, 32> low, high;
    for (unsigned k = 0; k < half; ++k) {
      low.push_back(k);
      high.push_back(half + k);
    }
    v = add(t, b.CreateShuffleVector(v, v, low), b.CreateShuffleVector(v, v, high));
  }
  return v;
}

Node* Emitter::reduce(DType t, Node* v) { return b.CreateExtractElement(fold_lanes(t, v, 1), std::uint64_t{0}); }

bool Emitter::accumulate_in_register(OpId o) {
  const auto it = register_sum_of_.find(o.index);
  if (it == register_sum_of_.end()) return false;
  const RegisterSums& s = register_sums_[it->second];
  if (s.sites.back() != o) return true;  // with the last of them all values are there
  for (const Register& r : s.registers) add_to_register(r);
  b.CreateStore(b.getTrue(), s.touched);
  return true;
}

void Emitter::add_to_register(const Register& r) {
  const DType t = f.type(r.value).dtype();
  llvm::AllocaInst* slot = r.sums[copy_];
  auto* type = llvm::cast<llvm::FixedVectorType>(slot->getAllocatedType());
  const unsigned lanes = type->getNumElements();
  Node* old = b.CreateLoad(type, slot);
  // A product that nothing else needs is added as it is made: one rounding, one operation.
  const Op* product = f[r.value].kind == Value::Kind::result ? &f.ops[f[r.value].owner] : nullptr;
  const bool negative = product && product->code == Opcode::neg && uses_[r.value.index] == 1;
  if (negative) {
    const ValueId inner = product->operands[0];
    product = f[inner].kind == Value::Kind::result && uses_[inner.index] == 1 ? &f.ops[f[inner].owner] : nullptr;
  }
  if (!product || product->code != Opcode::mul || !opt.fma || !is_float(t) || uses_[product->results[0].index] != 1) {
    Node* v = fold_lanes(t, blend(mask_, vector(r.value), minus_zero(t, true)), lanes);
    b.CreateStore(add(t, old, v), slot);
    return;
  }
  Node *x = vector(product->operands[0]), *y = vector(product->operands[1]), *sum = old;
  if (negative && !planted(testing::Mutant::product_sign)) x = b.CreateFNeg(x);
  for (unsigned first = 0; first < W; first += lanes) {
    llvm::SmallVector<int, 32> part;
    for (unsigned k = 0; k < lanes; ++k) part.push_back(static_cast<int>(first + k));
    const auto of = [&](Node* v) { return lanes == W ? v : b.CreateShuffleVector(v, part); };
    Node* more = b.CreateIntrinsic(llvm::Intrinsic::fma, {type}, {of(x), of(y), sum});
    sum = mask_ && !planted(testing::Mutant::product_unmasked) ? b.CreateSelect(of(mask_), more, sum) : more;
  }
  b.CreateStore(sum, slot);
}

/// Adds all lanes of v to what all of them reach.
void Emitter::add_to_one(OpId o, Node* pointer, Node* v) {
  const Op& op = f[o];
  const Layout& layout = layout_of(f[op.memory].element);
  const DType t = layout.leaves[op.leaf].dtype;
  const llvm::Align align(size_of(t));
  BasicBlock* after = nullptr;
  if (const auto it = wide_.find(op.memory.index); it != wide_.end()) {
    const Mem& m = memories_[op.memory.index];
    BasicBlock *wide = block("sum.wide"), *narrow = block("sum.narrow");
    after = block("sum.done");
    b.CreateCondBr(it->second.on, wide, narrow);
    b.SetInsertPoint(wide);
    Node* at = nullptr;
    for (int k = 0; k < f[op.memory].rank; ++k) {
      Node* i = b.CreateSExt(scalar(op.operands[k]), b.getInt64Ty());
      at = at ? b.CreateAdd(b.CreateMul(at, m.extent[k]), i) : i;
    }
    at = b.CreateAdd(b.CreateMul(at, b.getInt64(layout.leaves.size())), b.getInt64(op.leaf));
    Node* p = b.CreateGEP(v->getType(), it->second.sums, at);
    b.CreateAlignedStore(add(t, b.CreateAlignedLoad(v->getType(), p, wide_align(W, t)), v), p, wide_align(W, t));
    b.CreateBr(after);
    b.SetInsertPoint(narrow);
  }
  Node* old = tag(b.CreateAlignedLoad(scalar_type(t), pointer, align), op.memory);
  tag(b.CreateAlignedStore(add(t, old, reduce(t, v)), pointer, align), op.memory);
  if (!after) return;
  b.CreateBr(after);
  b.SetInsertPoint(after);
}

void Emitter::finish_registers(bool row) {
  for (const RegisterSums& s : register_sums_) {
    if (s.row != row) continue;
    BasicBlock *write = block("sum"), *after = block("summed");
    b.CreateCondBr(b.CreateLoad(b.getInt1Ty(), s.touched), write, after);
    b.SetInsertPoint(write);
    std::map<std::uint32_t, Node*> sums;
    for (const Register& r : s.registers) {
      const DType t = f.type(r.value).dtype();
      Node* sum = nullptr;
      for (llvm::AllocaInst* k : r.sums) {
        Node* part = b.CreateLoad(k->getAllocatedType(), k);
        sum = sum ? add(t, sum, part) : part;
      }
      sums[r.value.index] = reduce(t, sum);
    }
    for (OpId o : s.sites) {
      const Op& op = f[o];
      const int rank = f[op.memory].rank;
      const Leaf& leaf = layout_of(f[op.memory].element).leaves[op.leaf];
      llvm::SmallVector<Node*, 3> index;
      for (int k = 0; k < rank; ++k) index.push_back(emit_invariant(op.operands[k]));
      Node* p = element_address(op.memory, leaf, index);
      const llvm::Align align(size_of(leaf.dtype));
      Node* old = tag(b.CreateAlignedLoad(scalar_type(leaf.dtype), p, align), op.memory);
      tag(b.CreateAlignedStore(add(leaf.dtype, old, of_sums(op.operands[rank], sums)), p, align), op.memory);
    }
    b.CreateBr(after);
    b.SetInsertPoint(after);
  }
}

/// What a value that is linear in those with known sums adds up to.
Node* Emitter::of_sums(ValueId v, std::map<std::uint32_t, Node*>& known) {
  if (const auto it = known.find(v.index); it != known.end()) return it->second;
  if (int fuel = 100; row_invariant(v, fuel, true, true)) return emit_invariant(v);
  const Op& op = f.ops[f[v].owner];
  llvm::SmallVector<Node*, 3> x;
  for (ValueId o : op.operands) x.push_back(of_sums(o, known));
  if (planted(testing::Mutant::linear_sum_first)) return known[v.index] = x[0];
  return known[v.index] = compute(op.code, f.type(v).dtype(), x);
}

void Emitter::finish_wide_sums() {
  for (auto& [memory, s] : wide_) {
    int n = 0;
    DType t;
    packed_layout(f.memories[memory].element, n, t);
    llvm::Type* i64 = b.getInt64Ty();
    const llvm::Align align(size_of(t));
    BasicBlock *before = b.GetInsertBlock(), *loop = block("wide"), *after = block("wide.done");
    b.CreateCondBr(b.CreateICmpNE(s.items, b.getInt64(0)), loop, after);
    b.SetInsertPoint(loop);
    PHINode* i = phi(i64);
    i->addIncoming(b.getInt64(0), before);
    Node* v = b.CreateAlignedLoad(vec(scalar_type(t)), b.CreateGEP(vec(scalar_type(t)), s.sums, i), wide_align(W, t));
    Node* p = b.CreateGEP(scalar_type(t), memories_[memory].data, i);
    Node* old = tag(b.CreateAlignedLoad(scalar_type(t), p, align), MemoryId{memory});
    tag(b.CreateAlignedStore(add(t, old, reduce(t, v)), p, align), MemoryId{memory});
    Node* next = b.CreateAdd(i, b.getInt64(1));
    i->addIncoming(next, b.GetInsertBlock());
    b.CreateCondBr(b.CreateICmpULT(next, s.items), loop, after);
    b.SetInsertPoint(after);
  }
}

}  // namespace fluxion::cpu
