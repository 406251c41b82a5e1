// Reading an array between its elements: fx::sample(image, y, x), linear or nearest, in one to three dimensions.
//
// Coordinates are in elements, in the order of the axes: at whole numbers sample(a, i, j) is a(i, j). Both the array and the
// coordinates have derivatives. The interpolant has kinks at whole numbers; there, and at the borders, the derivative with respect to a
// coordinate is that towards larger coordinates.
#pragma once
#include "fluxion/vec.h"

namespace fluxion {

/// What lies beyond the first and last element of an axis.
enum class Border : std::uint8_t {
  clamp,  // the element at the edge
  wrap,   // the array again
  zero,   // zeros
};
enum class Filter : std::uint8_t { linear, nearest };
struct Sampling {
  Border border = Border::clamp;
  Filter filter = Filter::linear;
};

namespace detail {

template <class T> struct Texel {
  static_assert(kNever<T>, "fx::sample reads floats and vectors of floats; read others by index: x(i, j)");
};
template <Scalar T>
  requires(is_float(dtype_of<T>))
struct Texel<T> {
  using Number = compute_t<T>;
  using Value = Var<Number>;
  static Value zero(Loc at) { return Value(Raw{literal<Number>(Number(0), at)}, at); }
};
template <Scalar T, int M>
  requires(is_float(dtype_of<T>))
struct Texel<Vec<T, M>> {
  using Number = compute_t<T>;
  using Value = Vec<Var<Number>, M>;
  static Value zero(Loc at) { return Value(splat<M>(literal<Number>(Number(0), at), at)); }
};

/// Where a coordinate falls along one axis: two elements, whether they are inside, and how far it is from the first to the second.
template <class C> struct Position {
  Var<int> index[2];
  Var<bool> inside[2];
  Var<C> t;
};

template <class C> Position<C> position(Var<C> x, const Var<int>& n, Sampling how, Loc at) {
  const bool wraps = how.border == Border::wrap;
  if (!wraps) {  // so that what lies far outside stays an integer; a NaN stays one
    const Var<C> last(n, at);
    x = select(x > last, last, x);
    x = select(x < C(-2), Var<C>(C(-2), at), x);  // at -1 element 0 would still be one of the two
  }
  const Var<C> whole = floor(x, at);
  Position<C> p{{}, {}, x - whole};
  Var<int> first = cast<int>(whole, at);
  if (how.filter == Filter::nearest) first += Var<int>(p.t >= C(0.5), at);
  if (wraps) {
    first = first % n;
    first += select(first < 0, n, Var<int>(0, at));
    const Var<int> next = first + 1;
    p.index[0] = first;
    p.index[1] = select(next < n, next, Var<int>(0, at));
    p.inside[0] = p.inside[1] = Var<bool>(true, at);
    return p;
  }
  for (int k = 0; k < 2; ++k) {
    const Var<int> i = first + k;
    p.index[k] = clamp(i, 0, n - 1, at);
    p.inside[k] = i >= 0 & i < n;
  }
  return p;
}

/// The sum over the corners of the cell: axis by axis, the first one outermost.
template <class A, class C, int N> auto interpolate(const A& a, const Position<C> (&p)[N], Sampling how, Loc at) {
  using X = Texel<typename A::element_type>;
  using V = typename X::Value;
  const auto corner = [&](const int(&k)[3]) {
    Vec<Var<int>, 3> i;
    for (int axis = 0; axis < N; ++axis) i[axis] = p[axis].index[k[axis]];
    const V v = [&]() -> V {
      if constexpr (N == 1) return V(a[Index(i[0], at)]);
      else if constexpr (N == 2) return V(a(Index(i[0], at), Index(i[1], at)));
      else return V(a(Index(i[0], at), Index(i[1], at), Index(i[2], at)));
    }();
    if (how.border != Border::zero) return v;
    Var<bool> inside = p[0].inside[k[0]];
    for (int axis = 1; axis < N; ++axis) inside = inside & p[axis].inside[k[axis]];
    return V(select(inside, v, X::zero(at)));
  };
  int k[3] = {0, 0, 0};
  if (how.filter == Filter::nearest) return corner(k);
  const auto along = [&](const auto& self, int axis) -> V {
    if (axis == N) return corner(k);
    k[axis] = 0;
    const V low = self(self, axis + 1);
    k[axis] = 1;
    const V high = self(self, axis + 1);
    return V(low + (high - low) * Var<typename X::Number>(cast<typename X::Number>(p[axis].t, at)));
  };
  return along(along, 0);
}

template <class A>
concept Sampled = requires(const A& a) {
  typename A::element_type;
  a.handle();
} && (A::kRank >= 1 && A::kRank <= 3);

template <class A, class... C> auto sample_at(const A& a, Sampling how, Loc at, C&&... c) {
  static_assert(sizeof...(C) == A::kRank, "fx::sample takes as many coordinates as the array has axes");
  using Given = common_t<C...>;
  using T = std::conditional_t<std::is_void_v<Given>, typename Texel<typename A::element_type>::Number, Given>;
  static_assert(std::is_floating_point_v<T>, "the coordinates of fx::sample are floats; an element is read by x(i, j)");
  if constexpr (std::is_floating_point_v<T> && sizeof...(C) == A::kRank) {
    const Var<T> x[] = {Var<T>(Raw{Arg<T>(static_cast<C&&>(c), at).id}, at)...};
    Position<T> p[A::kRank];
    for (int axis = 0; axis < A::kRank; ++axis) p[axis] = position<T>(x[axis], a.extent(axis, at), how, at);
    return interpolate(a, p, how, at);
  }
}

}  // namespace detail

/// `a` between its elements, at coordinates that are counted in elements, one for each axis in the order of the axes.
/// Differentiable  in `a` and, with Filter::linear, in the coordinates: at whole numbers towards larger ones; nearest has derivative 0
/// Limits          a NaN gives NaN (nearest: the element at 0), and so does an infinity with Border::wrap, where coordinates are cut off
///                 at 2^31; the second element of a cell counts with weight 0 at whole numbers, so an infinity in it gives NaN;
///                 an array without elements has nothing to sample: such a launch is refused, unless the sample is in a branch, a loop or a
///                 function that is called, where it must not be come by
/// Cost            2, 4 or 8 loads; the derivative in `a` adds to as many elements
template <detail::Sampled A, detail::ScalarOperand X> auto sample(const A& a, X&& x, Sampling how = {}, Loc at = Loc::here()) {
  return detail::sample_at(a, how, at, static_cast<X&&>(x));
}
template <detail::Sampled A, detail::ScalarOperand X, detail::ScalarOperand Y>
auto sample(const A& a, X&& x, Y&& y, Sampling how = {}, Loc at = Loc::here()) {
  return detail::sample_at(a, how, at, static_cast<X&&>(x), static_cast<Y&&>(y));
}
template <detail::Sampled A, detail::ScalarOperand X, detail::ScalarOperand Y, detail::ScalarOperand Z>
auto sample(const A& a, X&& x, Y&& y, Z&& z, Sampling how = {}, Loc at = Loc::here()) {
  return detail::sample_at(a, how, at, static_cast<X&&>(x), static_cast<Y&&>(y), static_cast<Z&&>(z));
}
template <detail::Sampled A, class C, int N> auto sample(const A& a, const Vec<Var<C>, N>& p, Sampling how = {}, Loc at = Loc::here()) {
  static_assert(N == A::kRank, "fx::sample takes as many coordinates as the array has axes");
  if constexpr (N == 2) return detail::sample_at(a, how, at, p[0], p[1]);
  else return detail::sample_at(a, how, at, p[0], p[1], p[2]);
}

}  // namespace fluxion
