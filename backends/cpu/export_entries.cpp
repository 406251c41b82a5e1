// The functions that an exported object offers. They check the arguments as a launch does (jit/kernel_handle.cpp) before anything runs,
// then run the phases, whole or in part, on the calling thread.
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/IntrinsicsAArch64.h>
#include <llvm/IR/IntrinsicsX86.h>

#include <fmt/format.h>

#include "export_driver.h"
#include "fluxion/error.h"

namespace fluxion::cpu {
namespace {
constexpr std::int64_t kMost = 0x7fffffff;
constexpr int kNoReserve = 0x4022;  // Linux: MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
}  // namespace

void Driver::load_arguments() {
  for (int k = 0; k < s.rank; ++k) domain_[k] = word(args_, 8 * static_cast<std::uint64_t>(k));
  for (int k = s.rank; k < 3; ++k) domain_[k] = i64(1);
  arrays_.assign(f.parameters.size(), {});
  for (std::size_t p = 0; p < s.parameters.size(); ++p) {
    const ExportedParameter& q = s.parameters[p];
    if (!q.array) continue;
    ArrayNodes& a = arrays_[p];
    a.data = pointer(args_, q.offset);
    for (int k = 0; k < 3; ++k) a.extent[k] = k < q.rank ? word(args_, q.extents + 8 * static_cast<std::uint64_t>(k)) : i64(1);
    a.count = b.CreateMul(b.CreateMul(a.extent[0], a.extent[1]), a.extent[2]);
    a.bytes = b.CreateMul(a.count, i64(layout_of(q.element).size));
  }
}

void Driver::require(Node* ok, const std::string& format, llvm::ArrayRef<Node*> values) {
  llvm::BasicBlock *bad = block("misfit"), *go = block("fits");
  b.CreateCondBr(ok, go, bad);
  b.SetInsertPoint(bad);
  say(about() + format, values);
  b.CreateRet(b.getInt32(static_cast<int>(ExportStatus::misfit)));
  b.SetInsertPoint(go);
}

/// The product of three numbers below 2^31, and whether it is below 2^63.
std::pair<Driver::Node*, Driver::Node*> Driver::product(Node* const (&n)[3]) {
  Node* two = b.CreateMul(n[0], n[1]);
  Node* all = b.CreateBinaryIntrinsic(llvm::Intrinsic::smul_with_overflow, two, n[2]);
  return {b.CreateExtractValue(all, 0), b.CreateNot(b.CreateExtractValue(all, 1))};
}

void Driver::check_extents() {
  for (int k = 0; k < s.rank; ++k) {
    require(b.CreateICmpULE(domain_[k], i64(kMost)), fmt::format("axis {} of the domain is %lld; it must be within 0 .. 2^31 - 1", k),
            {domain_[k]});
    if (const int g = s.group[static_cast<std::size_t>(k)]; g > 0)
      require(b.CreateICmpEQ(b.CreateURem(domain_[k], i64(g)), i64(0)),
              fmt::format("axis {} of the domain is %lld, which groups of {} threads do not divide; launch a multiple, and leave out the "
                          "rest by a condition",
                          k, g),
              {domain_[k]});
  }
  require(product(domain_).second, "the domain of %lld x %lld x %lld has more than 2^63 - 1 points", {domain_[0], domain_[1], domain_[2]});
  for (std::size_t p = 0; p < s.parameters.size(); ++p) {
    const ExportedParameter& q = s.parameters[p];
    if (!q.array) continue;
    for (int k = 0; k < q.rank; ++k)
      require(b.CreateICmpULE(arrays_[p].extent[k], i64(kMost)),
              fmt::format("extent {} of \"{}\" is %lld; it must be within 0 .. 2^31 - 1", k, q.name), {arrays_[p].extent[k]});
    const auto [count, fits] = product(arrays_[p].extent);
    const std::int64_t room = INT64_MAX / std::max<std::int64_t>(1, layout_of(q.element).size);
    require(b.CreateAnd(fits, b.CreateICmpSLE(count, i64(room))), fmt::format("\"{}\" has more elements than memory has bytes", q.name),
            {});
    require(b.CreateOr(b.CreateICmpNE(b.CreatePtrToInt(arrays_[p].data, b.getInt64Ty()), i64(0)), b.CreateICmpEQ(arrays_[p].count, i64(0))),
            fmt::format("\"{}\" is null", q.name));
  }
  for (const ExportSignature::Like& l : s.likes) {
    const auto here = static_cast<std::size_t>(l.parameter), there = static_cast<std::size_t>(l.other);
    for (int k = 0; k < s.parameters[here].rank; ++k) {
      Node* wanted = l.tangents == 0 ? arrays_[there].extent[k] : k == 0 ? i64(l.tangents) : arrays_[there].extent[k - 1];
      require(b.CreateICmpEQ(arrays_[here].extent[k], wanted),
              fmt::format("extent {} of \"{}\" is %lld, and must be %lld, as that of \"{}\"", k, s.parameters[here].name,
                          s.parameters[there].name),
              {arrays_[here].extent[k], wanted});
    }
  }
}

void Driver::check_reach() {
  for (const ExportSignature::Reach& r : s.reach) {
    const auto p = static_cast<std::size_t>(r.parameter);
    Node *low = i64(r.low), *high = i64(r.high);
    for (std::size_t k = 0; k < 3; ++k) {
      if (r.coefficient[k] == 0) continue;
      Node*& side = r.coefficient[k] < 0 ? low : high;
      side = b.CreateAdd(side, b.CreateMul(i64(r.coefficient[k]), b.CreateSub(domain_[k], i64(1))));
    }
    Node* n = arrays_[p].extent[r.axis];
    Node* inside = b.CreateAnd(b.CreateICmpSGE(low, i64(0)), b.CreateICmpSLT(high, n));
    Node* wraps = b.CreateOr(b.CreateICmpSGT(high, i64(kMost)), b.CreateICmpSLT(low, i64(-kMost)));
    Node* below = b.CreateICmpSLT(low, i64(0));
    require(b.CreateOr(inside, wraps),
            fmt::format(
                "index %lld along axis {} of \"{}\" is reached at %s, but there are %lld; pass an array that is large enough, or launch "
                "over the points that it has",
                r.axis, s.parameters[p].name),
            {b.CreateSelect(below, low, high), b.CreateSelect(below, text(to_string(r.low_at)), text(to_string(r.high_at))), n});
  }
}

/// Generated code takes for granted that what is written overlaps with nothing.
void Driver::check_overlap() {
  const auto first = [&](std::size_t p) { return b.CreatePtrToInt(arrays_[p].data, b.getInt64Ty()); };
  for (std::size_t p = 0; p < s.parameters.size(); ++p)
    for (std::size_t q = 0; q < s.parameters.size(); ++q) {
      if (p == q || !s.parameters[p].array || !s.parameters[q].array || s.parameters[p].role == Role::in) continue;
      if (s.parameters[q].role != Role::in && q < p) continue;
      Node* apart = b.CreateOr(b.CreateICmpULE(b.CreateAdd(first(p), arrays_[p].bytes), first(q)),
                               b.CreateICmpULE(b.CreateAdd(first(q), arrays_[q].bytes), first(p)));
      Node* empty = b.CreateOr(b.CreateICmpEQ(arrays_[p].bytes, i64(0)), b.CreateICmpEQ(arrays_[q].bytes, i64(0)));
      require(b.CreateOr(apart, empty),
              fmt::format("\"{}\", which is written, and \"{}\" overlap; pass a copy", s.parameters[p].name, s.parameters[q].name));
    }
}

Driver::Node* Driver::points() { return b.CreateMul(b.CreateMul(domain_[0], domain_[1]), domain_[2]); }

/// How many parts there are: rows, segments of a line, or groups.
Driver::Node* Driver::units() {
  if (s.group[0] > 0) {
    Node* n = i64(1);
    for (int k = 0; k < s.rank; ++k) n = b.CreateMul(n, b.CreateUDiv(domain_[k], i64(s.group[static_cast<std::size_t>(k)])));
    return n;
  }
  if (s.rank == 1) return b.CreateUDiv(b.CreateAdd(domain_[0], i64(kRangeSegment - 1)), i64(kRangeSegment));
  return s.rank == 2 ? domain_[0] : b.CreateMul(domain_[0], domain_[1]);
}

void Driver::leave_with(ExportStatus status, llvm::BasicBlock* leave) {
  b.CreateStore(b.getInt32(static_cast<int>(status)), status_);
  b.CreateBr(leave);
}

void Driver::make_scratch(llvm::BasicBlock* leave) {
  llvm::Type *p8 = b.getPtrTy(), *w = b.getInt64Ty();
  std::vector<std::size_t> list;
  for (std::size_t p = s.parameters.size(); p < f.parameters.size(); ++p) {
    list.push_back(p);
    auto* held = b.CreateAlloca(p8);
    b.CreateStore(llvm::ConstantPointerNull::get(b.getPtrTy()), held);
    scratch_.push_back(held);
  }
  for (std::size_t k = 0; k < list.size(); ++k) {
    const Memory& m = f[f.parameters[list[k]].memory];
    const ArrayNodes& like = arrays_[static_cast<std::size_t>(m.like)];
    ArrayNodes& a = arrays_[list[k]];
    a = like;
    a.bytes = b.CreateMul(a.count, i64(layout_of(m.element).size));
    Node* size = b.CreateBinaryIntrinsic(llvm::Intrinsic::umax, a.bytes, i64(64));
    a.data = b.CreateCall(libc("malloc", p8, {w}), {size});
    b.CreateStore(a.data, scratch_[k]);
    llvm::BasicBlock *none = block("none"), *some = block("some");
    b.CreateCondBr(b.CreateICmpEQ(b.CreatePtrToInt(a.data, w), i64(0)), none, some);
    b.SetInsertPoint(none);
    say(about() + "no memory for %lld bytes of scratch", {a.bytes});
    leave_with(ExportStatus::no_memory, leave);
    b.SetInsertPoint(some);
    if (f.parameters[list[k]].role != Role::inout) continue;
    if (m.zeros) b.CreateMemSet(a.data, b.getInt8(0), a.bytes, llvm::MaybeAlign(1));
    else b.CreateMemCpy(a.data, llvm::MaybeAlign(1), like.data, llvm::MaybeAlign(1), a.bytes);
  }
}

void Driver::add_scratch() {
  for (std::size_t p = s.parameters.size(); p < f.parameters.size(); ++p) {
    const Memory& m = f[f.parameters[p].memory];
    if (m.into < 0) continue;
    const Layout& layout = layout_of(m.element);
    const DType t = layout.leaves[0].dtype;
    for (const Leaf& leaf : layout.leaves)
      if (leaf.dtype != t || (t != DType::f32 && t != DType::f64) ||
          layout.size != layout.leaves.size() * static_cast<std::size_t>(size_of(t)))
        throw KernelError(s.loc, fmt::format("export: kernel \"{}\" sums elements of {}; only those of floats are exported", s.kernel,
                                             to_string(m.element)));
    llvm::Type* type = t == DType::f32 ? b.getFloatTy() : b.getDoubleTy();
    const ArrayNodes &from = arrays_[p], &to = arrays_[static_cast<std::size_t>(m.into)];
    Node* n = b.CreateMul(from.count, i64(static_cast<std::int64_t>(layout.leaves.size())));
    llvm::BasicBlock *before = b.GetInsertBlock(), *loop = block("add"), *after = block("added");
    b.CreateCondBr(b.CreateICmpSGT(n, i64(0)), loop, after);
    b.SetInsertPoint(loop);
    auto* k = b.CreatePHI(b.getInt64Ty(), 2);
    k->addIncoming(i64(0), before);
    Node* place = b.CreateGEP(type, to.data, k);
    Node* more = b.CreateAlignedLoad(type, b.CreateGEP(type, from.data, k), llvm::Align(1));
    b.CreateAlignedStore(b.CreateFAdd(b.CreateAlignedLoad(type, place, llvm::Align(1)), more), place, llvm::Align(1));
    Node* next = b.CreateAdd(k, i64(1));
    k->addIncoming(next, loop);
    b.CreateCondBr(b.CreateICmpSLT(next, n), loop, after);
    b.SetInsertPoint(after);
  }
}

/// Address space, of which only what is used is ever touched.
void Driver::make_arena(llvm::BasicBlock* leave) {
  llvm::Type *p8 = b.getPtrTy(), *w = b.getInt64Ty(), *i32 = b.getInt32Ty();
  Node* none = llvm::ConstantPointerNull::get(b.getPtrTy());
  if (!arena_) {
    for (const std::uint64_t k : {0u, 8u, 16u}) put(none, state_, k);
    return;
  }
  Node* base = b.CreateCall(libc("mmap", p8, {p8, w, i32, i32, i32, w}),
                            {none, i64(tape_bytes_), b.getInt32(3), b.getInt32(kNoReserve), b.getInt32(~0u), i64(0)});
  llvm::BasicBlock *bad = block("no_arena"), *go = block("arena");
  b.CreateCondBr(b.CreateICmpEQ(b.CreatePtrToInt(base, w), i64(-1)), bad, go);
  b.SetInsertPoint(bad);
  say(about() + "no address space for a tape of %lld bytes; export it with fewer tape_bytes", {i64(tape_bytes_)});
  leave_with(ExportStatus::no_memory, leave);
  b.SetInsertPoint(go);
  put(base, state_, 0);
  put(b.CreateGEP(b.getInt8Ty(), base, i64(tape_bytes_)), state_, 8);
  put(base, state_, 16);
}

// Numbers below the smallest normal one count as zero, as under a launch.
Driver::Node* Driver::flush_denormals() {
  if (arm_) {
    Node* old = b.CreateIntrinsic(llvm::Intrinsic::aarch64_get_fpcr, {}, {});
    b.CreateIntrinsic(llvm::Intrinsic::aarch64_set_fpcr, {}, {b.CreateOr(old, i64(1 << 24))});
    return old;
  }
  auto* now = b.CreateAlloca(b.getInt32Ty());
  b.CreateIntrinsic(llvm::Intrinsic::x86_sse_stmxcsr, {}, {now});
  Node* old = b.CreateLoad(b.getInt32Ty(), now);
  b.CreateStore(b.CreateOr(old, b.getInt32(0x8040)), now);
  b.CreateIntrinsic(llvm::Intrinsic::x86_sse_ldmxcsr, {}, {now});
  b.CreateStore(old, now);
  return now;
}
void Driver::restore_control(Node* saved) {
  if (arm_) b.CreateIntrinsic(llvm::Intrinsic::aarch64_set_fpcr, {}, {saved});
  else b.CreateIntrinsic(llvm::Intrinsic::x86_sse_ldmxcsr, {}, {saved});
}

/// run(args, first phase, end phase, begin, end, message, size): a part of each phase; `end` < 0: all of it.
llvm::Function* Driver::define_run(const std::vector<llvm::Function*>& kernels, const std::vector<llvm::Function*>& wide) {
  llvm::Function* guard = define_guard();
  llvm::Type *p8 = b.getPtrTy(), *w = b.getInt64Ty(), *i32 = b.getInt32Ty();
  begin_function(s.name + ".run", i32, {p8, i32, i32, w, w, p8, w}, false);
  args_ = fn_->getArg(0);
  Node *first = fn_->getArg(1), *last = fn_->getArg(2), *begin = fn_->getArg(3), *end = fn_->getArg(4);
  message_ = fn_->getArg(5);
  size_ = b.CreateSelect(b.CreateICmpEQ(b.CreatePtrToInt(message_, w), i64(0)), i64(0), fn_->getArg(6));
  status_ = b.CreateAlloca(i32);
  state_ = b.CreateAlloca(llvm::ArrayType::get(b.getInt8Ty(), kStateBytes));
  state_->setAlignment(llvm::Align(16));
  auto* launch = b.CreateAlloca(llvm::ArrayType::get(b.getInt8Ty(), sizeof(KernelArgs)));
  auto* arrays = b.CreateAlloca(llvm::ArrayType::get(b.getInt8Ty(), sizeof(KernelArray) * (f.parameters.size() + 1)));
  auto* scalars = b.CreateAlloca(llvm::ArrayType::get(w, f.parameters.size() + 1));
  for (llvm::AllocaInst* a : {launch, arrays, scalars}) a->setAlignment(llvm::Align(8));
  load_arguments();
  check_extents();
  Node* whole = b.CreateICmpSLT(end, i64(0));
  Node* all = units();
  require(
      b.CreateOr(whole, b.CreateAnd(b.CreateICmpSGE(begin, i64(0)), b.CreateAnd(b.CreateICmpSLE(begin, end), b.CreateICmpSLE(end, all)))),
      "a range from %lld to %lld is asked for; there are %lld units", {begin, end, all});
  const auto phases = static_cast<std::uint32_t>(plans_.size());
  require(b.CreateICmpULT(first, b.getInt32(phases)), fmt::format("phase %d is asked for; there are {}", phases), {first});
  llvm::BasicBlock *empty = block("empty"), *some = block("some");
  b.CreateCondBr(b.CreateICmpEQ(points(), i64(0)), empty, some);
  b.SetInsertPoint(empty);
  b.CreateRet(b.getInt32(0));
  b.SetInsertPoint(some);
  check_reach();
  check_overlap();
  std::int64_t longest = kMost + 1;
  for (const KernelPlan& plan : plans_) longest = std::min(longest, plan.longest);
  if (longest <= kMost)
    for (int k = 0; k < s.rank; ++k)
      require(b.CreateOr(whole, b.CreateICmpSLE(domain_[k], i64(longest))),
              fmt::format("axis {} of the domain is %lld: indices may wrap, so it is not run in parts", k), {domain_[k]});

  llvm::BasicBlock* leave = block("leave");
  b.CreateStore(b.getInt32(0), status_);
  make_scratch(leave);  // `leave` reads what is stored by then: all the slots are made here first
  make_arena(leave);
  put(message_, state_, kMessageAt);
  put(size_, state_, kMessageSizeAt);
  // ---- KernelArgs
  for (int k = 0; k < 3; ++k) put(domain_[k], launch, 8 * static_cast<std::uint64_t>(k));
  Node* fast = domain_[s.rank - 1];
  Node* segment = fast;
  if (s.rank == 1 && s.group[0] == 0) segment = b.CreateSelect(whole, fast, i64(kRangeSegment));
  put(segment, launch, offsetof(KernelArgs, segment));
  put(i64(1), launch, offsetof(KernelArgs, segments));
  put(arrays, launch, offsetof(KernelArgs, arrays));
  put(scalars, launch, offsetof(KernelArgs, scalars));
  std::uint64_t array = 0, number = 0;
  Node* far = b.getFalse();
  for (std::size_t p = 0; p < f.parameters.size(); ++p) {
    if (f.parameters[p].kind == Parameter::Kind::memory) {
      put(arrays_[p].data, arrays, sizeof(KernelArray) * array);
      for (std::uint64_t k = 0; k < 3; ++k) put(arrays_[p].extent[k], arrays, sizeof(KernelArray) * array + 8 + 8 * k);
      far = b.CreateOr(far, b.CreateICmpUGT(arrays_[p].bytes, i64(kMost)));
      ++array;
      continue;
    }
    const ExportedParameter& q = s.parameters[p];
    const auto bytes = static_cast<unsigned>(size_of(q.element.scalar()));
    Node* v = b.CreateAlignedLoad(b.getIntNTy(8 * bytes), at(args_, q.offset), llvm::Align(bytes));
    put(b.CreateZExt(v, w), scalars, 8 * number++);
  }
  Node* saved = flush_denormals();
  llvm::BasicBlock *failed = block("failed"), *restore = block("restore");
  Node* to = b.CreateSelect(whole, s.rank == 1 && s.group[0] == 0 ? i64(1) : all, end);
  Node* from = b.CreateSelect(whole, i64(0), begin);
  for (std::uint32_t k = 0; k < phases; ++k) {
    llvm::BasicBlock *here = block("phase"), *next = block("next");
    b.CreateCondBr(b.CreateAnd(b.CreateICmpULE(first, b.getInt32(k)), b.CreateICmpUGT(last, b.getInt32(k))), here, next);
    b.SetInsertPoint(here);
    put(i64(k), state_, kPhaseAt);
    put(pointer(state_, 16), state_, 0);
    Node* kernel = b.CreateSelect(far, wide[k], kernels[k]);
    b.CreateCondBr(b.CreateCall(guard, {kernel, from, to, launch, state_}), next, failed);
    b.SetInsertPoint(next);
  }
  add_scratch();
  b.CreateBr(restore);
  b.SetInsertPoint(failed);
  b.CreateStore(b.getInt32(static_cast<int>(ExportStatus::failed)), status_);
  b.CreateBr(restore);
  b.SetInsertPoint(restore);
  restore_control(saved);
  if (arena_) b.CreateCall(libc("munmap", i32, {p8, w}), {pointer(state_, 16), i64(tape_bytes_)});
  b.CreateBr(leave);
  b.SetInsertPoint(leave);
  for (Node* held : scratch_) b.CreateCall(libc("free", b.getVoidTy(), {p8}), {b.CreateLoad(p8, held)});
  b.CreateRet(b.CreateLoad(i32, status_));
  return fn_;
}

void Driver::define_entries(const std::vector<llvm::Function*>& kernels, const std::vector<llvm::Function*>& wide, bool ranges) {
  llvm::Function* run = define_run(kernels, wide);
  llvm::Type *p8 = b.getPtrTy(), *w = b.getInt64Ty(), *i32 = b.getInt32Ty();
  begin_function(s.name, i32, {p8, p8, w}, true);
  b.CreateRet(b.CreateCall(run, {fn_->getArg(0), b.getInt32(0), b.getInt32(static_cast<std::uint32_t>(plans_.size())), i64(0), i64(-1),
                                 fn_->getArg(1), fn_->getArg(2)}));
  if (!ranges) return;
  begin_function(s.name + "_units", w, {p8}, true);
  args_ = fn_->getArg(0);
  load_arguments();
  Node* fits = b.getTrue();
  for (int k = 0; k < s.rank; ++k) fits = b.CreateAnd(fits, b.CreateICmpULE(domain_[k], i64(kMost)));
  fits = b.CreateAnd(fits, product(domain_).second);
  b.CreateRet(b.CreateSelect(fits, units(), i64(0)));
  begin_function(s.name + "_range", i32, {p8, i32, w, w, p8, w}, true);
  // An end below 0 would mean all of it.
  Node* end = b.CreateSelect(b.CreateICmpSLT(fn_->getArg(3), i64(0)), i64(INT64_MAX), fn_->getArg(3));
  b.CreateRet(b.CreateCall(run, {fn_->getArg(0), fn_->getArg(1), b.CreateAdd(fn_->getArg(1), b.getInt32(1)), fn_->getArg(2), end,
                                 fn_->getArg(4), fn_->getArg(5)}));
}

}  // namespace fluxion::cpu
