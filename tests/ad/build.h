// A few words to write test kernels with: values with operators over a Builder that is current.
#pragma once
#include "fluxion/builder.h"
#include "gradient_check.h"

namespace fluxion::testing {

inline thread_local Builder* current = nullptr;

struct V {
  ValueId id;
  V() = default;
  V(ValueId v) : id(v) {}
};
inline DType dtype(V a) { return current->function().type(a.id).dtype(); }
inline V c(double v, DType t = DType::f64) { return current->constant_float(t, v); }
inline V i(std::int32_t v) { return current->i32(v); }
inline V like(double v, V a) {
  return is_float(dtype(a)) ? c(v, dtype(a)) : V(current->constant_int(dtype(a), static_cast<std::int64_t>(v)));
}
inline V op(Opcode o, V a) { return current->emit(o, {a.id}); }
inline V op(Opcode o, V a, V b) { return current->emit(o, {a.id, b.id}); }
#define FLUXION_TEST_OPERATOR(sign, name)                                           \
  inline V operator sign(V a, V b) { return op(Opcode::name, a, b); }               \
  inline V operator sign(V a, double b) { return op(Opcode::name, a, like(b, a)); } \
  inline V operator sign(double a, V b) { return op(Opcode::name, like(a, b), b); }
FLUXION_TEST_OPERATOR(+, add)
FLUXION_TEST_OPERATOR(-, sub)
FLUXION_TEST_OPERATOR(*, mul)
FLUXION_TEST_OPERATOR(/, div)
FLUXION_TEST_OPERATOR(%, rem)
FLUXION_TEST_OPERATOR(<, lt)
FLUXION_TEST_OPERATOR(>, gt)
FLUXION_TEST_OPERATOR(==, eq)
#undef FLUXION_TEST_OPERATOR
inline V sin(V a) { return op(Opcode::sin, a); }
inline V cos(V a) { return op(Opcode::cos, a); }
inline V exp(V a) { return op(Opcode::exp, a); }
inline V log(V a) { return op(Opcode::log, a); }
inline V sqrt(V a) { return op(Opcode::sqrt, a); }
inline V select(V k, V a, V b) { return current->select(k.id, a.id, b.id); }
inline V to(V a, DType t) { return current->convert(a.id, t); }

inline Values ids(const std::vector<V>& v) {
  Values out;
  for (V x : v) out.push_back(x.id);
  return out;
}
inline std::vector<V> vs(const Values& v) { return {v.begin(), v.end()}; }

/// A memory, indexed like an array.
struct M {
  MemoryId id;
  V at(std::vector<V> k, int leaf = 0) const { return current->load(id, ids(k), leaf); }
  V operator[](V k) const { return at({k}); }
  void set(V k, V v, int leaf = 0) const { current->store(id, ids({k}), v.id, leaf); }
  void set(std::vector<V> k, V v, int leaf = 0) const { current->store(id, ids(k), v.id, leaf); }
  void add(V k, V v, int leaf = 0) const { current->accumulate(id, ids({k}), v.id, leaf); }
};
inline std::vector<V> if_(V k, const std::function<std::vector<V>()>& a, const std::function<std::vector<V>()>& b) {
  return vs(current->if_(k.id, [&] { return ids(a()); }, [&] { return ids(b()); }));
}
inline void when(V k, const std::function<void()>& a) {
  if_(
      k,
      [&] {
        a();
        return std::vector<V>{};
      },
      [] { return std::vector<V>{}; });
}
inline std::vector<V> for_(V lo, V hi, std::vector<V> init, const std::function<std::vector<V>(V, std::vector<V>)>& body,
                           bool down = false) {
  return vs(
      current->for_(
                 lo.id, hi.id, ids(init), [&](ValueId k, const Values& x) { return Builder::LoopYield{ids(body(k, vs(x))), {}}; }, down)
          .carries);
}
inline std::vector<V> while_(std::vector<V> init, const std::function<V(std::vector<V>)>& cond,
                             const std::function<std::vector<V>(std::vector<V>)>& body) {
  return vs(current
                ->while_(
                    ids(init), [&](const Values& x) { return std::pair(cond(vs(x)).id, x); },
                    [&](const Values& x) { return Builder::LoopYield{ids(body(vs(x))), {}}; })
                .carries);
}

/// Builds a kernel over `rank` axes; the lambda declares parameters through the Kernel it gets.
struct Kernel {
  Function f;
  Builder b{f};
  explicit Kernel(const char* name, int rank = 1) {
    f.kind = Function::Kind::kernel;
    f.name = name;
    f.domain_rank = rank;
    current = &b;
  }
  M in(LayoutId t = DType::f64, int rank = 1) { return {b.memory_parameter(t, rank, Role::in, name())}; }
  M out(LayoutId t = DType::f64, int rank = 1) { return {b.memory_parameter(t, rank, Role::out, name())}; }
  M inout(LayoutId t = DType::f64, int rank = 1) { return {b.memory_parameter(t, rank, Role::inout, name())}; }
  M accum(LayoutId t = DType::f64, int rank = 1) { return {b.memory_parameter(t, rank, Role::accum, name())}; }
  M local(std::int64_t n, LayoutId t = DType::f64) { return {b.local(t, n, "l")}; }
  V scalar(DType t = DType::f64) { return b.scalar_parameter(t, name()); }
  V index(int axis = 0) { return b.index(axis); }
  Function done() {
    b.finish();
    verify(f);
    current = nullptr;
    return f;
  }

 private:
  std::string name() const { return std::string(1, static_cast<char>('a' + f.parameters.size())); }
};

/// One argument for each parameter that is not scratch: `n` elements along each axis, floats in [lo, hi), integers in [0, top).
struct Fill {
  std::int64_t n = 6;
  double lo = 0.5, hi = 1.5;
  int top = 4;
  std::uint64_t seed = 7;
};
inline Arguments arguments(const Function& f, const Fill& fill = {}) {
  Arguments out;
  std::mt19937_64 random(fill.seed);
  std::uniform_real_distribution<double> u(fill.lo, fill.hi);
  for (const Parameter& p : f.parameters) {
    if (is_scratch(f, p)) continue;
    Data d = shape_of(f, p);
    if (p.kind == Parameter::Kind::memory)
      for (int k = 0; k < d.rank; ++k) d.extent[k] = fill.n;
    d.resize();
    if (p.role != Role::out)
      for (std::int64_t k = 0; k < d.count(); ++k)
        for (const Leaf& l : layout_of(d.element).leaves) {
          const std::size_t at = static_cast<std::size_t>(k) * layout_of(d.element).size + l.offset;
          if (is_float(l.dtype)) d.set(l.dtype, at, u(random));
          else d.bytes[at] = static_cast<std::byte>(random() % (is_bool(l.dtype) ? 2u : static_cast<unsigned>(fill.top)));
        }
    out.push_back(std::move(d));
  }
  return out;
}

}  // namespace fluxion::testing
