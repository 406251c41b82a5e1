// User structs as elements and values, without macros:
//
//   template <template <class> class F> struct Particle { fx::Vec<F<float>, 2> pos; F<float> mass; F<int> id; };
//   fx::InOut<Particle<fx::Host>> p;      p[i].mass += 1;     Particle<fx::Var> q = p[i];     p[i] = q;
//
// Particle<Host> is the plain struct in memory, Particle<Var> its value in a kernel. Values of structs and vectors
// are arrays of handles, so one template serves every use: Host, Var, Ref (places) and Probe (the layout).
// Plain aggregates work too, by structured bindings: auto [pos, mass] = p[i]; p[i] = fx::tuple(pos, mass).
#pragma once
#include "fluxion/params.h"

namespace fluxion {

/// Particle<Host>: the struct as it lies in memory.
template <class T> using Host = T;

namespace detail {
FLUXION_API void probe_leaf(DType t, const void* address);
FLUXION_API void probe_begin();
/// Fills `out` with what was probed inside the object at `base`, in order of addresses; gives their number.
FLUXION_API int probe_end(const void* base, LeafSpec* out, int room);

/// A leaf that tells where it is: stands for F when a layout is asked for.
template <class T>
struct Probe {
  T storage;
  Probe() { probe_leaf(dtype_of<T>, &storage); }
};

template <template <template <class> class> class S>
struct StructPlace : S<Ref> {
  operator S<Var>() && {
    S<Var> v;
    load_into(first(), 0, handles(v), kHandles<S<Var>>, {});
    return v;
  }
  void operator=(const S<Var>& v) && { store_from(first(), 0, handles(v), kHandles<S<Var>>, {}); }
  void operator=(StructPlace&& o) && { static_cast<StructPlace&&>(*this) = static_cast<S<Var>>(static_cast<StructPlace&&>(o)); }
  template <class V> void operator=(V&&) & {
    static_assert(kNever<V>, "`auto q = p[i]` names the element, not its value; write `Particle<fx::Var> q = p[i]`");
  }
  std::uint32_t first() const { return reinterpret_cast<const Ref<float>*>(this)->element_; }
};

template <template <template <class> class> class S>
struct Element<S<Host>> {
  using Value = S<Var>;
  using Place = StructPlace<S>;
  static constexpr int kLeaves = kHandles<S<Var>>;
  static constexpr std::uint32_t kSize = sizeof(S<Host>);
  static_assert(sizeof(S<Probe>) == sizeof(S<Host>) && sizeof(S<Ref>) == sizeof(S<Var>),
                "members of such a struct are F<scalar>, fx::Vec<F<scalar>, N>, fx::Mat<F<scalar>, R, C> or such structs");
  static void leaves(LeafSpec* out) {
    probe_begin();
    S<Probe> s;
    probe_end(&s, out, kLeaves);
  }
  static Value get(std::uint32_t element, Loc at) {
    Value v;
    load_into(element, 0, handles(v), kLeaves, at);
    return v;
  }
  static Place place(std::uint32_t element) {
    Place p;
    auto* refs = reinterpret_cast<Ref<float>*>(&p);  // all Ref are alike in memory
    for (int k = 0; k < kLeaves; ++k) refs[k].element_ = element, refs[k].leaf_ = static_cast<std::uint32_t>(k);
    return p;
  }
};
}  // namespace detail

}  // namespace fluxion
