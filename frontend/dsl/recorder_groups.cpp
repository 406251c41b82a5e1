// Recording of what threads of a group do together: Shared, barriers, subgroups, atomics, who a thread is.
#include <fmt/format.h>

#include "fluxion/groups.h"
#include "recorder_state.h"

namespace fluxion::detail {
namespace {

constexpr int kMostThreads = 1024;

/// The recording, when its threads are in groups.
State& grouped(const char* what, Loc& at) {
  State& s = state(at);
  if (s.f.kind != Function::Kind::kernel)
    throw KernelError(at, fmt::format("{} outside of a kernel; it belongs into the lambda of fx::kernel", what));
  if (!s.f.has_groups())
    throw KernelError(at, fmt::format("{} in kernel \"{}\", whose threads are not in groups; give their size: "
                                      "fx::kernel(\"{}\", fx::groups(64), ...)",
                                      what, s.f.name, s.f.name));
  s.b.loc = at;
  return s;
}
void same_rank(const State& s, const char* what, int rank, Loc at) {
  if (s.f.domain_rank != rank)
    throw KernelError(at, fmt::format("{}<{}>() in a kernel whose groups have {} axes", what, rank, s.f.domain_rank));
}
ValueId thread_index(State& s, int axis) {
  return s.b.sub(s.b.index(axis), s.b.mul(s.b.group_index(axis), s.b.i32(s.f.group[static_cast<std::size_t>(axis)])));
}

}  // namespace

void set_groups(const Groups& g) {
  State& s = state();
  std::int64_t threads = 1;
  for (int k = 0; k < g.rank; ++k) {
    threads *= g.size[k];
    if (g.size[k] < 1 || threads > kMostThreads)
      throw KernelError(g.loc, fmt::format("kernel \"{}\": groups of {}{}{} threads; a group has 1 to {}", s.f.name, g.size[0],
                                           g.rank > 1 ? fmt::format(" x {}", g.size[1]) : "",
                                           g.rank > 2 ? fmt::format(" x {}", g.size[2]) : "", kMostThreads));
    s.f.group[static_cast<std::size_t>(k)] = g.size[k];
  }
  s.index_rank = s.f.domain_rank = g.rank;
  s.index_loc = g.loc;
}

MemoryHandle new_shared(const LeafSpec* leaves, int n, std::uint32_t size, std::int64_t length, Loc at) {
  State& s = grouped("a Shared", at);
  if (s.b.current() != s.f.body)
    throw KernelError(at,
                      "a Shared is declared inside a loop or an arm, but a group has it from its start to its end; declare it at the "
                      "top of the kernel");
  Layout layout;
  for (int k = 0; k < n; ++k) layout.leaves.push_back({leaves[k].dtype, leaves[k].offset});
  layout.size = size;
  const MemoryId m = s.b.shared(intern(layout), length, fmt::format("shared{}", s.f.memories.size()));
  s.f[m].loc = at;
  return {m.index, s.epoch};
}

void record_barrier(Loc at) {
  State& s = grouped("barrier()", at);
  for (const Frame& frame : s.frames) {
    if (frame.kind == Frame::Kind::lanes_body)
      throw KernelError(at, "barrier() inside fx::lanes, whose rounds are not threads; end the loop first, or write fx::range");
    if (frame.kind == Frame::Kind::while_cond)
      throw KernelError(at, "barrier() inside the condition of a while; put it at the end of the body");
  }
  s.b.barrier();
}

std::uint32_t group_index_value(int axis, int rank, Loc at) {
  State& s = grouped("group_index()", at);
  same_rank(s, "group_index", rank, at);
  return s.b.group_index(axis).index;
}
std::uint32_t thread_index_value(int axis, int rank, Loc at) {
  State& s = grouped("thread_index()", at);
  same_rank(s, "thread_index", rank, at);
  return thread_index(s, axis).index;
}
std::uint32_t group_extent(int axis, Loc at) {
  State& s = grouped("group_size()", at);
  if (axis < 0 || axis >= s.f.domain_rank)
    throw KernelError(at, fmt::format("group_size({}) in a kernel whose groups have {} axes", axis, s.f.domain_rank));
  return s.b.i32(s.f.group[static_cast<std::size_t>(axis)]).index;
}
std::uint32_t subgroup_lane_value(Loc at) {
  State& s = grouped("subgroup_lane()", at);
  ValueId linear = thread_index(s, 0);
  for (int k = 1; k < s.f.domain_rank; ++k)
    linear = s.b.add(s.b.mul(linear, s.b.i32(s.f.group[static_cast<std::size_t>(k)])), thread_index(s, k));
  return s.b.emit(Opcode::bit_and, {linear, s.b.i32(kSubgroupSize - 1)}).index;
}
std::uint32_t record_subgroup(Subgroup kind, std::uint32_t value, std::uint32_t lane, Loc at) {
  State& s = grouped("a subgroup operation", at);
  return s.b.subgroup(kind, {value}, {lane}).index;
}

std::uint32_t record_atomic(Atomic kind, std::uint32_t element, std::uint32_t leaf, std::uint32_t value, std::uint32_t expected, Loc at) {
  State& s = state(at);
  const ElementRef e = s.elements.at(element);
  s.b.loc = at;
  if (s.f[e.memory].role != Role::inout)
    throw KernelError(at, fmt::format("atomic_{} on {}, which is {}; declare the parameter InOut, or use a Shared", name_of(kind),
                                      s.f[e.memory].name, name_of(s.f[e.memory].role)));
  const ValueId v[] = {{expected}, {value}};
  return s.b
      .atomic(kind, e.memory, e.index, kind == Atomic::compare_exchange ? std::span(v) : std::span(v).subspan(1), static_cast<int>(leaf))
      .index;
}

}  // namespace fluxion::detail
