// ADOL-C's reverse mode for the problems with one result: the tape is made once, an evaluation is one gradient with it.
// Without the package libadolc-dev there is no peer.
#pragma once
#include <functional>

#include "inputs.h"

namespace gradbench::adolc {

std::function<void()> derivative(const Gmm& in);
std::function<void()> derivative(const Lstm& in);
std::function<void()> derivative(const Ode& in);
std::function<void()> derivative(const Llsq& in);
std::function<void()> derivative(const Lse& in);
/// No peer: Jacobians.
template <class Input>
std::function<void()> derivative(const Input&) {
  return {};
}

}  // namespace gradbench::adolc
