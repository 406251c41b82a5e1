// The structure of a kernel: where its thread is found, control flow, reports. Structured regions map one to one to SPIR-V's
// structured control flow; what a region yields becomes a phi.
#include "emit.h"

#include <algorithm>
#include <cmath>

#include "common/uniformity.h"
#include "emitter.h"
#include "fluxion/error.h"

namespace fluxion::vulkan {

Emitter::Emitter(const Function& f, const Traits& traits, bool fast)
    : f_(f), traits_(traits), fast_(fast), values_(f.values.size()), places_(f.memories.size()) {}

EmittedKernel Emitter::run() {
  using spv::Capability;
  for (const Capability c : {Capability::Shader, Capability::PhysicalStorageBufferAddresses}) m_.capability(c);
  m_.extension("SPV_KHR_physical_storage_buffer");
  const int group = group_threads(f_);
  out_.threads = group > 0 ? group : 64;
  m_.mode(spv::ExecutionMode::LocalSize, {static_cast<Word>(out_.threads), 1, 1});
  for (const auto& [on, bits, mode, capability] :
       {std::tuple(traits_.keeps_zero_inf_nan32, 32, spv::ExecutionMode::SignedZeroInfNanPreserve, Capability::SignedZeroInfNanPreserve),
        std::tuple(traits_.keeps_zero_inf_nan64, 64, spv::ExecutionMode::SignedZeroInfNanPreserve, Capability::SignedZeroInfNanPreserve),
        std::tuple(traits_.nearest32, 32, spv::ExecutionMode::RoundingModeRTE, Capability::RoundingModeRTE),
        std::tuple(traits_.nearest64, 64, spv::ExecutionMode::RoundingModeRTE, Capability::RoundingModeRTE)})
    if (on && !fast_) {
      m_.capability(capability);
      m_.mode(mode, {static_cast<Word>(bits)});
    }
  for (const Region& r : f_.regions)
    for (OpId o : r.ops)
      if (f_[o].code == Opcode::check || f_[o].code == Opcode::print)
        out_.values = std::max(out_.values, static_cast<int>(f_[o].operands.size()));
  constexpr double kRounds = 60000;
  watches_ = traits_.ends_loops && rounds(f_.body) > kRounds;
  declare_memories();
  prologue();
  region(f_.body);
  m_.effect(spv::Op::OpReturn);
  out_.words = m_.finish("main");
  return std::move(out_);
}

// Rounds of all loops in `r`, as far as constants tell.
double Emitter::rounds(RegionId r) const {
  double sum = 0;
  for (const Memory& m : f_.memories)
    if (m.space == Memory::Space::local && m.scope == r)
      sum += static_cast<double>(m.length) * static_cast<double>(layout_of(m.element).leaves.size());
  for (OpId o : f_[r].ops) {
    const Op& op = f_[o];
    double times = op.code == Opcode::while_ ? HUGE_VAL : 1;
    if (op.code == Opcode::for_) {
      const bool known = f_.is_constant(op.operands[0]) && f_.is_constant(op.operands[1]);
      const auto bound = [&](std::size_t k) { return static_cast<double>(static_cast<std::int32_t>(f_[op.operands[k]].bits)); };
      times = known ? std::max(0.0, bound(1) - bound(0)) : HUGE_VAL;
    }
    for (RegionId inner : op.regions) sum += times > 0 ? times * (rounds(inner) + 1) : 0;
  }
  return sum;
}

Word Emitter::word(int k) {
  if (out_.push)
    return m_.op(
        spv::Op::OpLoad, u64(),
        {m_.op(spv::Op::OpAccessChain, m_.pointer_type(spv::StorageClass::PushConstant, u64()), {push_, number(static_cast<Word>(k))})});
  return load_at(binary(spv::Op::OpIAdd, u64(), block_, wide(static_cast<std::uint64_t>(k) * 8)), 64);
}

void Emitter::arguments() {
  int words = kHeaderWords;
  for (const Parameter& p : f_.parameters) words += p.kind == Parameter::Kind::memory ? 1 + extent_words(f_[p.memory].rank) : 1;
  out_.argument_words = words;
  out_.push = words <= kPushWords;
  const Words members(static_cast<std::size_t>(out_.push ? words : 1), u64());
  const Word block = m_.struct_type(members);
  m_.decorate(block, spv::Decoration::Block);
  for (Word k = 0; k < members.size(); ++k) m_.decorate_member(block, k, spv::Decoration::Offset, {8 * k});
  push_ = m_.global(spv::StorageClass::PushConstant, block);
  if (!out_.push)
    block_ = m_.op(spv::Op::OpLoad, u64(),
                   {m_.op(spv::Op::OpAccessChain, m_.pointer_type(spv::StorageClass::PushConstant, u64()), {push_, number(0)})});
  const auto low = [&](Word w) { return m_.op(spv::Op::OpUConvert, u32(), {w}); };
  const auto high = [&](Word w) { return low(binary(spv::Op::OpShiftRightLogical, u64(), w, wide(32))); };
  const Word a = word(0), b = word(1);
  domain_ = {low(a), high(a), low(b)};
  report_ = word(3);
  int next = kHeaderWords;
  for (const Parameter& p : f_.parameters) {
    if (p.kind == Parameter::Kind::scalar) {
      values_[p.value.index] = from_word(word(next++), f_.type(p.value).dtype());
      continue;
    }
    Place& place = places_[p.memory.index];
    const int rank = f_[p.memory].rank;
    place.address = word(next++);
    for (int k = 0; k < extent_words(rank); ++k) {
      const Word w = word(next++);
      place.extent[static_cast<std::size_t>(2 * k)] = low(w);
      if (2 * k + 1 < 3) place.extent[static_cast<std::size_t>(2 * k + 1)] = high(w);
    }
  }
}

// The last axis is the fastest; axis 0 starts at `first`.
void Emitter::decode(Word linear, const std::array<Word, 3>& extents, Word first, std::array<Word, 3>& out) {
  Word rest = linear;
  for (int k = f_.domain_rank; k-- > 1;) {
    const auto a = static_cast<std::size_t>(k);
    out[a] = binary(spv::Op::OpUMod, u32(), rest, extents[a]);
    rest = binary(spv::Op::OpUDiv, u32(), rest, extents[a]);
  }
  out[0] = first ? binary(spv::Op::OpIAdd, u32(), rest, first) : rest;
}

void Emitter::prologue() {
  arguments();
  const Word vector = m_.vector_type(u32(), 3);
  const auto builtin = [&](spv::BuiltIn what, Word component) {
    const Word all = m_.op(spv::Op::OpLoad, vector, {m_.builtin(what, vector)});
    return m_.op(spv::Op::OpCompositeExtract, u32(), {all, component});
  };
  const Word row = binary(spv::Op::OpIMul, u32(), builtin(spv::BuiltIn::WorkgroupId, 1), builtin(spv::BuiltIn::NumWorkgroups, 0));
  const Word workgroup = binary(spv::Op::OpIAdd, u32(), row, builtin(spv::BuiltIn::WorkgroupId, 0));
  lane_ = m_.op(spv::Op::OpLoad, u32(), {m_.builtin(spv::BuiltIn::LocalInvocationIndex, u32())});
  const Word b = word(1);
  const Word c = word(2);
  const auto high = [&](Word w) { return m_.op(spv::Op::OpUConvert, u32(), {binary(spv::Op::OpShiftRightLogical, u64(), w, wide(32))}); };
  const Word base = high(b), first = high(c), count = m_.op(spv::Op::OpUConvert, u32(), {c});
  const bool groups = f_.has_groups();
  const Word threads = number(static_cast<Word>(out_.threads));
  Word group = workgroup;
  if (groups) group = binary(spv::Op::OpIAdd, u32(), group, base);
  thread_ = binary(spv::Op::OpIAdd, u32(), binary(spv::Op::OpIMul, u32(), group, threads), lane_);
  if (!groups) thread_ = binary(spv::Op::OpIAdd, u32(), thread_, base);
  // Whole groups leave, so that no barrier misses a thread.
  const Word unit = groups ? group : thread_;
  const Word inside = binary(spv::Op::OpULessThan, m_.bool_type(), unit, count);
  const Word out = m_.id(), go = m_.id();
  m_.effect(spv::Op::OpSelectionMerge, {go, 0});
  m_.effect(spv::Op::OpBranchConditional, {inside, go, out});
  m_.label(out);
  m_.effect(spv::Op::OpReturn);
  m_.label(go);
  if (!groups) {
    decode(thread_, domain_, first, index_);
  } else {
    std::array<Word, 3> groups_of{}, size{}, within{};
    for (int k = 0; k < f_.domain_rank; ++k) {
      const auto a = static_cast<std::size_t>(k);
      size[a] = number(static_cast<Word>(f_.group[a]));
      groups_of[a] = binary(spv::Op::OpUDiv, u32(), domain_[a], size[a]);
    }
    decode(group, groups_of, first, group_);
    decode(lane_, size, 0, within);
    for (int k = 0; k < f_.domain_rank; ++k) {
      const auto a = static_cast<std::size_t>(k);
      index_[a] = binary(spv::Op::OpIAdd, u32(), binary(spv::Op::OpIMul, u32(), group_[a], size[a]), within[a]);
    }
  }
  const Values& arguments = f_[f_.body].arguments;
  for (std::size_t a = 0; a < arguments.size(); ++a) values_[arguments[a].index] = index_[a];
  zero_shared();
}

Word Emitter::value(ValueId v) {
  const Value& x = f_[v];
  if (x.kind == Value::Kind::constant) return constant(x.type.dtype(), x.bits);
  if (!values_[v.index]) throw Bug(f_.loc, "vulkan: a value is used before it is made\n" + print(f_));
  return values_[v.index];
}

void Emitter::region(RegionId r) {
  if (r != f_.body || !f_[r].ops.empty()) zero_locals(r);
  for (OpId o : f_[r].ops) op(o);
}

void Emitter::op(OpId id) {
  const Op& op = f_[id];
  const auto set = [&](Word w) { values_[op.results[0].index] = w; };
  if (is_elementwise(op.code)) {
    Words x;
    for (ValueId v : op.operands) x.push_back(value(v));
    const DType t = f_.type(op.operands[op.code == Opcode::select ? 1 : 0]).dtype();
    return set(elementwise(op.code, t, f_.type(op.results[0]).dtype(), x));
  }
  switch (op.code) {
    case Opcode::convert: return set(convert(value(op.operands[0]), f_.type(op.operands[0]).dtype(), f_.type(op.results[0]).dtype()));
    case Opcode::bitcast: return set(bitcast(value(op.operands[0]), f_.type(op.operands[0]).dtype(), f_.type(op.results[0]).dtype()));
    case Opcode::load: return set(load_op(op));
    case Opcode::store: return store_op(op, value(op.operands.back()));
    case Opcode::accumulate: return accumulate_op(op);
    case Opcode::atomic: return set(atomic_op(op));
    case Opcode::extent: {
      const Memory& m = f_[op.memory];
      return set(m.space == Memory::Space::parameter ? places_[op.memory.index].extent[op.leaf] : number(static_cast<Word>(m.length)));
    }
    case Opcode::domain: return set(domain_[op.leaf]);
    case Opcode::group_index: return set(group_[op.leaf]);
    case Opcode::if_: return if_op(op);
    case Opcode::for_: return for_op(op);
    case Opcode::while_: return while_op(op);
    case Opcode::yield: return;
    case Opcode::barrier: return barrier();
    case Opcode::print: return report(op, 0, op.code);
    case Opcode::check: {
      const Word bad = m_.op(spv::Op::OpLogicalNot, m_.bool_type(), {value(op.operands[0])});
      const Word fail = m_.id(), go = m_.id();
      m_.effect(spv::Op::OpSelectionMerge, {go, 0});
      m_.effect(spv::Op::OpBranchConditional, {bad, fail, go});
      m_.label(fail);
      report(op, 1, op.code);
      m_.effect(spv::Op::OpReturn);
      return m_.label(go);
    }
    case Opcode::subgroup: return set(subgroup_op(op));
    case Opcode::call:
    case Opcode::seq_get:
    case Opcode::seq_set:
    case Opcode::seq_add_at:
    case Opcode::seq_len:
    case Opcode::zeros: throw Bug(op.loc, std::string("vulkan: ") + name_of(op.code) + " should have been lowered");
    default: throw Bug(op.loc, std::string("vulkan: ") + name_of(op.code) + " in a kernel");
  }
}

void Emitter::when(Word condition, const std::function<void()>& then) {
  const Word yes = m_.id(), after = m_.id();
  m_.effect(spv::Op::OpSelectionMerge, {after, 0});
  m_.effect(spv::Op::OpBranchConditional, {condition, yes, after});
  m_.label(yes);
  then();
  branch(after);
  m_.label(after);
}

void Emitter::if_op(const Op& op) {
  const Word arms[2] = {m_.id(), m_.id()}, after = m_.id();
  m_.effect(spv::Op::OpSelectionMerge, {after, 0});
  m_.effect(spv::Op::OpBranchConditional, {value(op.operands[0]), arms[0], arms[1]});
  Word from[2];
  std::vector<Word> yields[2];
  for (const std::size_t k : {std::size_t{0}, std::size_t{1}}) {
    m_.label(arms[k]);
    region(op.regions[k]);
    for (ValueId v : f_.terminator(op.regions[k]).operands) yields[k].push_back(value(v));
    from[k] = m_.block();
    branch(after);
  }
  m_.label(after);
  for (std::size_t r = 0; r < op.results.size(); ++r)
    values_[op.results[r].index] =
        m_.op(spv::Op::OpPhi, type(f_.type(op.results[r]).dtype()), {yields[0][r], from[0], yields[1][r], from[1]});
}

void Emitter::for_op(const Op& op) {
  const Word lo = value(op.operands[0]), hi = value(op.operands[1]);
  Words init;
  for (std::size_t k = 2; k < op.operands.size(); ++k) init.push_back(value(op.operands[k]));
  const Word some = binary(spv::Op::OpSLessThan, m_.bool_type(), lo, hi);
  const Word trips = m_.op(spv::Op::OpSelect, u32(), {some, binary(spv::Op::OpISub, u32(), hi, lo), number(0)});
  const Word last = binary(spv::Op::OpISub, u32(), hi, number(1));
  const Word before = m_.block(), header = m_.id(), test = m_.id(), body = m_.id(), next = m_.id(), after = m_.id();
  branch(header);
  m_.label(header);
  const Word count = m_.phi(u32(), 2);
  const Values& arguments = f_[op.regions[0]].arguments;
  Words carries;
  for (std::size_t k = 0; k < init.size(); ++k) {
    carries.push_back(m_.phi(type(f_.type(arguments[k + 1]).dtype()), 2));
    values_[arguments[k + 1].index] = carries[k];
    values_[op.results[k].index] = carries[k];
  }
  m_.effect(spv::Op::OpLoopMerge, {after, next, 0});
  branch(test);
  m_.label(test);
  const Word go = binary(spv::Op::OpULessThan, m_.bool_type(), count, trips);
  m_.effect(spv::Op::OpBranchConditional, {go, body, after});
  m_.label(body);
  values_[arguments[0].index] = op.down ? binary(spv::Op::OpISub, u32(), last, count) : binary(spv::Op::OpIAdd, u32(), lo, count);
  region(op.regions[0]);
  Words yields;
  for (ValueId v : f_.terminator(op.regions[0]).operands) yields.push_back(value(v));
  branch(next);
  m_.label(next);
  const Word more = binary(spv::Op::OpIAdd, u32(), count, number(1));
  branch(header);
  m_.set_phi(count, 0, number(0), before);
  m_.set_phi(count, 1, more, next);
  for (std::size_t k = 0; k < init.size(); ++k) {
    m_.set_phi(carries[k], 0, init[k], before);
    m_.set_phi(carries[k], 1, yields[k], next);
  }
  m_.label(after);
  if (watches_) ended_early(op, binary(spv::Op::OpULessThan, m_.bool_type(), count, trips));
}

void Emitter::ended_early(const Op& op, Word early) {
  const auto number_of = static_cast<Word>(out_.sites.size());
  out_.sites.push_back({Opcode::for_, op.loc, {}, {}});
  when(early, [&] { record(number_of, {}); });
}

void Emitter::while_op(const Op& op) {
  Words init;
  for (ValueId v : op.operands) init.push_back(value(v));
  const Word before = m_.block(), header = m_.id(), test = m_.id(), body = m_.id(), next = m_.id(), after = m_.id();
  branch(header);
  m_.label(header);
  const Word count = m_.phi(u32(), 2);
  // Where the device may end the loop: 0 once the test has said no, looked at a round later, when nothing knows its value from a branch.
  const Word on = watches_ ? m_.phi(u32(), 2) : 0;
  const Values &entry = f_[op.regions[0]].arguments, &arguments = f_[op.regions[1]].arguments;
  Words carries;
  for (std::size_t k = 0; k < init.size(); ++k) {
    carries.push_back(m_.phi(type(f_.type(entry[k]).dtype()), 2));
    values_[entry[k].index] = carries[k];
  }
  m_.effect(spv::Op::OpLoopMerge, {after, next, 0});
  branch(test);
  m_.label(test);
  Word asked = 0;
  if (on) {  // the carries of the last round are those that the test left
    asked = m_.id();
    m_.effect(spv::Op::OpBranchConditional, {binary(spv::Op::OpINotEqual, m_.bool_type(), on, number(0)), asked, after});
    m_.label(asked);
  }
  region(op.regions[0]);
  const Values& tested = f_.terminator(op.regions[0]).operands;
  Words left;
  for (std::size_t k = 0; k < init.size(); ++k) {
    left.push_back(value(tested[k + 1]));
    values_[arguments[k].index] = left[k];
    values_[op.results[k].index] = on ? carries[k] : left[k];
  }
  values_[op.results.back().index] = count;
  const Word go = value(tested[0]);
  const Word from = m_.block(), joined = on ? m_.id() : 0;
  if (on) m_.effect(spv::Op::OpSelectionMerge, {joined, 0});
  m_.effect(spv::Op::OpBranchConditional, {go, body, on ? joined : after});
  m_.label(body);
  region(op.regions[1]);
  Words yields;
  for (ValueId v : f_.terminator(op.regions[1]).operands) yields.push_back(value(v));
  Word still = 0;
  if (on) {
    const Word end = m_.block();
    branch(joined);
    m_.label(joined);
    for (std::size_t k = 0; k < yields.size(); ++k)
      yields[k] = m_.op(spv::Op::OpPhi, type(f_.type(entry[k]).dtype()), {yields[k], end, left[k], from});
    still = m_.op(spv::Op::OpSelect, u32(), {go, number(1), number(0)});
  }
  branch(next);
  m_.label(next);
  const Word more = binary(spv::Op::OpIAdd, u32(), count, on ? still : number(1));
  branch(header);
  if (on) {
    m_.set_phi(on, 0, number(1), before);
    m_.set_phi(on, 1, still, next);
  }
  m_.set_phi(count, 0, number(0), before);
  m_.set_phi(count, 1, more, next);
  for (std::size_t k = 0; k < init.size(); ++k) {
    m_.set_phi(carries[k], 0, init[k], before);
    m_.set_phi(carries[k], 1, yields[k], next);
  }
  m_.label(after);
  if (on) ended_early(op, binary(spv::Op::OpINotEqual, m_.bool_type(), on, number(0)));
}

void Emitter::report(const Op& op, std::size_t first, Opcode code) {
  gpu::Site site{code, op.loc, f_.texts[op.ref], {}};
  Words words;
  for (std::size_t k = first; k < op.operands.size(); ++k) {
    site.types.push_back(f_.type(op.operands[k]).dtype());
    words.push_back(to_word(value(op.operands[k]), site.types.back()));
  }
  const auto number_of = static_cast<Word>(out_.sites.size());
  out_.sites.push_back(std::move(site));
  record(number_of, words);
}

void Emitter::record(Word number_of, const Words& words) {
  const Word pointer = m_.op(spv::Op::OpConvertUToPtr, m_.pointer_type(spv::StorageClass::PhysicalStorageBuffer, u32()), {report_});
  const Word slot = m_.op(spv::Op::OpAtomicIAdd, u32(), {pointer, number(1), number(0), number(1)});
  const Word room = load_at(binary(spv::Op::OpIAdd, u64(), report_, wide(4)), 32);
  when(binary(spv::Op::OpULessThan, m_.bool_type(), slot, room), [&] {
    const auto stride = static_cast<std::uint64_t>(gpu::kRecordHeader + 8 * out_.values);
    const Word offset = binary(spv::Op::OpIMul, u64(), m_.op(spv::Op::OpUConvert, u64(), {slot}), wide(stride));
    const Word at = binary(spv::Op::OpIAdd, u64(), report_, offset);
    const auto put = [&](std::uint64_t where, int bits, Word v) {
      store_at(binary(spv::Op::OpIAdd, u64(), at, wide(static_cast<std::uint64_t>(gpu::kReportHeader) + where)), bits, v);
    };
    put(0, 32, number(number_of));
    put(4, 32, thread_);
    for (std::size_t k = 0; k < words.size(); ++k) put(gpu::kRecordHeader + 8 * k, 64, words[k]);
  });
}

bool uses_f64(const Function& kernel) {
  for (const Value& v : kernel.values)
    if (v.type.element == LayoutId(DType::f64)) return true;
  for (const Memory& m : kernel.memories)
    if (m.space == Memory::Space::local)
      for (const Leaf& leaf : layout_of(m.element).leaves)
        if (leaf.dtype == DType::f64) return true;
  return false;
}

std::string lacks(const Function& kernel, const Traits& traits) { return !traits.f64 && uses_f64(kernel) ? "the device has no f64" : ""; }

EmittedKernel emit(const Function& kernel, const Traits& traits, bool fast) { return Emitter(kernel, traits, fast).run(); }

}  // namespace fluxion::vulkan
