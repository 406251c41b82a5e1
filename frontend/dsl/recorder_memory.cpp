// Recording of memory: elements, loads, stores, Local, the launch domain.
#include <fmt/format.h>

#include "fluxion/functions.h"
#include "recorder_state.h"

namespace fluxion::detail {
namespace {
/// The value is f32 where the memory holds a half.
void emit_store(State& s, std::uint32_t element, std::uint32_t leaf, ValueId v, Loc at, bool add) {
  const ElementRef e = s.elements.at(element);
  s.b.loc = at ? at : e.loc;
  v = s.b.convert(v, layout_of(s.f[e.memory].element).leaves.at(leaf).dtype);
  if (add) s.b.accumulate(e.memory, e.index, v, static_cast<int>(leaf));
  else s.b.store(e.memory, e.index, v, static_cast<int>(leaf));
}
MemoryId memory_of(State& s, MemoryHandle m, Loc at) {
  if (m.epoch != s.epoch)
    throw KernelError(at, fmt::format("an array of another kernel is used in \"{}\"; pass it as a parameter", s.f.name));
  const Memory& mem = s.f[MemoryId{m.memory}];
  if (mem.space == Memory::Space::local && !s.open[mem.scope.index])
    throw KernelError(at, fmt::format("a Local declared inside a loop or an arm that has ended is used after it "
                                      "(declared at {}); declare it before",
                                      to_string(mem.loc)));
  return {m.memory};
}
/// Whole-element operations pass no place: theirs is the line of x[i].
Loc place_of(std::uint32_t element, Loc at) { return at ? at : state(at).elements.at(element).loc; }
const char* noun(Function::Kind k) {
  switch (k) {
    case Function::Kind::fn: return "function";
    case Function::Kind::kernel: return "kernel";
    case Function::Kind::program: return "program";
  }
  return "";
}
}  // namespace

std::uint32_t element(MemoryHandle m, const std::uint32_t* index, int rank, Loc at) {
  State& s = state(at);
  ElementRef e{memory_of(s, m, at), {}, at};
  for (int k = 0; k < rank; ++k) e.index.push_back({index[k]});
  s.elements.push_back(std::move(e));
  return static_cast<std::uint32_t>(s.elements.size() - 1);
}
std::uint32_t load(std::uint32_t element, std::uint32_t leaf, Loc at) {
  State& s = state(at);
  const ElementRef e = s.elements.at(element);
  s.b.loc = at ? at : e.loc;
  const ValueId v = s.b.load(e.memory, e.index, static_cast<int>(leaf));
  return is_half(s.f.type(v).dtype()) ? s.b.convert(v, DType::f32).index : v.index;
}
void store(std::uint32_t element, std::uint32_t leaf, std::uint32_t value, Loc at) {
  emit_store(state(at), element, leaf, {value}, at, false);
}
void accumulate(std::uint32_t element, std::uint32_t leaf, std::uint32_t value, Loc at) {
  emit_store(state(at), element, leaf, {value}, at, true);
}
void load_into(std::uint32_t element, std::uint32_t leaf, const Handle* out, int n, Loc at) {
  const Loc loc = place_of(element, at);
  for (int k = 0; k < n; ++k) assign(out[k], load(element, leaf + static_cast<std::uint32_t>(k), loc), loc);
}
void store_from(std::uint32_t element, std::uint32_t leaf, const Handle* values, int n, Loc at) {
  const Loc loc = place_of(element, at);
  for (int k = 0; k < n; ++k) store(element, leaf + static_cast<std::uint32_t>(k), read(values[k], loc), loc);
}
void accumulate_from(std::uint32_t element, std::uint32_t leaf, const Handle* values, int n, Loc at) {
  const Loc loc = place_of(element, at);
  for (int k = 0; k < n; ++k) accumulate(element, leaf + static_cast<std::uint32_t>(k), read(values[k], loc), loc);
}

std::uint32_t extent(MemoryHandle m, int axis, Loc at) {
  State& s = state(at);
  const MemoryId id = memory_of(s, m, at);
  if (axis < 0 || axis >= s.f[id].rank)
    throw KernelError(at, fmt::format("extent({}) of an array of {} axes", axis, static_cast<int>(s.f[id].rank)));
  if (s.f[id].space != Memory::Space::parameter) return s.b.i32(static_cast<std::int32_t>(s.f[id].length)).index;
  s.b.loc = at;
  return s.b.extent(id, axis).index;
}
MemoryHandle new_local(const LeafSpec* leaves, int n, std::uint32_t size, std::int64_t length, Loc at) {
  State& s = state(at);
  if (length < 1) throw KernelError(at, fmt::format("a Local of {} elements", length));
  Layout layout;
  for (int k = 0; k < n; ++k) layout.leaves.push_back({leaves[k].dtype, leaves[k].offset});
  layout.size = size;
  s.b.loc = at;
  const MemoryId m = s.b.local(intern(layout), length, fmt::format("local{}", s.f.memories.size()));
  s.f[m].loc = at;
  return {m.index, s.epoch};
}

// ---- the launch domain
std::uint32_t index_value(int axis, int rank, Loc at) {
  State& s = state(at);
  if (s.f.kind != Function::Kind::kernel)
    throw KernelError(at, fmt::format("index() in a {}: only kernels run over a domain; pass it as a parameter", noun(s.f.kind)));
  if (s.index_rank && s.index_rank != rank)
    throw KernelError(
        at, fmt::format("index<{}>() in a kernel over {} axes (see {}); use one of them", rank, s.index_rank, to_string(s.index_loc)));
  if (!s.index_rank) s.index_loc = at;
  s.index_rank = s.f.domain_rank = rank;
  s.b.loc = at;
  return s.b.index(axis).index;
}
std::uint32_t domain_extent(int axis, Loc at) {
  State& s = state(at);
  if (s.f.kind != Function::Kind::kernel) throw KernelError(at, "domain() outside of a kernel; pass it as a parameter");
  s.domain_axes.emplace_back(axis, at);
  s.b.loc = at;
  return s.b.domain(axis).index;
}

}  // namespace fluxion::detail
