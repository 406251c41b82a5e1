// The three derivatives of check_gradient side by side. A subject is anything with parameters and results that can be
// run, pushed forward and pulled back; kernels and programs are two ways to make one.
#include "fluxion/check_gradient.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <optional>
#include <random>

#include "fluxion/ad.h"
#include "fluxion/cancel.h"
#include "fluxion/error.h"
#include "fluxion/evaluate.h"
#include "runtime.h"

namespace fluxion::detail {
namespace {

/// The float numbers of an array or scalar, in memory order.
using Numbers = std::vector<double>;

struct Item {
  std::string name;
  LayoutId element = DType::f32;
  std::array<std::int64_t, 3> extent{1, 1, 1};
  int rank = 0;  // 0: a scalar
  std::vector<std::byte> bytes;

  template <class F> void each(F&& f) const {
    const Layout& layout = layout_of(element);
    for (std::size_t at = 0; at + layout.size <= bytes.size(); at += layout.size)
      for (const Leaf& leaf : layout.leaves)
        if (is_float(leaf.dtype)) f(leaf.dtype, at + leaf.offset);
  }
  bool floats() const { return has_float(Type::array(element, {})); }
  bool narrow() const {
    bool out = false;
    for (const Leaf& leaf : layout_of(element).leaves) out |= is_float(leaf.dtype) && leaf.dtype != DType::f64;
    return out;
  }
  Numbers numbers() const {
    Numbers out;
    each([&](DType t, std::size_t at) {
      const auto read = [&]<class T>(T v) {
        std::memcpy(&v, bytes.data() + at, sizeof v);
        return static_cast<double>(static_cast<float>(v));
      };
      double wide;
      if (t == DType::f64) std::memcpy(&wide, bytes.data() + at, 8), out.push_back(wide);
      else out.push_back(t == DType::f32 ? read(0.f) : t == DType::f16 ? read(half(0.f)) : read(bfloat16(0.f)));
    });
    return out;
  }
  void set(const Numbers& x) {
    std::size_t k = 0;
    each([&](DType t, std::size_t at) {
      const double v = x[k++];
      const auto write = [&](auto n) { std::memcpy(bytes.data() + at, &n, sizeof n); };
      if (t == DType::f64) write(v);
      else if (t == DType::f32) write(static_cast<float>(v));
      else if (t == DType::f16) write(half(static_cast<float>(v)));
      else write(bfloat16(static_cast<float>(v)));
    });
  }
  /// Zeros of the type and shape of its tangents.
  Item adjoint() const {
    Item a = *this;
    if (element.is_scalar() && is_half(element.scalar())) a.element = DType::f32;
    a.bytes.assign(bytes.size() / layout_of(element).size * layout_of(a.element).size, std::byte{0});
    return a;
  }
};
using Items = std::vector<Item>;

struct Subject {
  std::string name;
  Items parameters;                                                       // floats and others
  std::vector<std::size_t> active;                                        // those that are differentiated
  std::function<Items(const Items& x)> values;                            // the float results
  std::function<Items(const Items& x, const Items& dx)> forward;          // by active parameter -> by result
  std::function<Items(const Items& x, const Items& cotangents)> reverse;  // by result -> by active parameter
};

double dot(const Numbers& a, const Numbers& b) {
  double s = 0;
  for (std::size_t k = 0; k < a.size(); ++k) s += a[k] * b[k];
  return s;
}
double norm(const Numbers& a) { return std::sqrt(dot(a, a)); }

GradientReport compare(const Subject& s) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> u(-1, 1);
  const auto randomised = [&](Item a) {
    Numbers x = a.numbers();
    for (double& v : x) v = u(random);
    a.set(x);
    return a;
  };
  const Items y = s.values(s.parameters);
  Items cotangents;
  bool narrow = false;
  for (const Item& r : y) cotangents.push_back(randomised(r.adjoint())), narrow |= r.narrow();
  for (std::size_t p : s.active) narrow |= s.parameters[p].narrow();
  const Items gradients = s.reverse(s.parameters, cotangents);
  const auto weigh = [&](const Items& results) {
    double sum = 0;
    for (std::size_t r = 0; r < results.size(); ++r) sum += dot(cotangents[r].numbers(), results[r].numbers());
    return sum;
  };
  const auto step_of = [&](std::size_t p) {
    double size = 0;
    for (double v : s.parameters[p].numbers()) size = std::max(size, std::abs(v));
    return (narrow ? 2e-3 : 1e-5) * std::max(size, 1e-2);
  };
  // What rounding alone makes of a difference: the sum of sizes, since numbers of both signs cancel.
  double weight = 0;
  for (std::size_t r = 0; r < y.size(); ++r) {
    const Numbers a = cotangents[r].numbers(), b = y[r].numbers();
    for (std::size_t k = 0; k < a.size(); ++k) weight += std::abs(a[k] * b[k]);
  }
  const double rounding = 16 * weight * (narrow ? std::numeric_limits<float>::epsilon() : std::numeric_limits<double>::epsilon());
  const auto difference = [&](std::size_t p, const Numbers& direction) {
    const Numbers x = s.parameters[p].numbers();
    const double h = step_of(p);
    Items moved = s.parameters;
    const auto at = [&](double by) {
      Numbers z = x;
      for (std::size_t k = 0; k < z.size(); ++k) z[k] += by * direction[k];
      moved[p].set(z);
      return weigh(s.values(moved));
    };
    return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
  };
  const double modes = narrow ? 1e-3 : 1e-9, differences = narrow ? 3e-2 : 1e-5;
  GradientReport report;
  for (std::size_t k = 0; k < s.active.size(); ++k) {
    const Item& parameter = s.parameters[s.active[k]];
    Items dx;
    for (std::size_t p : s.active) dx.push_back(s.parameters[p].adjoint());
    dx[k] = randomised(dx[k]);
    const Numbers direction = dx[k].numbers(), gradient = gradients[k].numbers();
    GradientReport::Row row;
    row.parameter = parameter.name;
    row.reverse = dot(gradient, direction);
    const Items dy = s.forward(s.parameters, dx);
    row.forward = weigh(dy);
    row.difference = difference(s.active[k], direction);
    double size = norm(gradient) * norm(direction) / std::sqrt(std::max<double>(1, static_cast<double>(direction.size())));
    size = std::max({size, std::abs(row.reverse), std::abs(row.forward), std::abs(row.difference), 1e-30});
    row.modes = std::abs(row.reverse - row.forward) / size;
    row.error = std::abs(row.reverse - row.difference) / size;
    const bool near = std::abs(row.reverse - row.difference) <= differences * size + rounding / step_of(s.active[k]);
    row.ok = row.modes <= modes && near;  // a NaN is not
    report.text += fmt::format("{}: {}: reverse {:.6g}, forward {:.6g} (apart {:.1e}), differences {:.6g} (apart {:.1e}): {}\n", s.name,
                               row.parameter, row.reverse, row.forward, row.modes, row.difference, row.error, row.ok ? "right" : "WRONG");
    if (!row.ok) {
      report.ok = false;
      // The element that is furthest off, of at most 64 spread over the array.
      const std::size_t step = std::max<std::size_t>(1, gradient.size() / 64);
      std::size_t worst = 0;
      double by = -1, is = 0, should = 0;
      for (std::size_t e = 0; e < gradient.size(); e += step) {
        Numbers one(gradient.size(), 0);
        one[e] = 1;
        const double d = difference(s.active[k], one), apart = std::isnan(gradient[e]) || std::isnan(d) ? 1e300 : std::abs(d - gradient[e]);
        if (apart > by) by = apart, worst = e, is = gradient[e], should = d;
      }
      report.text +=
          fmt::format("  the worst element of {}{}: number {}, value {:.6g}: gradient {:.6g}, difference {:.6g}\n", row.parameter,
                      step > 1 ? fmt::format(" (one in {} looked at)", step) : "", worst, parameter.numbers()[worst], is, should);
    }
    report.rows.push_back(std::move(row));
  }
  if (s.active.empty()) report.text += fmt::format("{}: no parameter is floating point: nothing to check\n", s.name);
  return report;
}

Item item_of(const std::string& name, LayoutId element, const Argument& a) {
  Item i;
  i.name = name;
  i.element = element;
  if (!a.array) {
    i.bytes.resize(layout_of(element).size);
    std::memcpy(i.bytes.data(), &a.bits, i.bytes.size());
    return i;
  }
  i.rank = a.array->rank;
  i.extent = a.array->extent;
  i.bytes.resize(static_cast<std::size_t>(a.array->count()) * layout_of(element).size);
  Array(a.array).read(i.bytes.data());
  return i;
}

// ---- kernels, in the evaluator

bool is_scratch(const Function& f, const Parameter& p) { return p.kind == Parameter::Kind::memory && f[p.memory].scratch; }

Items run(const Function& f, std::array<std::int64_t, 3> domain, Items x);

/// What runs before a kernel: see Before in ir.h. The work arrays.
Items run_before(const Function& f, std::array<std::int64_t, 3> domain, const Items& x) {
  const auto zeros = [&](const Before::Array& a) {
    Item s = x[static_cast<std::size_t>(a.like)];
    const std::size_t n = s.bytes.size() / layout_of(s.element).size;
    s.element = a.element;
    s.bytes.assign(n * layout_of(a.element).size, std::byte{0});
    return s;
  };
  Items works;
  for (const Before::Array& a : f.before.arrays) works.push_back(zeros(a));
  for (const Before::Stage& stage : f.before.stages) {
    Items arguments;
    for (const int a : stage.arguments)
      arguments.push_back(a >= 0 ? x[static_cast<std::size_t>(a)] : works[static_cast<std::size_t>(-1 - a)]);
    const Items after = run(*stage.kernel, domain, std::move(arguments));
    for (std::size_t p = 0; p < stage.arguments.size(); ++p)
      if (const int a = stage.arguments[p]; a < 0) works[static_cast<std::size_t>(-1 - a)] = after[p];
  }
  return works;
}

/// One item for each parameter but scratch; gives them as they are afterwards.
Items run(const Function& f, std::array<std::int64_t, 3> domain, Items x) {
  const Items works = run_before(f, domain, x);
  for (const Parameter& p : f.parameters) {
    if (!is_scratch(f, p)) continue;
    const Memory& m = f[p.memory];
    if (m.work >= 0) {
      x.push_back(works[static_cast<std::size_t>(m.work)]);
      continue;
    }
    Item s = x[static_cast<std::size_t>(m.like)];
    if (p.role == Role::out || m.zeros) {
      const std::size_t n = s.bytes.size() / layout_of(s.element).size;
      s.element = m.element;
      s.bytes.assign(n * layout_of(m.element).size, std::byte{0});
    }
    x.push_back(std::move(s));
  }
  std::vector<EvalMemory> memories;
  std::vector<std::uint64_t> scalars;
  for (std::size_t p = 0; p < x.size(); ++p) {
    if (f.parameters[p].kind == Parameter::Kind::memory) {
      memories.push_back({x[p].bytes.data(), x[p].extent});
      continue;
    }
    std::uint64_t bits = 0;
    std::memcpy(&bits, x[p].bytes.data(), x[p].bytes.size());
    scalars.push_back(bits);
  }
  EvalOptions options;
  options.print = [](std::string_view) {};
  detail::meeting_requests([&] { evaluate_kernel(f, domain, memories, scalars, options); });
  for (std::size_t p = 0; p < x.size(); ++p) {
    if (!is_scratch(f, f.parameters[p]) || f[f.parameters[p].memory].into < 0) continue;
    Item& sum = x[static_cast<std::size_t>(f[f.parameters[p].memory].into)];
    Numbers a = sum.numbers();
    const Numbers b = x[p].numbers();
    for (std::size_t k = 0; k < a.size(); ++k) a[k] += b[k];
    sum.set(a);
  }
  return x;
}

}  // namespace

GradientReport check_gradient(const KernelHandle& k, std::array<std::int64_t, 3> domain, int rank, std::span<const Argument> arguments,
                              Loc at) {
  const auto f = k.function();
  const std::vector<int> all;
  const auto j = k.jvp().function(), v = k.vjp(all).function();
  Subject s;
  s.name = fmt::format("kernel \"{}\"", f->name);
  std::vector<std::size_t> results;
  for (std::size_t p = 0; p < arguments.size(); ++p) {
    const Parameter& q = f->parameters[p];
    const bool memory = q.kind == Parameter::Kind::memory;
    if (memory && !arguments[p].array)
      throw ShapeError(at, fmt::format("check_gradient of \"{}\": argument {} (\"{}\") is an empty array", f->name, p + 1, q.name));
    s.parameters.push_back(item_of(q.name, memory ? (*f)[q.memory].element : LayoutId(f->type(q.value).dtype()), arguments[p]));
    if (!s.parameters[p].floats()) continue;
    if (q.role != Role::out && q.role != Role::accum) s.active.push_back(p);
    if (memory && q.role != Role::in) results.push_back(p);
  }
  if (rank == 0) {
    for (std::size_t p = 0; p < s.parameters.size() && rank == 0; ++p)
      if (s.parameters[p].rank == std::max(1, f->domain_rank)) domain = s.parameters[p].extent, rank = s.parameters[p].rank;
  }
  if (rank != std::max(1, f->domain_rank))
    throw ShapeError(at, fmt::format("check_gradient of \"{}\": the launch has {} axes, the kernel {}; write .over(...)", f->name, rank,
                                     f->domain_rank));
  const auto take = [results](const Items& x) {
    Items out;
    for (std::size_t r : results) out.push_back(x[r]);
    return out;
  };
  s.values = [=](const Items& x) { return take(run(*f, domain, x)); };
  const auto active = s.active;
  s.forward = [=](const Items& x, const Items& dx) {
    Items all = x;
    std::vector<std::size_t> place;
    for (std::size_t p = 0; p < x.size(); ++p) {
      if (!x[p].floats()) continue;
      const auto it = std::find(active.begin(), active.end(), p);
      if (std::find(results.begin(), results.end(), p) != results.end()) place.push_back(all.size());
      all.push_back(it == active.end() ? x[p].adjoint() : dx[static_cast<std::size_t>(it - active.begin())]);
    }
    const Items end = run(*j, domain, all);
    Items out;
    for (std::size_t p : place) out.push_back(end[p]);
    return out;
  };
  s.reverse = [=](const Items& x, const Items& cotangents) {
    Items all;
    std::vector<std::size_t> place(x.size());
    for (std::size_t p = 0; p < x.size(); ++p)
      if (const Role role = f->parameters[p].role; role == Role::in || role == Role::inout) all.push_back(x[p]);
    for (std::size_t r = 0; r < results.size(); ++r) {
      place[results[r]] = all.size();
      all.push_back(cotangents[r]);
    }
    for (std::size_t p : active) {
      if (f->parameters[p].role == Role::inout) continue;
      place[p] = all.size();
      Item g = x[p].adjoint();
      g.rank = std::max(1, g.rank);
      all.push_back(g);
    }
    const Items end = run(*v, domain, all);
    Items out;
    for (std::size_t p : active) out.push_back(end[place[p]]);
    return out;
  };
  return compare(s);
}

GradientReport check_gradient(const ProgramHandle& program, std::span<const Argument> arguments, std::span<const int> wrt, Loc at) {
  Subject s;
  s.name = "program";
  std::vector<Argument> given(arguments.begin(), arguments.end());
  std::optional<Device> device;
  for (const Argument& a : given)
    if (a.array && !device) device = a.array->device;
  if (!device) device = Device::best();
  const std::vector<ProgramParameter>& parameters = program.parameters();
  s.name = fmt::format("program \"{}\"", program.name());
  for (std::size_t p = 0; p < given.size(); ++p)
    s.parameters.push_back(item_of(fmt::format("parameter {}", p), parameters[p].element, given[p]));
  for (int p : wrt) s.active.push_back(static_cast<std::size_t>(p));
  const auto upload = [device](const Item& i) {
    Argument a;
    if (i.rank == 0) {
      std::memcpy(&a.bits, i.bytes.data(), i.bytes.size());
      return a;
    }
    const Array array = Array::make(*device, i.element, {i.extent.data(), static_cast<std::size_t>(i.rank)}, Array::Fill::none);
    array.write(i.bytes.data());
    a.array = array.shared();
    return a;
  };
  const auto call = [upload, at](const ProgramHandle& p, const Items& x) {
    std::vector<Argument> list;
    for (const Item& i : x) list.push_back(upload(i));
    Items out;
    for (const Array& a : p.call(list, at)) {
      Argument r;
      r.array = a.shared();
      out.push_back(item_of("result", a.element(), r));
    }
    return out;
  };
  const ProgramHandle jvp = program.transformed(ProgramHandle::Transform::jvp, {});
  const ProgramHandle vjp = program.transformed(ProgramHandle::Transform::vjp, {wrt.begin(), wrt.end()});
  const auto floats = [](Items all) {
    std::erase_if(all, [](const Item& i) { return !i.floats(); });
    return all;
  };
  const auto active = s.active;
  s.values = [=](const Items& x) { return floats(call(program, x)); };
  s.forward = [=](const Items& x, const Items& dx) {
    Items all = x;
    all.insert(all.end(), dx.begin(), dx.end());
    Items out = call(jvp, all);
    const std::size_t results = call(program, x).size();
    out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(results));
    return out;
  };
  const auto scalar_results = program.scalar_results(given, at);
  s.reverse = [=](const Items& x, const Items& cotangents) {
    Items all = x;
    for (std::size_t r = 0; r < cotangents.size(); ++r) {
      all.push_back(cotangents[r]);
      if (scalar_results[r]) all.back().rank = 0;
    }
    return call(vjp, all);
  };
  return compare(s);
}

}  // namespace fluxion::detail
