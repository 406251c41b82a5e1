// How the C++ type of an array's element maps to a Layout, and what its adjoint is.
#pragma once
#include "fluxion/layout.h"
#include "fluxion/capture.h"

namespace fluxion::detail {

template <class T> LayoutId element_of() {
  if constexpr (Scalar<T>) {
    return dtype_of<T>;
  } else {
    static_assert(sizeof(T) == Element<T>::kSize, "the host type and its layout in kernels have different sizes");
    static const LayoutId id = layout_for<T>();
    return id;
  }
}

/// The scalar of which a vector or matrix is made.
template <class T> struct LeafOfType;
template <Scalar T> struct LeafOfType<T> {
  using type = T;
};
template <template <class, int...> class V, class E, int... N> struct LeafOfType<V<E, N...>> {
  using type = E;
};
template <class T> using LeafOf = typename LeafOfType<T>::type;

}  // namespace fluxion::detail
