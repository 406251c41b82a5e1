// Derivatives of every order against nested dual numbers. Along a first direction e and a second one u, direct
// execution gives f_e, f_u and f_eu for every result; each mode is one linear form of these:
//   jvp        f_e                               vjp        <c, f_e>
//   jvp(vjp)   <c, f_eu> + <c', f_u>             vjp(vjp)   the same, from the other side
//   jvp(jvp)   f_eu                              vjp(jvp)   <c, f_u> + <c', f_eu + f_u>
#include <fmt/format.h>

#include "capture.h"
#include "checks.h"
#include "fluxion/strips.h"
#include "inputs.h"

namespace fluxion::fuzz {
namespace {

constexpr int kThreads = 3;  // about
// Float parameters by role. A gradient has them in the order InOut, then In and scalars.
constexpr int kFloats[] = {kPX, kPY, kPZ, kPW, kPG, kPS, kPH, kPA};
constexpr int kResults[] = {kPY, kPZ, kPW, kPG, kPS};
constexpr int kInOuts[] = {kPZ, kPW, kPS};
constexpr int kGradients[] = {kPX, kPH, kPA};

using testing::dot;
double norm(const Data& d) { return std::sqrt(dot(d, d)); }

struct Refused {
  std::string reason;
};
/// A transform's KernelError is a refusal, anything else that it throws a finding.
template <class Transform>
Function transformed(const Transform& transform) {
  Function f;
  try {
    f = transform();
  } catch (const KernelError& e) {
    std::string reason = e.what();
    if (const auto at = reason.rfind(": "); at != std::string::npos && at + 2 < reason.size()) reason = reason.substr(at + 2);
    throw Refused{reason};
  }
  verify(f);
  return f;
}

/// By parameter: one array for each float one.
using Direction = std::map<int, Data>;

Direction random_direction(const Arguments& primal, std::mt19937_64& random) {
  Direction d;
  for (int p : kFloats) {
    d[p] = testing::random_adjoint(primal[static_cast<std::size_t>(p)], random);
    if (p == kPY) d[p].resize();  // an Out has none on entry
  }
  return d;
}

struct Exact {
  Direction e, u, eu;  // of results
  double size_e = 0, size_u = 0, size_eu = 0;
  bool bounded() const {
    const double all = size_e + size_u + size_eu;
    return std::isfinite(all) && all < 1e100;
  }
};

Exact dual_numbers(const Program& p, const Arrays<double>& in, const Direction& e, const Direction& u) {
  using First = Dual<double>;
  using Second = Dual<First>;
  Arrays<Second> dual = converted<Second>(in);
  const auto lift = [&](std::vector<Second>& to, int parameter) {
    std::vector<double> a, b;
    e.at(parameter).each_float([&](DType t, std::size_t at) { a.push_back(e.at(parameter).get(t, at)); });
    u.at(parameter).each_float([&](DType t, std::size_t at) { b.push_back(u.at(parameter).get(t, at)); });
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = {First(to[i].v.v, a.at(i)), First(b.at(i), 0.0)};
  };
  std::vector<Second> a = {dual.a};
  lift(dual.x, kPX), lift(dual.z, kPZ), lift(dual.w, kPW), lift(dual.g, kPG), lift(dual.s, kPS), lift(dual.h, kPH), lift(a, kPA);
  dual.a = a[0];
  Host<Second> host(p, dual);
  for (int step = 0; step < p.steps; ++step) host.run(threads_of(p, kThreads), step);
  Exact x;
  const auto read = [&](int parameter, const std::vector<Second>& from) {
    std::vector<double> one, two, both;
    for (const Second& s : from) one.push_back(s.v.d), two.push_back(s.d.v), both.push_back(s.d.d);
    const LayoutId element = parameter == kPS ? packed(DType::f64, 2) : LayoutId(DType::f64);
    x.e[parameter] = packed_data(one, element), x.u[parameter] = packed_data(two, element), x.eu[parameter] = packed_data(both, element);
    x.size_e += norm(x.e[parameter]), x.size_u += norm(x.u[parameter]), x.size_eu += norm(x.eu[parameter]);
  };
  read(kPY, dual.y), read(kPZ, dual.z), read(kPW, dual.w), read(kPG, dual.g), read(kPS, dual.s);
  return x;
}

/// The kernel launched p.steps times, each on the state that the one before left.
Function program_around(const Program& p, const Function& kernel, const Arguments& primal) {
  if (p.steps == 1) return testing::program_of(kernel, primal, {threads_of(p, kThreads), 1, 1});
  Function f;
  f.kind = Function::Kind::program;
  f.name = "steps";
  Builder b(f);
  std::vector<ValueId> at;
  Type out;
  for (std::size_t k = 0; k < primal.size(); ++k) {
    const auto& parameter = kernel.parameters[k];
    if (parameter.kind == fluxion::Parameter::Kind::scalar) {
      at.push_back(b.scalar_parameter(kernel.type(parameter.value).dtype(), parameter.name));
      continue;
    }
    const Type t = Type::array(primal[k].element, std::span(primal[k].extent.data(), 1));
    at.push_back(b.array_parameter(t, parameter.role, parameter.name));
    if (parameter.role == Role::out) out = t;
  }
  const Values first = {b.zero(out), at[kPZ], at[kPQ], at[kPW], at[kPG], at[kPS]};
  const auto callee = std::make_shared<Function>(kernel);
  const auto loop = b.for_(b.i32(0), b.i32(p.steps), first, [&](ValueId, const Values& c) {
    const ValueId domain = b.i32(threads_of(p, kThreads));
    const Values operands = {at[kPX], at[kPP], c[1], c[2], c[3], c[4], c[5], at[kPH], at[kPA], at[kPM]};
    return Builder::LoopYield{b.launch(callee, {&domain, 1}, operands, {&out, 1}), {}};
  });
  b.finish(loop.carries);
  return f;
}

class Check {
 public:
  Check(const Program& p, Report* report)
      : p_(p), report_(report), in_(inputs(p, threads_of(p, kThreads))), primal_(arguments(in_)), random_(p.seed + 5) {
    e_ = random_direction(primal_, random_);
    u_ = random_direction(primal_, random_);
    exact_ = dual_numbers(p, in_, e_, u_);
    for (int r : kResults)
      c_[r] = testing::random_adjoint(exact_.e.at(r), random_), c_dot_[r] = testing::random_adjoint(exact_.e.at(r), random_);
    tolerance_ = p.halves ? 1e-5 : 1e-8;  // the derivatives of halves are f32
  }

  std::string run() {
    if (!exact_.bounded()) {
      if (report_) ++report_->unbounded;
      return "";
    }
    kernel_ = capture(p_);
    const Function around = program_around(p_, *kernel_, primal_);
    // One launch is a kernel's business, several are a program's.
    const Function& f = p_.steps == 1 ? *kernel_ : around;
    std::string wrong = forward(f);
    if (wrong.empty()) wrong = reverse(f, p_.steps == 1);
    if (wrong.empty()) wrong = second(p_.seed % 2 ? f : around);
    if (wrong.empty() && p_.seed % 4 == 1) wrong = forward_again(f);
    return wrong;
  }

 private:
  const Program& p_;
  Report* report_;
  const Arrays<double> in_;
  const Arguments primal_;
  std::mt19937_64 random_;
  Direction e_, u_, c_, c_dot_;
  Exact exact_;
  double tolerance_;
  std::shared_ptr<const Function> kernel_;

  testing::RunOptions in_order() const { return {{threads_of(p_, kThreads), 1, 1}, 0}; }
  const Data& primal(int p) const { return primal_[static_cast<std::size_t>(p)]; }
  double along(const Direction& cotangent, const Direction& results) const {
    double sum = 0;
    for (int r : kResults) sum += dot(cotangent.at(r), results.at(r));
    return sum;
  }
  double size(const Direction& cotangent, const Direction& results) const {
    double sum = 0;
    for (int r : kResults) sum += norm(cotangent.at(r)) * norm(results.at(r));
    return sum;
  }
  std::string compare(const char* what, double got, double expected, double scale) const {
    if (std::abs(got - expected) <= tolerance_ * (1e-3 + scale + std::abs(got))) return "";
    return fmt::format("{} dot product {} instead of {}, size {}", what, got, expected, scale);
  }
  std::string compare(const char* what, const Arguments& got, std::size_t from, const Direction& expected, double scale) const {
    for (std::size_t k = 0; k < std::size(kResults); ++k) {
      const double off = norm(testing::moved(expected.at(kResults[k]), got.at(from + k), -1));
      if (!(off <= tolerance_ * (1e-3 + scale))) return fmt::format("{} result {} is off by {} of {}", what, k, off, scale);
    }
    return "";
  }

  std::string forward(const Function& f) {
    Arguments a = primal_;
    for (int p : kFloats) a.push_back(e_.at(p));
    const Function d = transformed([&] { return jvp(f); });
    return compare("jvp:", testing::run(d, a, in_order()), 6, exact_.e, exact_.size_e);
  }

  /// Primals that a reverse takes.
  Arguments before() const {
    Arguments a;
    for (int p : {kPX, kPP, kPZ, kPQ, kPW, kPS, kPH, kPA, kPM}) a.push_back(primal(p));
    return a;
  }
  Data no_gradient(int p) const {
    Data d = testing::zero_like(e_.at(p));
    d.scalar = false;
    return d;
  }

  std::string reverse(const Function& f, bool shuffle) {
    Arguments a = before();
    for (int r : kResults) a.push_back(c_.at(r));
    for (int p : kGradients) a.push_back(no_gradient(p));
    const Function d = transformed([&] { return vjp(f); });
    const double expected = along(c_, exact_.e), scale = size(c_, exact_.e);
    for (std::uint64_t order : {std::uint64_t{0}, p_.seed + 1}) {
      if (order && !shuffle) break;
      const Arguments r = testing::run(d, a, {{threads_of(p_, kThreads), 1, 1}, order});
      double got = dot(c_.at(kPG), e_.at(kPG));
      std::size_t k = 0;
      for (int p : kInOuts) got += dot(r.at(k++), e_.at(p));
      for (int p : kGradients) got += dot(r.at(k++), e_.at(p));
      if (const std::string wrong = compare("vjp:", got, expected, scale); !wrong.empty()) return wrong;
    }
    return "";
  }

  std::string second(const Function& around) {
    const Function v = transformed([&] { return vjp(around); });
    const double expected = along(c_, exact_.eu) + along(c_dot_, exact_.u), through = dot(c_dot_.at(kPG), u_.at(kPG));
    const double scale = size(c_, exact_.eu) + size(c_dot_, exact_.u);

    Arguments a = before();
    for (int r : kResults) a.push_back(c_.at(r));
    Arguments forward = a;
    for (int p : kGradients) forward.push_back(no_gradient(p));
    for (int p : {kPX, kPZ, kPW, kPS, kPH, kPA}) forward.push_back(e_.at(p));
    for (int r : kResults) forward.push_back(c_dot_.at(r));
    for (int p : kGradients) forward.push_back(no_gradient(p));
    const Function jv = transformed([&] { return jvp(v); });
    const Arguments lifted = testing::run(jv, forward, in_order());
    double got = through;
    std::size_t k = 6;
    for (int p : kInOuts) got += dot(lifted.at(k++), u_.at(p));
    for (int p : kGradients) got += dot(lifted.at(k++), u_.at(p));
    if (const std::string wrong = compare("jvp(vjp):", got, expected, scale); !wrong.empty()) return wrong;

    Arguments back = a;
    for (int p : kInOuts) back.push_back(u_.at(p));
    for (int p : kGradients) {
      back.push_back(u_.at(p));
      back.back().scalar = false;
    }
    for (int p : {kPX, kPZ, kPW, kPS, kPH, kPA}) back.push_back(no_gradient(p));
    for (int r : {kPY, kPG}) back.push_back(testing::zero_like(c_.at(r)));
    const Function vv = transformed([&] { return vjp(v); });
    const Arguments r = testing::run(vv, back, in_order());
    got = through;
    k = 0;
    for (int p : kInOuts) got += dot(r.at(k++), c_dot_.at(p));
    for (int p : {kPX, kPZ, kPW, kPS, kPH, kPA}) got += dot(r.at(k++), e_.at(p));
    for (int p : {kPY, kPG}) got += dot(r.at(k++), c_dot_.at(p));
    return compare("vjp(vjp):", got, expected, scale);
  }

  std::string forward_again(const Function& f) {
    const Function once = transformed([&] { return jvp(f); });
    Arguments a = primal_;
    for (int p : kFloats) a.push_back(e_.at(p));
    Arguments twice = a;
    for (int p : kFloats) twice.push_back(u_.at(p));
    for (int p : kFloats) twice.push_back(testing::zero_like(u_.at(p)));
    const Function jj = transformed([&] { return jvp(once); });
    std::string wrong = compare("jvp(jvp):", testing::run(jj, twice, in_order()), 16, exact_.eu, exact_.size_eu + exact_.size_e);
    if (!wrong.empty()) return wrong;

    Arguments back = before();
    for (int p : {kPX, kPZ, kPW, kPS, kPH, kPA}) back.push_back(e_.at(p));
    for (const Direction* c : {&c_, &c_dot_})
      for (int r : kResults) back.push_back(c->at(r));
    for (int k = 0; k < 2; ++k)
      for (int p : kGradients) back.push_back(no_gradient(p));
    const Function vj = transformed([&] { return vjp(once); });
    const Arguments r = testing::run(vj, back, in_order());
    double got = dot(c_.at(kPG), u_.at(kPG)) + dot(c_dot_.at(kPG), u_.at(kPG));
    std::size_t k = 0;
    for (int part = 0; part < 2; ++part)
      for (int p : kInOuts) got += dot(r.at(k++), u_.at(p));
    for (int part = 0; part < 2; ++part)
      for (int p : kGradients) got += dot(r.at(k++), u_.at(p));
    const double expected = along(c_, exact_.u) + along(c_dot_, exact_.eu) + along(c_dot_, exact_.u);
    return compare("vjp(jvp):", got, expected, size(c_, exact_.u) + size(c_dot_, exact_.eu) + size(c_dot_, exact_.u));
  }
};

Footprint footprint(const Program& p) {
  Arrays<Traced> in = converted<Traced>(inputs(p, threads_of(p, kThreads)));
  Footprint out;
  Host<Traced> host(p, in, &out);
  for (int step = 0; step < p.steps; ++step) host.run(threads_of(p, kThreads), step);
  return out;
}

}  // namespace

std::string check_derivatives(const Program& p, Report* report) {
  const testing::StripLength strips(p.seed / 7 % 2 ? 2 : 1 << 14);
  if (report) ++report->programs;
  try {
    const KeptCalls kept(p.keep_calls);
    const int unbounded = report ? report->unbounded : 0;
    const std::string wrong = Check(p, report).run();
    if (report && wrong.empty() && report->unbounded == unbounded) {
      const Footprint done = footprint(p);
      for (Mode m : {Mode::vjp, Mode::jvp, Mode::jvp_vjp, Mode::vjp_vjp}) report->coverage.add(m, done);
    }
    return wrong;
  } catch (const Refused& r) {
    if (report) ++report->refused, ++report->refusals[r.reason];
    return "";
  }
}

}  // namespace fluxion::fuzz
