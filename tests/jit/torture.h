// Kernels and their derivatives of the first and second order, as users get them: in the evaluator against differences
// and dot products (gradient_check.h), and on a device against the evaluator.
#pragma once
#include <catch2/catch.hpp>

#include "fluxion/fluxion.h"
#include "gradient_check.h"

namespace fluxion::testing {

inline Data data(std::array<std::int64_t, 3> extent, int rank, LayoutId element = DType::f64) {
  Data d;
  d.element = element;
  d.rank = rank;
  d.extent = extent;
  d.resize();
  return d;
}
/// Numbers of [lo, hi), the same each time.
inline Data floats(std::array<std::int64_t, 3> extent, int rank, double lo = -1, double hi = 1, LayoutId element = DType::f64) {
  Data d = data(extent, rank, element);
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> u(lo, hi);
  d.each_float([&](DType t, std::size_t at) { d.set(t, at, u(random)); });
  return d;
}
inline Data floats(std::int64_t n, double lo = -1, double hi = 1) { return floats({n, 1, 1}, 1, lo, hi); }
inline Data numbers(const std::vector<double>& v) {
  Data d = data({static_cast<std::int64_t>(v.size()), 1, 1}, 1);
  std::copy(v.begin(), v.end(), d.as<double>());
  return d;
}
inline Data ints(const std::vector<int>& v) {
  Data d = data({static_cast<std::int64_t>(v.size()), 1, 1}, 1, DType::i32);
  std::copy(v.begin(), v.end(), d.as<int>());
  return d;
}
inline Data scalar(double v) {
  Data d = data({1, 1, 1}, 1);
  d.scalar = true;
  *d.as<double>() = v;
  return d;
}
inline Data scalar(int v) {
  Data d = data({1, 1, 1}, 1, DType::i32);
  d.scalar = true;
  *d.as<int>() = v;
  return d;
}

/// As run() in gradient_check.h, on a device.
inline Arguments run_on(const Device& device, const detail::KernelHandle& k, const Arguments& arguments,
                        std::array<std::int64_t, 3> domain) {
  const Function& f = *k.function();
  std::vector<detail::Argument> list;
  std::vector<Array> arrays(arguments.size());
  for (std::size_t p = 0; p < arguments.size(); ++p) {
    const Data& d = arguments[p];
    detail::Argument a;
    if (f.parameters[p].kind == Parameter::Kind::scalar) {
      std::memcpy(&a.bits, d.bytes.data(), d.bytes.size());
    } else {
      arrays[p] = Array::make(device, d.element, {d.extent.data(), static_cast<std::size_t>(d.rank)}, Array::Fill::memory);
      arrays[p].write(d.bytes.data());
      a.array = arrays[p].shared();
    }
    list.push_back(a);
  }
  k.launch(domain, f.domain_rank, list, Loc::here());
  Arguments out;
  for (std::size_t p = 0; p < arguments.size(); ++p) {
    if (f.parameters[p].kind != Parameter::Kind::memory || f.parameters[p].role == Role::in) continue;
    out.push_back(arguments[p]);
    arrays[p].read(out.back().bytes.data());
  }
  return out;
}

/// Largest difference, relative to the largest number; 1e300 where one is not finite and the other differs.
inline double distance(const Data& a, const Data& b) {
  double size = 1e-3, worst = 0;
  a.each_float([&](DType t, std::size_t at) {
    const double x = a.get(t, at), y = b.get(t, at);
    if (x == y || (x != x && y != y)) return;
    size = std::max(size, std::isfinite(x) ? std::abs(x) : 0.0);
    worst = std::isfinite(x - y) ? std::max(worst, std::abs(x - y)) : 1e300;
  });
  return worst / size;
}

inline void same_on_devices(const detail::KernelHandle& k, const Arguments& arguments, std::array<std::int64_t, 3> domain) {
  const Arguments expected = run(*k.function(), arguments, {domain, 0});
  for (const Device& device : {Device::best(), Device::reference()}) {
    const Arguments mine = run_on(device, k, arguments, domain);
    for (std::size_t r = 0; r < mine.size(); ++r) {
      INFO(k.function()->name << " on " << device.name() << ", result " << r);
      if (mine[r].floats()) CHECK(distance(expected[r], mine[r]) < 1e-11);
      else CHECK(mine[r].bytes == expected[r].bytes);
    }
  }
}

inline void right(const Function& f, const Arguments& a, const CheckOptions& o, const char* what) {
  const Errors e = check(f, a, o);
  INFO(f.name << ", " << what << ": differences " << e.differences << " dots " << e.dots << " order " << e.order << " jvp " << e.jvp_dot
              << " vjp " << e.vjp_dot << " fd " << e.difference_dot);
  CHECK(e.dots < 1e-10);
  CHECK(e.order < 1e-10);
  CHECK(e.differences < 1e-7);
}

struct Torture {
  std::array<std::int64_t, 3> domain{1, 1, 1};
  bool differences = true;  // of the function; where trips or branches flip there are none
  bool second = true;
  double step = 1e-4;
};

/// First order and both kinds of second order, on the devices and against differences.
template <class... P>
void torture(const Kernel<P...>& kernel, const Arguments& a, const Torture& t) {
  const detail::KernelHandle k = kernel.handle(), j = k.jvp(), v = k.vjp({});
  CheckOptions o;
  o.domain = t.domain;
  o.differences = t.differences;
  o.step = t.step;
  right(*k.function(), a, o, "first order");
  const Arguments ja = jvp_arguments(*k.function(), a, 3), va = vjp_arguments(*k.function(), a, t.domain, 4);
  same_on_devices(k, a, t.domain);
  same_on_devices(j, ja, t.domain);
  same_on_devices(v, va, t.domain);
  if (!t.second) return;
  right(*j.function(), ja, o, "second order of jvp");
  right(*v.function(), va, o, "second order of vjp");
  same_on_devices(v.jvp(), jvp_arguments(*v.function(), va, 5), t.domain);
  same_on_devices(v.vjp({}), vjp_arguments(*v.function(), va, t.domain, 6), t.domain);
  const Function p = program_of(*k.function(), a, t.domain);
  right(vjp(p), vjp_arguments(p, a, t.domain, 3), o, "second order of vjp of the program");
}

}  // namespace fluxion::testing
