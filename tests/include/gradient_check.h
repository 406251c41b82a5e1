// Checks the derivatives of any Function (fn, kernel, program) in the evaluator: jvp against central
// differences, vjp against jvp by a dot product, Taylor remainders, any thread order, no races.
// A derivative is a Function again, so that higher orders are checked by calling check() on it.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "fluxion/ad.h"
#include "fluxion/builder.h"
#include "fluxion/evaluate.h"

namespace fluxion::testing {

/// One argument or result: an array of elements, or one scalar (extents 1).
struct Data {
  LayoutId element = DType::f32;
  bool scalar = false;
  int rank = 1;
  std::array<std::int64_t, 3> extent{1, 1, 1};
  std::vector<std::byte> bytes;

  std::int64_t count() const { return extent[0] * extent[1] * extent[2]; }
  void resize() { bytes.assign(static_cast<std::size_t>(count()) * layout_of(element).size, std::byte{0}); }
  bool floats() const {
    for (const Leaf& l : layout_of(element).leaves)
      if (is_float(l.dtype)) return true;
    return false;
  }
  template <class T> T* as() { return reinterpret_cast<T*>(bytes.data()); }
  template <class T> const T* as() const { return reinterpret_cast<const T*>(bytes.data()); }

  double get(DType t, std::size_t at) const {
    const auto read = [&]<class T>(T v) {
      std::memcpy(&v, bytes.data() + at, sizeof v);
      return static_cast<double>(v);
    };
    switch (t) {
      case DType::f64: return read(0.0);
      case DType::f32: return read(0.0f);
      case DType::f16:
        return static_cast<double>(static_cast<float>(half{static_cast<half>(*reinterpret_cast<const half*>(bytes.data() + at))}));
      case DType::bf16: return static_cast<double>(static_cast<float>(*reinterpret_cast<const bfloat16*>(bytes.data() + at)));
      default: return 0;
    }
  }
  void set(DType t, std::size_t at, double v) {
    const auto write = [&](auto x) { std::memcpy(bytes.data() + at, &x, sizeof x); };
    switch (t) {
      case DType::f64: write(v); return;
      case DType::f32: write(static_cast<float>(v)); return;
      case DType::f16: write(half(static_cast<float>(v))); return;
      case DType::bf16: write(bfloat16(static_cast<float>(v))); return;
      default: return;
    }
  }
  /// Calls fn(dtype, byte offset) for every floating point number in order.
  template <class Fn> void each_float(Fn&& fn) const {
    const Layout& layout = layout_of(element);
    for (std::int64_t i = 0; i < count(); ++i)
      for (const Leaf& l : layout.leaves)
        if (is_float(l.dtype)) fn(l.dtype, static_cast<std::size_t>(i) * layout.size + l.offset);
  }
};
using Arguments = std::vector<Data>;

inline bool is_scratch(const Function& f, const Parameter& p) { return p.kind == Parameter::Kind::memory && f[p.memory].scratch; }

/// What parameter `p` takes, empty but for arrays of programs.
inline Data shape_of(const Function& f, const Parameter& p) {
  Data d;
  if (p.kind == Parameter::Kind::memory) {
    d.element = f[p.memory].element;
    d.rank = f[p.memory].rank;
  } else {
    const Type& t = f.type(p.value);
    d.element = t.element;
    d.scalar = t.is_scalar();
    if (!d.scalar) {
      d.rank = t.rank;
      for (int k = 0; k < t.rank; ++k) d.extent[k] = t.shape[k];
    }
    d.resize();
  }
  return d;
}

/// What runs before a kernel (Before in ir.h), in the evaluator: the work arrays.
inline Arguments run_before(const Function& f, const Arguments& arguments, std::array<std::int64_t, 3> domain) {
  Arguments works;
  for (const Before::Array& a : f.before.arrays) {
    works.push_back(arguments.at(static_cast<std::size_t>(a.like)));
    works.back().element = a.element;
    works.back().resize();
  }
  for (const Before::Stage& s : f.before.stages) {
    std::vector<EvalMemory> memories;
    std::vector<std::uint64_t> scalars;
    for (std::size_t p = 0; p < s.arguments.size(); ++p) {
      const int k = s.arguments[p];
      Data d = k < 0 ? Data{} : arguments.at(static_cast<std::size_t>(k));
      if (s.kernel->parameters[p].kind == Parameter::Kind::scalar) {
        std::uint64_t b = 0;
        std::memcpy(&b, d.bytes.data(), std::min<std::size_t>(8, d.bytes.size()));
        scalars.push_back(b);
      } else {
        Data& held =
            k < 0 ? works[static_cast<std::size_t>(-1 - k)] : const_cast<Data&>(arguments[static_cast<std::size_t>(k)]);  // only read
        memories.push_back({held.bytes.data(), held.extent});
      }
    }
    evaluate_kernel(*s.kernel, domain, memories, scalars);
  }
  return works;
}

/// The arguments of a kernel and the scratch that goes with them: see Scratch in ir.h.
inline Arguments with_scratch(const Function& f, const Arguments& arguments, std::array<std::int64_t, 3> domain) {
  Arguments all = arguments;
  const Arguments works = run_before(f, arguments, domain);
  for (const Parameter& p : f.parameters) {
    if (!is_scratch(f, p)) continue;
    const Memory& m = f[p.memory];
    if (m.work >= 0) {
      all.push_back(works[static_cast<std::size_t>(m.work)]);
      continue;
    }
    Data d = arguments.at(static_cast<std::size_t>(m.like));
    if (m.role == Role::out || m.zeros) {
      d.element = m.element;
      d.resize();
      if (!m.zeros) d.each_float([&](DType t, std::size_t at) { d.set(t, at, std::nan("")); });  // undefined: must not matter
    }
    all.push_back(std::move(d));
  }
  return all;
}
/// After the run: scratch that ends in an Accum.
inline void add_scratch(const Function& f, Arguments& all) {
  for (std::size_t p = 0; p < all.size(); ++p) {
    if (!is_scratch(f, f.parameters[p]) || f[f.parameters[p].memory].into < 0) continue;
    Data& sum = all[static_cast<std::size_t>(f[f.parameters[p].memory].into)];
    sum.each_float([&](DType t, std::size_t at) { sum.set(t, at, sum.get(t, at) + all[p].get(t, at)); });
  }
}

struct RunOptions {
  std::array<std::int64_t, 3> domain{1, 1, 1};
  std::uint64_t shuffle = 0;  // seed of a thread order; 0: in order
};

/// Runs `f` on an argument for each parameter that is not scratch. The results: the final versions of Out, InOut
/// and Accum parameters, then what a program returns; an fn's results.
inline Arguments run(const Function& f, const Arguments& arguments, const RunOptions& options = {}) {
  EvalOptions eval;
  if (options.shuffle && f.kind == Function::Kind::kernel) {
    const auto n = static_cast<std::size_t>(options.domain[0] * options.domain[1] * options.domain[2]);
    eval.thread_order.resize(n);
    std::iota(eval.thread_order.begin(), eval.thread_order.end(), 0u);
    std::mt19937_64 random(options.shuffle);
    std::shuffle(eval.thread_order.begin(), eval.thread_order.end(), random);
  }
  eval.print = [](std::string_view) {};
  const auto bits = [](const Data& d) {
    std::uint64_t b = 0;
    std::memcpy(&b, d.bytes.data(), std::min<std::size_t>(8, d.bytes.size()));
    return b;
  };
  const auto scalar = [](const Type& t, std::uint64_t b) {
    Data d;
    d.element = t.element;
    d.scalar = true;
    d.resize();
    std::memcpy(d.bytes.data(), &b, d.bytes.size());
    return d;
  };
  Arguments out;
  switch (f.kind) {
    case Function::Kind::fn: {
      std::vector<std::uint64_t> x;
      for (const Data& d : arguments) x.push_back(bits(d));
      const auto y = evaluate_fn(f, x);
      const Values& results = f.terminator(f.body).operands;
      for (std::size_t k = 0; k < y.size(); ++k) out.push_back(scalar(f.type(results[k]), y[k]));
      return out;
    }
    case Function::Kind::kernel: {
      Arguments all = with_scratch(f, arguments, options.domain);
      std::vector<EvalMemory> memories;
      std::vector<std::uint64_t> scalars;
      for (std::size_t p = 0; p < all.size(); ++p) {
        if (f.parameters[p].kind == Parameter::Kind::memory) memories.push_back({all[p].bytes.data(), all[p].extent});
        else scalars.push_back(bits(all[p]));
      }
      evaluate_kernel(f, options.domain, memories, scalars, eval);
      add_scratch(f, all);
      for (std::size_t p = 0; p < arguments.size(); ++p)
        if (f.parameters[p].kind == Parameter::Kind::memory && f.parameters[p].role != Role::in) out.push_back(all[p]);
      return out;
    }
    case Function::Kind::program: {
      std::vector<EvalValue> values;
      for (std::size_t p = 0; p < arguments.size(); ++p) {
        EvalValue v;
        if (f.parameters[p].kind == Parameter::Kind::scalar) v.bits = bits(arguments[p]);
        else v.array = std::make_shared<std::vector<std::byte>>(arguments[p].bytes);
        values.push_back(std::move(v));
      }
      const auto results = evaluate_program(f, std::move(values), eval);
      const Values& yields = f.terminator(f.body).operands;
      for (std::size_t k = 0; k < results.size(); ++k) {
        const Type& t = f.type(yields[k]);
        if (t.is_scalar()) {
          out.push_back(scalar(t, results[k].bits));
          continue;
        }
        Data d;
        d.element = t.element;
        d.rank = t.rank;
        for (int a = 0; a < t.rank; ++a) d.extent[a] = t.shape[a];
        d.bytes = *results[k].array;
        out.push_back(std::move(d));
      }
      return out;
    }
  }
  return out;
}

inline double dot(const Data& a, const Data& b) {
  double sum = 0;
  std::vector<double> x;
  a.each_float([&](DType t, std::size_t at) { x.push_back(a.get(t, at)); });
  std::size_t k = 0;
  b.each_float([&](DType t, std::size_t at) { sum += x.at(k++) * b.get(t, at); });
  return sum;
}
/// The tangent or cotangent that goes with `d`, filled with random numbers.
inline Data random_adjoint(const Data& d, std::mt19937_64& random) {
  Data a = d;
  const auto widen = [](DType t) { return is_half(t) ? DType::f32 : t; };
  if (d.element.is_scalar()) a.element = widen(d.element.scalar());
  a.resize();
  std::uniform_real_distribution<double> u(-1, 1);
  a.each_float([&](DType t, std::size_t at) { a.set(t, at, u(random)); });
  return a;
}
inline Data zero_like(Data d) {
  d.resize();
  return d;
}
inline Data moved(const Data& x, const Data& direction, double by) {
  Data y = x;
  std::vector<double> v;
  direction.each_float([&](DType t, std::size_t at) { v.push_back(direction.get(t, at)); });
  std::size_t k = 0;
  x.each_float([&](DType t, std::size_t at) { y.set(t, at, x.get(t, at) + by * v[k++]); });
  return y;
}

/// The numbers of one check; each error is relative to the size of what is compared.
struct Errors {
  double differences = 0;  // jvp against central differences
  double dots = 0;         // vjp against jvp
  double order = 0;        // vjp, threads in random order against threads in order
  double jvp_dot = 0, vjp_dot = 0, difference_dot = 0;
};

struct CheckOptions {
  std::array<std::int64_t, 3> domain{1, 1, 1};
  std::uint64_t seed = 1;
  double step = 1e-4;
  bool differences = true;
  bool reverse = true;
};

/// `arguments`: for each parameter but scratch (Outs with their extents).
inline Errors check(const Function& f, const Arguments& arguments, const CheckOptions& options = {}) {
  std::mt19937_64 random(options.seed);
  Errors e;
  const RunOptions at{options.domain, 0};
  const auto role = [&](std::size_t p) { return f.parameters[p].role; };
  const auto relative = [](double a, double b, double size) {
    return std::abs(a - b) / std::max({std::abs(size), std::abs(a), std::abs(b), 1e-30});
  };

  // Forward: a tangent for every float parameter; an Out has none on entry.
  Arguments tangents(arguments.size()), forward = arguments;
  for (std::size_t p = 0; p < arguments.size(); ++p) {
    if (!arguments[p].floats()) continue;
    tangents[p] = random_adjoint(arguments[p], random);
    if (role(p) == Role::out) tangents[p].resize();
    forward.push_back(tangents[p]);
  }
  const Arguments primal = run(f, arguments, at), lifted = run(jvp(f), forward, at);
  // Results of jvp: versions, their tangents, returned values, their tangents.
  std::size_t versions = 0;
  if (f.kind != Function::Kind::fn)
    for (std::size_t p = 0; p < arguments.size(); ++p) versions += !arguments[p].scalar && role(p) != Role::in;
  Arguments dots;  // tangent of each float result
  std::vector<std::size_t> float_results;
  std::size_t next = 0;
  const auto block = [&](std::size_t from, std::size_t to) {
    next += to - from;
    for (std::size_t k = from; k < to; ++k)
      if (primal[k].floats()) float_results.push_back(k), dots.push_back(lifted.at(next++));
  };
  block(0, versions);
  block(versions, primal.size());

  Arguments cotangents;
  double size = 0;
  for (std::size_t k = 0; k < float_results.size(); ++k) {
    cotangents.push_back(random_adjoint(primal[float_results[k]], random));
    e.jvp_dot += dot(cotangents[k], dots[k]);
    size += std::sqrt(dot(cotangents[k], cotangents[k]) * dot(dots[k], dots[k]));
  }

  if (options.differences) {
    // Fourth order, so that truncation and rounding are both small in f64.
    const auto value = [&](double by) {
      Arguments x = arguments;
      for (std::size_t p = 0; p < arguments.size(); ++p)
        if (arguments[p].floats()) x[p] = moved(arguments[p], tangents[p], by);
      const Arguments y = run(f, x, at);
      double sum = 0;
      for (std::size_t k = 0; k < float_results.size(); ++k) sum += dot(cotangents[k], y[float_results[k]]);
      return sum;
    };
    const double h = options.step;
    e.difference_dot = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h);
    e.differences = relative(e.jvp_dot, e.difference_dot, size);
  }

  if (!options.reverse) return e;
  const Function adjoint = vjp(f);
  Arguments backward;
  for (std::size_t p = 0; p < arguments.size(); ++p)
    if (role(p) == Role::in || role(p) == Role::inout) backward.push_back(arguments[p]);
  for (const Data& w : cotangents) backward.push_back(w);
  if (f.kind != Function::Kind::fn)
    for (std::size_t p = 0; p < arguments.size(); ++p) {
      if (role(p) != Role::in || !arguments[p].floats()) continue;
      Data g = zero_like(tangents[p]);
      g.scalar = false;
      backward.push_back(g);
    }
  const Arguments reversed = run(adjoint, backward, at), shuffled = run(adjoint, backward, {options.domain, options.seed + 1});
  // Versions of the InOut cotangents, then the gradients of In and scalars in order.
  std::size_t r = 0;
  double order = 0, order_size = 0;
  for (std::size_t k = 0; k < reversed.size(); ++k) {
    const Data difference = moved(reversed[k], shuffled[k], -1);
    order = std::max(order, std::sqrt(dot(difference, difference)));
    order_size = std::max(order_size, std::sqrt(dot(reversed[k], reversed[k])));
  }
  e.order = order / std::max(order_size, 1e-30);
  std::size_t result = 0;
  for (std::size_t p = 0; p < arguments.size(); ++p) {
    if (f.kind == Function::Kind::fn || role(p) == Role::in || !arguments[p].floats()) continue;
    if (role(p) == Role::inout) e.vjp_dot += dot(reversed.at(r++), tangents[p]);
  }
  for (std::size_t p = 0; p < arguments.size(); ++p) {
    if (f.kind != Function::Kind::fn && role(p) != Role::in) {
      // An Accum passes the cotangent of its new version on to the old one.
      if (role(p) == Role::accum && arguments[p].floats()) e.vjp_dot += dot(cotangents.at(result), tangents[p]);
      result += arguments[p].floats();
      continue;
    }
    if (arguments[p].floats()) e.vjp_dot += dot(reversed.at(r++), tangents[p]);
  }
  e.dots = relative(e.jvp_dot, e.vjp_dot, size);
  return e;
}

/// Arguments for jvp(f) and vjp(f): those of f, with random tangents or cotangents and gradients.
inline Arguments jvp_arguments(const Function& f, const Arguments& arguments, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Arguments out = arguments;
  for (std::size_t p = 0; p < arguments.size(); ++p) {
    if (!arguments[p].floats()) continue;
    out.push_back(random_adjoint(arguments[p], random));
    if (f.parameters[p].role == Role::out) out.back().resize();
  }
  return out;
}
inline Arguments vjp_arguments(const Function& f, const Arguments& arguments, std::array<std::int64_t, 3> domain, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Arguments out;
  for (std::size_t p = 0; p < arguments.size(); ++p)
    if (f.parameters[p].role == Role::in || f.parameters[p].role == Role::inout) out.push_back(arguments[p]);
  for (const Data& d : run(f, arguments, {domain}))
    if (d.floats()) out.push_back(random_adjoint(d, random));
  if (f.kind == Function::Kind::fn) return out;
  for (std::size_t p = 0; p < arguments.size(); ++p)
    if (f.parameters[p].role == Role::in && arguments[p].floats()) {
      out.push_back(random_adjoint(arguments[p], random));
      out.back().scalar = false;
    }
  return out;
}

/// A program that launches `kernel` once on parameters of the same roles.
inline Function program_of(const Function& kernel, const Arguments& arguments, std::array<std::int64_t, 3> domain) {
  Function f;
  f.kind = Function::Kind::program;
  f.name = kernel.name + "_program";
  Builder b(f);
  Values operands, extents;
  std::vector<Type> outs;
  for (std::size_t p = 0; p < arguments.size(); ++p) {
    const Parameter& parameter = kernel.parameters[p];
    if (parameter.kind == Parameter::Kind::scalar) {
      operands.push_back(b.scalar_parameter(kernel.type(parameter.value).dtype(), parameter.name));
      continue;
    }
    const Type t = Type::array(arguments[p].element, std::span(arguments[p].extent.data(), static_cast<std::size_t>(arguments[p].rank)));
    const ValueId v = b.array_parameter(t, parameter.role, parameter.name);
    if (parameter.role == Role::out) outs.push_back(t);
    else operands.push_back(v);
  }
  for (int k = 0; k < kernel.domain_rank; ++k) extents.push_back(b.i32(static_cast<std::int32_t>(domain[k])));
  b.finish(b.launch(std::make_shared<Function>(kernel), extents, operands, outs));
  return f;
}

}  // namespace fluxion::testing
