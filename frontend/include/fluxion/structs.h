// User structs as elements and values, without macros:
//
//   template <template <class> class F> struct Particle { fx::Vec<F<float>, 2> pos; F<float> mass; F<int> id; };
//   fx::InOut<Particle<fx::Host>> p;      p[i].mass += 1;     Particle<fx::Var> q = p[i];     p[i] = q;
//
// Particle<Host> is the plain struct in memory, Particle<Var> its value in a kernel. Values of structs and vectors
// are arrays of handles, so one template serves every use: Host, Var, Ref (places) and Probe (the layout).
// Plain aggregates work too, by structured bindings: auto [pos, mass] = p[i]; p[i] = fx::tuple(pos, mass).
#pragma once
#include <utility>

#include "fluxion/params.h"

namespace fluxion {

/// Captured values in a row, in memory too; structured bindings take it apart.
template <class... T> struct Tuple;
template <class T> struct Tuple<T> {
  T head{};
  Tuple() = default;
  explicit Tuple(const T& h) : head(h) {}
  template <std::size_t K> T& get() & { return head; }
  template <std::size_t K> const T& get() const& { return head; }
  template <std::size_t K> T get() && { return head; }
};
template <class T, class... Rest> struct Tuple<T, Rest...> {
  T head{};
  Tuple<Rest...> tail;
  Tuple() = default;
  Tuple(const T& h, const Rest&... rest) : head(h), tail(rest...) {}
  template <std::size_t K> auto& get() & {
    if constexpr (K == 0) return head;
    else return tail.template get<K - 1>();
  }
  template <std::size_t K> const auto& get() const& {
    if constexpr (K == 0) return head;
    else return tail.template get<K - 1>();
  }
  template <std::size_t K> auto get() && {
    auto& member = get<K>();
    return member;
  }
};

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
  StructPlace() = default;
  StructPlace(const StructPlace&) = default;
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
  std::uint32_t first() const {
    std::uint32_t element;
    __builtin_memcpy(&element, static_cast<const void*>(this), sizeof element);  // of its first place
    return element;
  }
};

template <class... T> struct HostOf<Tuple<T...>> {
  using type = Tuple<host_t<T>...>;
};
template <template <template <class> class> class S> struct HostOf<S<Var>> {
  using type = S<Host>;
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
    // All places are alike in memory: which element, which leaf.
    for (std::uint32_t k = 0; k < kLeaves; ++k) {
      const std::uint32_t place[] = {element, k};
      static_assert(sizeof place == sizeof(Ref<float>));
      __builtin_memcpy(reinterpret_cast<char*>(&p) + k * sizeof place, place, sizeof place);
    }
    return p;
  }
};

// ---- plain aggregates
struct Anything {
  template <class T> operator T() const;
};
template <class P, class... A> constexpr int members() {
  if constexpr (sizeof...(A) > 12) return -1;
  else if constexpr (requires { P{A()..., Anything()}; }) return members<P, A..., Anything>();
  else return static_cast<int>(sizeof...(A));
}
template <class P>
concept PlainAggregate = std::is_aggregate_v<P> && std::is_class_v<P> && !std::is_empty_v<P>;

/// Calls f with the members of p; a raw array member is miscounted and does not compile: use fx::Vec.
template <class P, class F> constexpr decltype(auto) with_members(P& p, const F& f) {
  constexpr int n = members<std::remove_const_t<P>>();
  static_assert(n >= 1 && n <= 12, "a plain struct as an element has one to twelve members");
  if constexpr (n == 1) {
    auto& [a] = p;
    return f(a);
  } else if constexpr (n == 2) {
    auto& [a, b] = p;
    return f(a, b);
  } else if constexpr (n == 3) {
    auto& [a, b, c] = p;
    return f(a, b, c);
  } else if constexpr (n == 4) {
    auto& [a, b, c, d] = p;
    return f(a, b, c, d);
  } else if constexpr (n == 5) {
    auto& [a, b, c, d, e] = p;
    return f(a, b, c, d, e);
  } else if constexpr (n == 6) {
    auto& [a, b, c, d, e, g] = p;
    return f(a, b, c, d, e, g);
  } else if constexpr (n == 7) {
    auto& [a, b, c, d, e, g, h] = p;
    return f(a, b, c, d, e, g, h);
  } else if constexpr (n == 8) {
    auto& [a, b, c, d, e, g, h, i] = p;
    return f(a, b, c, d, e, g, h, i);
  } else if constexpr (n == 9) {
    auto& [a, b, c, d, e, g, h, i, j] = p;
    return f(a, b, c, d, e, g, h, i, j);
  } else if constexpr (n == 10) {
    auto& [a, b, c, d, e, g, h, i, j, k] = p;
    return f(a, b, c, d, e, g, h, i, j, k);
  } else if constexpr (n == 11) {
    auto& [a, b, c, d, e, g, h, i, j, k, l] = p;
    return f(a, b, c, d, e, g, h, i, j, k, l);
  } else {
    auto& [a, b, c, d, e, g, h, i, j, k, l, m] = p;
    return f(a, b, c, d, e, g, h, i, j, k, l, m);
  }
}
struct TupleOfValues {
  template <class... M> auto operator()(M&...) const -> Tuple<typename Element<std::remove_const_t<M>>::Value...>;
};
template <class P> using values_of = decltype(with_members(std::declval<P&>(), TupleOfValues()));

/// The place of a plain struct: assigned from a tuple, read by a structured binding.
template <class P>
struct AggregatePlace {
  using Value = values_of<P>;
  std::uint32_t element;
  operator Value() && { return value(); }
  void operator=(const Value& v) && { store_from(element, 0, handles(v), kHandles<Value>, {}); }
  void operator=(AggregatePlace&& o) && { static_cast<AggregatePlace&&>(*this) = o.value(); }
  AggregatePlace(std::uint32_t e) : element(e) {}
  AggregatePlace(const AggregatePlace&) = default;
  Value value() const {
    Value v;
    load_into(element, 0, handles(v), kHandles<Value>, {});
    return v;
  }
  template <std::size_t K> auto get() const { return value().template get<K>(); }
};
template <PlainAggregate P>
struct Element<P> {
  using Value = values_of<P>;
  using Place = AggregatePlace<P>;
  static constexpr int kLeaves = kHandles<Value>;
  static constexpr std::uint32_t kSize = sizeof(P);
  static void leaves(LeafSpec* out) {
    alignas(P) static char room[sizeof(P)];  // never read: only addresses are taken
    with_members(*reinterpret_cast<P*>(room), [&](auto&... m) { (member(m, room, out), ...); });
  }
  static Value get(std::uint32_t element, Loc) { return Place(element).value(); }
  static Place place(std::uint32_t element) { return Place(element); }

 private:
  template <class M> static void member(M& m, const char* base, LeafSpec*& out) {
    using E = Element<M>;
    E::leaves(out);
    const auto offset = static_cast<std::uint32_t>(reinterpret_cast<const char*>(&m) - base);
    for (int k = 0; k < E::kLeaves; ++k) (out++)->offset += offset;
  }
};

/// Tuples of host values: what a function that returns a tuple gives outside of kernels.
template <class... H> struct Element<Tuple<H...>> {
  using Value = Tuple<typename Element<H>::Value...>;
  static constexpr int kLeaves = (Element<H>::kLeaves + ...);
  static constexpr std::uint32_t kSize = sizeof(Tuple<H...>);
  static void leaves(LeafSpec* out) {
    const Tuple<H...> t;
    each(t, reinterpret_cast<const char*>(&t), out);
  }

 private:
  template <class T, class... Rest> static void each(const Tuple<T, Rest...>& t, const char* base, LeafSpec* out) {
    using E = Element<T>;
    E::leaves(out);
    const auto offset = static_cast<std::uint32_t>(reinterpret_cast<const char*>(&t.head) - base);
    for (int k = 0; k < E::kLeaves; ++k) (out++)->offset += offset;
    if constexpr (sizeof...(Rest) > 0) each(t.tail, base, out);
  }
};
}  // namespace detail

/// The values of a plain struct's members, in order: p[i] = fx::tuple(position, mass).
template <class... V> auto tuple(const V&... v) {
  return Tuple<typename detail::Named<V>::type...>(static_cast<const typename detail::Named<V>::type&>(v)...);
}

}  // namespace fluxion

template <class... T> struct std::tuple_size<fluxion::Tuple<T...>> : std::integral_constant<std::size_t, sizeof...(T)> {};
template <std::size_t K, class... T> struct std::tuple_element<K, fluxion::Tuple<T...>> {
  using type = std::remove_reference_t<decltype(std::declval<fluxion::Tuple<T...>&>().template get<K>())>;
};
template <class P> struct std::tuple_size<fluxion::detail::AggregatePlace<P>> : std::tuple_size<fluxion::detail::values_of<P>> {};
template <std::size_t K, class P> struct std::tuple_element<K, fluxion::detail::AggregatePlace<P>>
    : std::tuple_element<K, fluxion::detail::values_of<P>> {};
