// Threads that work together: groups with shared memory and barriers, subgroups, atomics, lanes.
//
//   auto k = fx::kernel("sum", fx::groups(64), [](fx::In<float> x, fx::Accum<float> total) {
//       fx::Shared<float, 64> part;
//       auto t = fx::thread_index();
//       part[t] = x[fx::index()];
//       fx::barrier();
//       ...
//   });
//
// A barrier is reached by all threads of a group or by none. Between two barriers each element of memory is one
// thread's own, read by all, added to by all, or worked on by atomics; docs/guide.md has the whole contract.
#pragma once
#include "fluxion/control.h"
#include "fluxion/vec.h"

namespace fluxion {

/// The threads of a group along each axis of a kernel's domain; at most 1024 in all.
struct Groups {
  int size[3];
  int rank;
  Loc loc;
};
inline Groups groups(int n, Loc at = Loc::here()) { return {{n, 0, 0}, 1, at}; }
inline Groups groups(int n, int m, Loc at = Loc::here()) { return {{n, m, 0}, 2, at}; }
inline Groups groups(int n, int m, int k, Loc at = Loc::here()) { return {{n, m, k}, 3, at}; }

namespace detail {
/// Before anything else of a kernel is recorded. Throws KernelError for sizes that cannot be.
FLUXION_RECORDS void set_groups(const Groups& g);
FLUXION_RECORDS MemoryHandle new_shared(const LeafSpec* leaves, int n, std::uint32_t size, std::int64_t length, Loc at);
FLUXION_RECORDS void record_barrier(Loc at);
FLUXION_RECORDS std::uint32_t group_index_value(int axis, int rank, Loc at);
FLUXION_RECORDS std::uint32_t thread_index_value(int axis, int rank, Loc at);
FLUXION_RECORDS std::uint32_t subgroup_lane_value(Loc at);
FLUXION_RECORDS std::uint32_t group_extent(int axis, Loc at);
FLUXION_RECORDS std::uint32_t record_subgroup(Subgroup kind, std::uint32_t value, std::uint32_t lane, Loc at);  // lane: ~0u for none
FLUXION_RECORDS std::uint32_t open_lanes(std::uint32_t n, Loc at);

template <class A> using grouped_t = Var<operand_t<A>>;
template <class A> grouped_t<A> over_subgroup(Subgroup kind, A&& a, Loc at, std::uint32_t lane = ~0u) {
  using T = operand_t<A>;
  static_assert(!is_half(dtype_of<T>), "subgroups work on numbers of 8 to 64 bits");
  return {Raw{record_subgroup(kind, Arg<T>(static_cast<A&&>(a), at).id, lane, at)}, at};
}
}  // namespace detail

/// N elements that the threads of a group share, zero at its start. Declared at the top of the kernel, not in a loop or arm.
template <class T, int N>
class Shared : public detail::WritableArray<T, 1> {
  using E = detail::Element<T>;

 public:
  explicit Shared(Loc at = Loc::here()) {
    static_assert(N > 0, "a Shared has at least one element");
    detail::LeafSpec leaves[E::kLeaves];
    E::leaves(leaves);
    this->memory_ = detail::new_shared(leaves, E::kLeaves, E::kSize, N, at);
  }
  Shared(const Shared&) = delete;
};

/// Waits for all threads of the group: what they did to memory before is seen by all of them after.
inline void barrier(Loc at = Loc::here()) { detail::record_barrier(at); }

// ---- who a thread is: index = group_index * group_size + thread_index, on each axis
inline Int group_index(Loc at = Loc::here()) { return {detail::Raw{detail::group_index_value(0, 1, at)}, at}; }
inline Int thread_index(Loc at = Loc::here()) { return {detail::Raw{detail::thread_index_value(0, 1, at)}, at}; }
template <int N> Vec<Int, N> group_index(Loc at = Loc::here()) {
  detail::Ids<N> v{{}, at};
  for (int k = 0; k < N; ++k) v.id[k] = detail::group_index_value(k, N, at);
  return Vec<Int, N>(v);
}
template <int N> Vec<Int, N> thread_index(Loc at = Loc::here()) {
  detail::Ids<N> v{{}, at};
  for (int k = 0; k < N; ++k) v.id[k] = detail::thread_index_value(k, N, at);
  return Vec<Int, N>(v);
}
/// Threads of a group along an axis, slowest first.
inline Int group_size(int axis = 0, Loc at = Loc::here()) { return {detail::Raw{detail::group_extent(axis, at)}, at}; }

// ---- subgroups: 32 consecutive threads of a group, its last axis the fastest. What comes by together takes part.
inline constexpr int subgroup_size = kSubgroupSize;
/// 0 .. 31: which thread of its subgroup this is.
inline Int subgroup_lane(Loc at = Loc::here()) { return {detail::Raw{detail::subgroup_lane_value(at)}, at}; }
template <detail::Captured A> auto subgroup_add(A&& a, Loc at = Loc::here()) {
  static_assert(!std::is_same_v<detail::operand_t<A>, bool>, "count truths: fx::subgroup_add(fx::Int(c))");
  return detail::over_subgroup(Subgroup::add, static_cast<A&&>(a), at);
}
template <detail::Captured A> auto subgroup_min(A&& a, Loc at = Loc::here()) {
  return detail::over_subgroup(Subgroup::min, static_cast<A&&>(a), at);
}
template <detail::Captured A> auto subgroup_max(A&& a, Loc at = Loc::here()) {
  return detail::over_subgroup(Subgroup::max, static_cast<A&&>(a), at);
}
/// The sum up to and with this thread.
template <detail::Captured A> auto subgroup_scan_add(A&& a, Loc at = Loc::here()) {
  static_assert(!std::is_same_v<detail::operand_t<A>, bool>, "count truths: fx::subgroup_scan_add(fx::Int(c))");
  return detail::over_subgroup(Subgroup::scan_add, static_cast<A&&>(a), at);
}
template <class A>
concept SubgroupBits = detail::Captured<A> && !is_float(dtype_of<detail::operand_t<A>>);
template <SubgroupBits A> auto subgroup_and(A&& a, Loc at = Loc::here()) {
  return detail::over_subgroup(Subgroup::bit_and, static_cast<A&&>(a), at);
}
template <SubgroupBits A> auto subgroup_or(A&& a, Loc at = Loc::here()) {
  return detail::over_subgroup(Subgroup::bit_or, static_cast<A&&>(a), at);
}
template <SubgroupBits A> auto subgroup_xor(A&& a, Loc at = Loc::here()) {
  return detail::over_subgroup(Subgroup::bit_xor, static_cast<A&&>(a), at);
}
inline Bool subgroup_any(Arg<bool> c) { return {detail::Raw{detail::record_subgroup(Subgroup::bit_or, c.id, ~0u, c.loc)}, c.loc}; }
inline Bool subgroup_all(Arg<bool> c) { return {detail::Raw{detail::record_subgroup(Subgroup::bit_and, c.id, ~0u, c.loc)}, c.loc}; }
/// The value of thread `lane` of the subgroup; 0 where there is none, or it does not take part.
template <detail::Captured A> auto subgroup_shuffle(A&& a, Arg<int> lane) {
  return detail::over_subgroup(Subgroup::shuffle, static_cast<A&&>(a), lane.loc, lane.id);
}
template <detail::Captured A> auto subgroup_broadcast(A&& a, int lane = 0, Loc at = Loc::here()) {
  return detail::over_subgroup(Subgroup::shuffle, static_cast<A&&>(a), at, detail::literal<int>(lane, at));
}
template <detail::Captured A> auto subgroup_shuffle_xor(A&& a, Arg<int> mask) {
  const auto lane = detail::apply(Opcode::bit_xor, detail::subgroup_lane_value(mask.loc), mask.id, mask.loc);
  return detail::over_subgroup(Subgroup::shuffle, static_cast<A&&>(a), mask.loc, lane);
}
/// The value of the thread `by` places before; `subgroup_shuffle_down`: after.
template <detail::Captured A> auto subgroup_shuffle_up(A&& a, Arg<int> by) {
  const auto lane = detail::apply(Opcode::sub, detail::subgroup_lane_value(by.loc), by.id, by.loc);
  return detail::over_subgroup(Subgroup::shuffle, static_cast<A&&>(a), by.loc, lane);
}
template <detail::Captured A> auto subgroup_shuffle_down(A&& a, Arg<int> by) {
  const auto lane = detail::apply(Opcode::add, detail::subgroup_lane_value(by.loc), by.id, by.loc);
  return detail::over_subgroup(Subgroup::shuffle, static_cast<A&&>(a), by.loc, lane);
}
/// The sum of what the threads whose `lane` is this thread give: the other way round of a shuffle.
template <detail::Captured A> auto subgroup_scatter_add(A&& a, Arg<int> lane) {
  return detail::over_subgroup(Subgroup::scatter_add, static_cast<A&&>(a), lane.loc, lane.id);
}

// ---- atomics on elements of InOut and Shared, fields of structs included; each gives the old number
#define FLUXION_ATOMIC(name) \
  template <class T> auto name(Ref<T>&& place, Arg<detail::compute_t<T>> v) { return static_cast<Ref<T>&&>(place).name(v); }
FLUXION_ATOMIC(atomic_add)
FLUXION_ATOMIC(atomic_min)
FLUXION_ATOMIC(atomic_max)
FLUXION_ATOMIC(atomic_and)
FLUXION_ATOMIC(atomic_or)
FLUXION_ATOMIC(atomic_xor)
FLUXION_ATOMIC(atomic_exchange)
#undef FLUXION_ATOMIC
/// Stores v where the element has the bits of `expected`.
template <class T> auto atomic_compare_exchange(Ref<T>&& place, Arg<detail::compute_t<T>> expected, Arg<detail::compute_t<T>> v) {
  return static_cast<Ref<T>&&>(place).atomic_compare_exchange(expected, v);
}

/// The loop of `lanes`: rounds that may run at once. They share the thread's local memory, and all are done when the loop
/// ends. A round may not assign what was declared outside of the loop, and no break_if or return_if leaves it.
class Lanes : public detail::LoopObject {
 public:
  Lanes(Arg<int> n) : LoopObject(n.loc), n_(n.id) {}
  struct Iterator {
    Lanes& lanes;
    std::uint32_t index;
    bool done = false;
    Var<int> operator*() const { return {detail::Raw{index}, lanes.loc_}; }
    void operator++() {
      detail::close_loop();
      --lanes.open_;
      done = true;
    }
    bool operator!=(detail::LoopEnd) const { return !done; }
  };
  Iterator begin() {
    const auto i = detail::open_lanes(n_, loc_);
    ++open_;
    return {*this, i};
  }
  detail::LoopEnd end() const { return {}; }

 private:
  std::uint32_t n_;
};
inline Lanes lanes(Arg<int> n) { return {n}; }

}  // namespace fluxion
