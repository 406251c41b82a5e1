// A problem that is a program of one array with one number as its value, and its value_and_grad.
#pragma once
#include <fluxion/fluxion.h>

#include <memory>
#include <tuple>

#include "problem.h"

namespace gradbench {

/// Input    what the rivals are made of; x of it is the array
template <class Program, class Input>
Problem scalar_problem(const Program& f, const Input& in) {
  struct State {
    fluxion::Buffer<double> x, value, slope;
  };
  const fluxion::Device dev = fluxion::Device::cpu();
  auto s = std::make_shared<State>(State{dev.upload(in.x), {}, {}});
  auto gradient = fluxion::value_and_grad(f);
  Problem p;
  p.primal = [=] {
    s->value = f(s->x);
    dev.wait();
  };
  p.derivative = [=] {
    std::tie(s->value, s->slope) = gradient(s->x);
    dev.wait();
  };
  p.primal_json = [=] { return nlohmann::json(s->value.item()); };
  p.derivative_json = [=] { return nlohmann::json(s->slope.host()); };
  add_rivals(p, in);
  return p;
}

}  // namespace gradbench
