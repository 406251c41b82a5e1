// Recording of control flow: loops, ifs, exits, the right sides of && and ||.
// A region op is appended after its regions; ifs get their else arm later, which reopens it.
#include <fmt/format.h>

#include <algorithm>
#include <exception>

#include "fluxion/groups.h"
#include "recorder_state.h"

namespace fluxion::detail {
namespace {
State& at_line(Loc& at) {
  State& s = state(at);
  s.b.loc = at;
  return s;
}
RegionId open_frame(State& s, Frame::Kind kind, Op op, std::span<const Type> arguments = {}) {
  const RegionId r = s.open_region(arguments);
  op.regions.push_back(r);
  s.frames.push_back({kind, std::move(op), r});
  return r;
}
Frame pop_frame(State& s) {
  Frame frame = std::move(s.frames.back());
  s.frames.pop_back();
  return frame;
}
std::optional<std::int64_t> constant_i32(const State& s, std::uint32_t v) {
  if (!s.f.is_constant({v})) return std::nullopt;
  return static_cast<std::int32_t>(s.f[ValueId{v}].bits);
}
/// The number of steps from lo towards hi, in 64 bits where the difference may not fit.
ValueId trip_count(State& s, std::uint32_t lo, std::uint32_t hi, std::uint32_t step) {
  Builder& b = s.b;
  const auto clo = constant_i32(s, lo), chi = constant_i32(s, hi), cstep = constant_i32(s, step);
  if (clo && chi && cstep) {
    if (*cstep == 0) return b.i32(0);
    const std::int64_t n = (*chi - *clo + *cstep - (*cstep > 0 ? 1 : -1)) / *cstep;
    return b.i32(static_cast<std::int32_t>(std::clamp<std::int64_t>(n, 0, INT32_MAX)));
  }
  const ValueId wide = b.convert({step}, DType::i64);
  const ValueId distance = b.sub(b.convert({hi}, DType::i64), b.convert({lo}, DType::i64));
  const ValueId up = b.sub(b.add(distance, wide), b.emit(Opcode::sign, {wide}));
  const ValueId n = b.emit(Opcode::div, {up, wide});  // x / 0 = 0: a step of 0 runs nothing
  const ValueId top = b.emit(Opcode::min, {n, b.constant_int(DType::i64, INT32_MAX)});
  return b.convert(b.emit(Opcode::max, {top, b.constant_int(DType::i64, 0)}), DType::i32);
}
}  // namespace

std::uint32_t open_for(std::uint32_t lo, std::uint32_t hi, std::uint32_t step, Loc at) {
  State& s = at_line(at);
  Op op;
  op.code = Opcode::for_;
  op.loc = at;
  const Type index = DType::i32;
  if (const auto c = constant_i32(s, step); c && (*c == 1 || *c == -1)) {
    op.down = *c < 0;
    op.operands = {{lo}, {hi}};
    // lo, lo - 1 .. hi + 1 are one more than the numbers of [hi, lo), downwards. (hi + 1 and lo + 1 may wrap.)
    const bool down = op.down;
    if (down) op.operands = {{hi}, {lo}};
    const RegionId r = open_frame(s, Frame::Kind::for_body, std::move(op), {&index, 1});
    const ValueId i = s.f[r].arguments[0];
    return down ? s.b.add(i, s.b.i32(1)).index : i.index;
  }
  op.operands = {s.b.i32(0), trip_count(s, lo, hi, step)};
  const RegionId r = open_frame(s, Frame::Kind::for_body, std::move(op), {&index, 1});
  return s.b.add({lo}, s.b.mul(s.f[r].arguments[0], {step})).index;
}

std::uint32_t open_lanes(std::uint32_t n, Loc at) {
  const std::uint32_t index = open_for(state(at).b.i32(0).index, n, state(at).b.i32(1).index, at);
  state(at).frames.back().kind = Frame::Kind::lanes_body;
  return index;
}

void refuse_between_lanes(const State& s, RegionId declared, Loc where, Loc at) {
  for (auto frame = s.frames.rbegin(); frame != s.frames.rend() && frame->region != declared; ++frame)
    if (frame->kind == Frame::Kind::lanes_body)
      throw KernelError(
          at, fmt::format("a variable declared outside of fx::lanes is assigned in it (declared at {}), but its rounds may run at "
                          "once; give each round its element of an fx::Local, or write fx::range",
                          to_string(where)));
}

void open_while(Loc at) {
  Op op;
  op.code = Opcode::while_;
  op.loc = at;
  open_frame(at_line(at), Frame::Kind::while_cond, std::move(op));
}

void open_while_body(std::uint32_t cond, Loc at) {
  State& s = at_line(at);
  const ValueId c{cond};
  s.close_region({&c, 1});
  open_frame(s, Frame::Kind::while_body, pop_frame(s).op);
}

void close_loop() {
  State& s = state();
  Frame frame = pop_frame(s);
  s.b.loc = frame.op.loc;
  s.close_region({});
  const Type trips = DType::i32;
  const bool counted = frame.op.code == Opcode::while_;
  s.b.append(std::move(frame.op), counted ? std::span(&trips, 1) : std::span<const Type>());
}

int uncaught() { return std::uncaught_exceptions(); }

void abandon_loops(int open, int before, Loc at) {
  State* s = innermost();
  if (!s || std::uncaught_exceptions() > before) return;  // the recording is being dropped anyway
  if (!s->misuse)
    s->misuse.emplace(at,
                      "a native break, return or goto leaves this captured loop; "
                      "use fx::break_if(c), fx::continue_if(c) or fx::return_if(c)");
  while (open-- > 0 && !s->frames.empty()) {
    if (s->frames.back().kind == Frame::Kind::while_cond) open_while_body(s->b.boolean(false).index, at);
    close_loop();
  }
}

void open_then(std::uint32_t cond, Loc at) {
  Op op;
  op.code = Opcode::if_;
  op.loc = at;
  op.operands = {{cond}};
  open_frame(at_line(at), Frame::Kind::then_arm, std::move(op));
}

std::uint32_t close_then() {
  State& s = state();
  Frame frame = pop_frame(s);
  s.b.loc = frame.op.loc;
  s.close_region({});
  frame.op.regions.push_back(s.open_region({}));
  s.close_region({});
  return s.b.append(std::move(frame.op), {}).index;
}

void open_else(std::uint32_t op, int depth) {
  State& s = state();
  OpId id{op};
  for (int k = 0; k < depth; ++k) {
    const RegionId from = s.b.current(), arm = s.f[id].regions[1];
    const auto& ops = s.f[from].ops;
    const auto after = static_cast<std::size_t>(std::find(ops.rbegin(), ops.rend(), id).base() - ops.begin());
    s.f[arm].ops.pop_back();  // the yield
    s.b.reopen(arm);
    s.open[arm.index] = true;
    s.frames.push_back({Frame::Kind::else_arm, {}, arm});
    const OpId inner = s.f[arm].ops.empty() ? OpId{} : s.f[arm].ops.back();
    // What was recorded since belongs to the arm: the condition of an elif, copies that a lambda captured.
    s.move_ops(from, after, arm);
    id = inner;
  }
}

void close_else(int depth) {
  State& s = state();
  for (int k = 0; k < depth; ++k) {
    s.close_region({});
    s.frames.pop_back();
  }
}

void exit_if(Opcode kind, std::uint32_t cond, Loc at) {
  State& s = at_line(at);
  const char* name = name_of(kind);
  const bool leaves_loop = kind != Opcode::return_if;
  bool in_loop = false;
  for (auto frame = s.frames.rbegin(); frame != s.frames.rend(); ++frame) {
    if (frame->kind == Frame::Kind::while_cond)
      throw KernelError(at, fmt::format("{} inside the condition of a while; make it part of the condition's value", name));
    if (frame->kind == Frame::Kind::lanes_body) {
      if (kind != Opcode::continue_if)
        throw KernelError(
            at,
            fmt::format("{} inside fx::lanes, whose rounds may run at once; end a round with fx::continue_if, or write fx::range", name));
      in_loop = true;
    }
    in_loop = in_loop || frame->kind == Frame::Kind::for_body || frame->kind == Frame::Kind::while_body;
    if (leaves_loop && in_loop) break;
  }
  if (leaves_loop && !in_loop)
    throw KernelError(at, fmt::format("{} outside of a captured loop; it belongs into the body of fx::range or fx::while_", name));
  if (!leaves_loop && s.f.kind != Function::Kind::kernel)
    throw KernelError(at, "return_if outside of a kernel: a function has a result on every path; use fx::if_(c, f, g) or fx::select");
  Op op;
  op.code = kind;
  op.loc = at;
  op.operands = {{cond}};
  s.b.append(std::move(op), {});
}

Mark mark() {
  State& s = state();
  const RegionId r = s.b.current();
  const auto& ops = s.f[r].ops;
  return {r.index, ops.empty() ? ~0u : ops.back().index};
}

std::uint32_t short_circuit(bool is_or, std::uint32_t lhs, Mark after_lhs, Handle rhs, Loc at) {
  State& s = at_line(at);
  const RegionId here = s.b.current();
  if (here.index != after_lhs.region) throw Bug(at, "the sides of && or || are in different regions");
  const auto& ops = s.f[here].ops;
  const std::size_t keep = static_cast<std::size_t>(std::find(ops.rbegin(), ops.rend(), OpId{after_lhs.last_op}).base() - ops.begin());
  bool plain = true;  // cheap and without effects: evaluate both sides
  for (std::size_t k = keep; k < s.f[here].ops.size() && plain; ++k) {
    const Opcode op = s.f[s.f[here].ops[k]].code;
    plain = is_elementwise(op) || op == Opcode::convert || op == Opcode::bitcast || op == Opcode::var_get || op == Opcode::var_new ||
            op == Opcode::extent || op == Opcode::domain;
  }
  if (plain) return apply(is_or ? Opcode::bit_or : Opcode::bit_and, lhs, read(rhs, at), at);

  const RegionId right = s.open_region({});  // `ops` is gone from here on
  s.move_ops(here, keep, right);
  const ValueId value{read(rhs, at)};
  s.close_region({&value, 1});
  const RegionId other = s.open_region({});
  const ValueId decided = s.b.boolean(is_or);
  s.close_region({&decided, 1});
  Op op;
  op.code = Opcode::if_;
  op.loc = at;
  op.operands = {{lhs}};
  op.regions = is_or ? std::vector<RegionId>{other, right} : std::vector<RegionId>{right, other};
  const Type t = DType::boolean;
  return s.f[s.b.append(std::move(op), {&t, 1})].results[0].index;
}

}  // namespace fluxion::detail
