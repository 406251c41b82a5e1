// Recording of values: slots, ops, constants. Each function appends to the innermost recording of this thread.
#include <fmt/format.h>

#include <cstring>

#include "fluxion/functions.h"
#include "recorder_state.h"

namespace fluxion::detail {
namespace {
/// The slot of a handle, or the error that says why there is none.
ValueId slot_of(State& s, Handle h, Loc at) {
  if (h.epoch != s.epoch)
    throw KernelError(at, fmt::format("a value that belongs to another kernel or function is used in \"{}\"; "
                                      "pass it as a parameter",
                                      s.f.name));
  const ValueId v{h.slot};
  if (const RegionId r = s.slot(v).region; !s.open[r.index]) {
    const Op& declared = s.f.ops[s.f[v].owner];
    throw KernelError(at, fmt::format("a value declared inside a loop, an arm or a condition that has ended is used "
                                      "after it (declared at {}); declare it before and assign it inside",
                                      to_string(declared.loc)));
  }
  return v;
}

Handle declare_slot(State& s, const Type& t, ValueId init, Loc at) {
  Op op;
  op.code = Opcode::var_new;
  op.loc = at;
  if (init.valid()) op.operands = {init};
  const ValueId slot = s.f[s.b.append(std::move(op), {&t, 1})].results[0];
  const RegionId here = s.b.current();
  s.slot(slot) = {here, init.valid() ? here : RegionId{}, init};
  return {slot.index, s.epoch};
}
}  // namespace

// ---- slots
Handle new_slot(const Type& t, Loc at) { return declare_slot(state(at), t, {}, at); }
Handle declare(DType t, Loc at) { return declare_slot(state(at), t, {}, at); }
Handle declare_as(std::uint32_t value, Loc at) {
  State& s = state(at);
  return declare_slot(s, Type(s.f.type({value})), {value}, at);
}
Loc declared_at(Handle h) {
  const State& s = state();
  return h.epoch == s.epoch ? s.f.ops[s.f[ValueId{h.slot}].owner].loc : Loc{};
}
Handle copy_of(Handle h, Loc at) {
  const State& s = state(at);
  // Copies made by containers and std::swap: better the user's line that made the original than one of the library.
  if (std::strstr(at.file, "/c++/") && h.epoch == s.epoch) at = declared_at(h);
  return declare_as(read(h, at), at);
}

std::uint32_t read(Handle h, Loc at) {
  State& s = state(at);
  const ValueId v = slot_of(s, h, at);
  if (const Slot& slot = s.slot(v); slot.value_region == s.b.current()) return slot.value.index;
  Op op;
  op.code = Opcode::var_get;
  op.loc = at;
  op.operands = {v};
  const Type t = s.f.type(v);
  return s.f[s.b.append(std::move(op), {&t, 1})].results[0].index;
}

void assign(Handle h, std::uint32_t value, Loc at) {
  State& s = state(at);
  const ValueId v = slot_of(s, h, at);
  refuse_between_lanes(s, s.slot(v).region, s.f.ops[s.f[v].owner].loc, at);
  Op op;
  op.code = Opcode::var_set;
  op.loc = at;
  op.operands = {v, {value}};
  s.b.append(std::move(op), {});
  Slot& slot = s.slot(v);
  slot.value_region = s.b.current();
  slot.value = {value};
}

void assign_from(Handle to, Handle from) {
  const Loc at = declared_at(from);
  assign(to, read(from, at), at);
}

// ---- ops
std::uint32_t constant(DType t, std::uint64_t bits, Loc at) { return state(at).b.constant(t, bits).index; }
std::uint32_t apply(Opcode op, std::uint32_t a, Loc at) {
  State& s = state(at);
  s.b.loc = at;
  return s.b.emit(op, {ValueId{a}}).index;
}
std::uint32_t apply(Opcode op, std::uint32_t a, std::uint32_t b, Loc at) {
  State& s = state(at);
  s.b.loc = at;
  return s.b.emit(op, {ValueId{a}, ValueId{b}}).index;
}
Handle declare_result(Opcode op, std::uint32_t a, std::uint32_t b, Loc at) { return declare_as(apply(op, a, b, at), at); }
std::uint32_t apply(Opcode op, std::uint32_t a, std::uint32_t b, std::uint32_t c, Loc at) {
  State& s = state(at);
  s.b.loc = at;
  return s.b.emit(op, {ValueId{a}, ValueId{b}, ValueId{c}}).index;
}
std::uint32_t convert(std::uint32_t value, DType to, Loc at) {
  State& s = state(at);
  s.b.loc = at;
  return s.b.convert({value}, to).index;
}
std::uint32_t bitcast(std::uint32_t value, DType to, Loc at) {
  State& s = state(at);
  s.b.loc = at;
  return s.b.bitcast({value}, to).index;
}
std::uint32_t round_to(std::uint32_t value, DType half_type, Loc at) { return convert(convert(value, half_type, at), DType::f32, at); }
void literal_does_not_fit(std::int64_t value, DType t, Loc at) {
  throw KernelError(at, fmt::format("the number {} does not fit into {}; use a wider type", value, name_of(t)));
}

// ---- effects on the host
void record_effect(Opcode op, const char* text, const std::uint32_t* values, int n, Loc at) {
  State& s = state(at);
  int places = 0;
  for (const char* p = text; *p; ++p)
    if (p[0] == '{' && p[1] == '}') ++places;
  const int given = op == Opcode::check ? n - 1 : n;
  if (places != given) throw KernelError(at, fmt::format("\"{}\" has {} places {{}} for {} values", text, places, given));
  Values operands;
  for (int k = 0; k < n; ++k) operands.push_back({values[k]});
  s.b.loc = at;
  s.b.effect(op, text, operands);
}

}  // namespace fluxion::detail
