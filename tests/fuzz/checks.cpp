#include "checks.h"

#include <fmt/format.h>

#include "capture.h"
#include "fluxion/pipeline.h"
#include "gradient_check.h"
#include "host.h"

namespace fluxion::fuzz {
namespace {

using testing::Arguments;
using testing::Data;

constexpr Pass kExactPasses[] = {{"canonical", "", canonical}, {"fold", "", fold}, {"forward_stores", "", forward_stores},
                                 {"cse", "", cse}, {"licm", "", licm}, {"dce", "", dce}};

/// Inputs for `threads` points. The same seed gives the same numbers for every element type.
Arrays<double> inputs(const Program& p, int threads) {
  std::mt19937_64 random(p.seed + 77);
  std::uniform_real_distribution<double> u(-1.5, 1.5);
  Arrays<double> in;
  const auto floats = [&](std::vector<double>& v, int n) { for (int i = 0; i < n; ++i) v.push_back(static_cast<float>(u(random))); };
  const auto ints = [&](std::vector<std::int32_t>& v, int n) {
    for (int i = 0; i < n; ++i) v.push_back(random() % 4 ? static_cast<std::int32_t>(random() % 16) - 6 : static_cast<std::int32_t>(random()));
  };
  floats(in.x, kReadLength);
  ints(in.p, kReadLength);
  in.y.assign(static_cast<std::size_t>(threads), 0);
  floats(in.z, 2 * threads);
  ints(in.q, 2 * threads);
  floats(in.w, kSharedLength);
  floats(in.g, kSums);
  in.a = static_cast<float>(u(random));
  in.m = static_cast<std::int32_t>(random() % 12) - 3;
  return in;
}

template <class To, class From>
Arrays<To> converted(const Arrays<From>& in) {
  Arrays<To> out;
  const auto floats = [](const std::vector<From>& from, std::vector<To>& to) { for (From v : from) to.push_back(static_cast<To>(v)); };
  floats(in.x, out.x), floats(in.y, out.y), floats(in.z, out.z), floats(in.w, out.w), floats(in.g, out.g);
  out.p = in.p, out.q = in.q, out.a = static_cast<To>(in.a), out.m = in.m;
  return out;
}

template <class T>
Data packed(const std::vector<T>& v) {
  Data d;
  d.element = dtype_of<T>;
  d.extent[0] = static_cast<std::int64_t>(v.size());
  d.resize();
  std::memcpy(d.bytes.data(), v.data(), d.bytes.size());
  return d;
}
template <class T>
Data scalar(T v) {
  Data d = packed(std::vector<T>{v});
  d.scalar = true;
  return d;
}
/// In the order of the parameters.
template <class T>
Arguments arguments(const Arrays<T>& in) {
  return {packed(in.x), packed(in.p), packed(in.y), packed(in.z), packed(in.q), packed(in.w), packed(in.g), scalar(in.a), scalar(in.m)};
}
/// What a kernel leaves behind, in the order in which run() gives it.
template <class T>
Arguments results(const Arrays<T>& out) {
  return {packed(out.y), packed(out.z), packed(out.q), packed(out.w), packed(out.g)};
}

std::string compare_bits(const char* what, const Arguments& expected, const Arguments& got) {
  constexpr const char* kResults[] = {"y", "z", "q", "w", "g"};
  for (std::size_t k = 0; k < expected.size(); ++k) {
    if (expected[k].bytes == got[k].bytes) continue;
    const DType t = expected[k].element.scalar();
    const std::size_t size = static_cast<std::size_t>(fluxion::size_of(t));
    for (std::size_t i = 0; i < expected[k].bytes.size(); i += size) {
      std::uint64_t a = 0, b = 0;
      std::memcpy(&a, expected[k].bytes.data() + i, size);
      std::memcpy(&b, got[k].bytes.data() + i, size);
      if (a == b) continue;
      const auto is_nan = [&](std::uint64_t bits) { return t == DType::f64 ? std::isnan(std::bit_cast<double>(bits)) : t == DType::f32 && std::isnan(std::bit_cast<float>(static_cast<std::uint32_t>(bits))); };
      if (is_nan(a) && is_nan(b)) continue;
      return fmt::format("{} {}[{}] is {} instead of {}", what, kResults[k], i / size, format_value(t, b), format_value(t, a));
    }
  }
  return "";
}

template <class T>
std::string check_values_as(const Program& p) {
  constexpr int kThreads = 5;
  const Arrays<T> in = converted<T>(inputs(p, kThreads));
  Arrays<T> out = in;
  Host<T>(p, out).run(kThreads);
  const std::shared_ptr<const Function> f = capture(p);
  std::string wrong = compare_bits("capture:", results(out), testing::run(*f, arguments(in), {{kThreads, 1, 1}}));
  if (!wrong.empty()) return wrong;
  Function g = *f;
  for (const Pass& pass : kExactPasses) {
    g = pass.run(g);
    verify(g);
    wrong = compare_bits(pass.name, results(out), testing::run(g, arguments(in), {{kThreads, 1, 1}}));
    if (!wrong.empty()) return wrong;
  }
  const Function reread = parse(print(g));
  return print(reread) == print(g) ? "" : "text: printing what was parsed differs";
}

double norm(const Data& d) { return std::sqrt(testing::dot(d, d)); }
bool finite(double v) { return std::isfinite(v); }

}  // namespace

std::string check_values(const Program& p) {
  return p.real == DType::f32 ? check_values_as<float>(p) : check_values_as<double>(p);
}

std::string check_derivatives(const Program& p) {
  constexpr int kThreads = 3;
  constexpr double kTolerance = 1e-8;
  const Arrays<double> in = inputs(p, kThreads);
  const Arguments primal = arguments(in);
  std::mt19937_64 random(p.seed + 5);

  // Forward. The direction is one random tangent for each float argument; an Out has none.
  Arguments tangents = {testing::random_adjoint(primal[kX], random), testing::zero_like(primal[kY]), testing::random_adjoint(primal[kZ], random),
                        testing::random_adjoint(primal[kW], random), testing::random_adjoint(primal[kG], random), testing::random_adjoint(primal[7], random)};
  Arrays<Dual> dual = converted<Dual>(in);
  const auto lift = [](std::vector<Dual>& to, const Data& t) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i].d = t.as<double>()[i];
  };
  lift(dual.x, tangents[0]), lift(dual.z, tangents[2]), lift(dual.w, tangents[3]), lift(dual.g, tangents[4]);
  dual.a.d = tangents[5].as<double>()[0];
  Host<Dual>(p, dual).run(kThreads);
  std::vector<Data> exact;  // tangents of y, z, w, g
  double total = 0;
  for (const std::vector<Dual>* v : {&dual.y, &dual.z, &dual.w, &dual.g}) {
    std::vector<double> d;
    for (const Dual& e : *v) d.push_back(e.d);
    exact.push_back(packed(d));
    total += norm(exact.back());
  }
  if (!finite(total) || total > 1e100) return "";  // nothing can be compared any more

  const std::shared_ptr<const Function> f = capture(p);
  Arguments forward = primal;
  forward.insert(forward.end(), tangents.begin(), tangents.end());
  const testing::RunOptions at{{kThreads, 1, 1}, 0}, shuffled{{kThreads, 1, 1}, p.seed + 1};
  const Function tangent_kernel = jvp(*f);
  verify(tangent_kernel);
  const Arguments lifted = testing::run(tangent_kernel, forward, at);
  for (std::size_t k = 0; k < exact.size(); ++k) {
    const double off = norm(testing::moved(exact[k], lifted.at(5 + k), -1));
    if (!(off <= kTolerance * (1e-3 + total))) return fmt::format("jvp: result {} is off by {} of {}", k, off, total);
  }

  // Reverse: <cotangent, J tangent> = <J^T cotangent, tangent>.
  Arguments cotangents;
  double expected = 0, size = 0;
  for (const Data& e : exact) {
    cotangents.push_back(testing::random_adjoint(e, random));
    expected += testing::dot(cotangents.back(), e);
    size += norm(cotangents.back()) * norm(e);
  }
  Arguments backward = {primal[kX], primal[kP], primal[kZ], primal[kQ], primal[kW], primal[7], primal[8]};
  backward.insert(backward.end(), cotangents.begin(), cotangents.end());
  backward.push_back(testing::zero_like(primal[kX]));
  backward.push_back(packed(std::vector<double>{0}));
  const Function adjoint = vjp(*f);
  verify(adjoint);
  for (const auto& order : {at, shuffled}) {
    const Arguments r = testing::run(adjoint, backward, order);  // cotangents of z and w, gradients of x and a
    const double got = testing::dot(r.at(0), tangents[2]) + testing::dot(r.at(1), tangents[3]) + testing::dot(r.at(2), tangents[0]) +
                       testing::dot(r.at(3), tangents[5]) + testing::dot(cotangents[3], tangents[4]);
    const double scale = 1e-3 + size + std::abs(got);
    if (!(std::abs(got - expected) <= kTolerance * scale)) return fmt::format("vjp: dot product {} instead of {}, size {}", got, expected, size);
  }
  return "";
}

std::string check_second_order(const Program& p) {
  constexpr int kThreads = 3;
  const Arguments primal = arguments(inputs(p, kThreads));
  const std::shared_ptr<const Function> f = capture(p);
  testing::CheckOptions options;
  options.domain = {kThreads, 1, 1};
  options.differences = false;
  options.seed = p.seed + 11;
  const auto check = [&](const char* what, const Function& d, const Arguments& a) -> std::string {
    const testing::Errors e = testing::check(d, a, options);
    if (!finite(e.jvp_dot) || std::abs(e.jvp_dot) > 1e100) return "";
    if (e.dots <= 1e-7 && e.order <= 1e-7) return "";
    return fmt::format("{} forward {} reverse {} (error {}, thread order {})", what, e.jvp_dot, e.vjp_dot, e.dots, e.order);
  };
  const std::string wrong = check("jvp-twice:", jvp(*f), testing::jvp_arguments(*f, primal, p.seed));
  if (!wrong.empty()) return wrong;
  // The reverse of a reverse that needs scratch is a matter of programs, which supply it.
  const Function program = testing::program_of(*f, primal, options.domain);
  return check("vjp-twice:", vjp(program), testing::vjp_arguments(program, primal, options.domain, p.seed));
}

namespace {

/// What testing::run gives, computed by compiled code.
Arguments run_native(const Function& f, const Arguments& arguments, int threads, Backend& backend, const CompileOptions& options) {
  Arguments all = testing::with_scratch(f, arguments);
  std::vector<ArrayArgument> arrays;
  std::vector<std::uint64_t> scalars;
  for (std::size_t k = 0; k < all.size(); ++k) {
    if (f.parameters[k].kind == Parameter::Kind::memory) {
      arrays.push_back({all[k].bytes.data(), all[k].extent});
      continue;
    }
    std::uint64_t bits = 0;
    std::memcpy(&bits, all[k].bytes.data(), all[k].bytes.size());
    scalars.push_back(bits);
  }
  FailureSlot failure;
  Launch launch;
  launch.domain = {threads, 1, 1};
  launch.arrays = arrays;
  launch.scalars = scalars;
  backend.compile(f, options)->run(launch, failure);
  failure.rethrow();
  testing::add_scratch(f, all);
  Arguments out;
  for (std::size_t k = 0; k < arguments.size(); ++k)
    if (f.parameters[k].kind == Parameter::Kind::memory && f.parameters[k].role != Role::in) out.push_back(all[k]);
  return out;
}

/// Sums over threads come in another order, so floats are compared up to rounding, relative to the whole array;
/// without `sums` up to flushed denormals only.
template <class T>
std::string compare_numbers(const char* what, const Arguments& expected, const Arguments& got, bool sums) {
  for (std::size_t k = 0; k < expected.size(); ++k) {
    const Data &e = expected[k], &g = got[k];
    if (!e.floats()) {
      if (e.bytes != g.bytes) return fmt::format("{} the integers of result {} differ", what, k);
      continue;
    }
    double largest = 0;
    for (std::int64_t i = 0; i < e.count(); ++i)
      if (finite(e.as<T>()[i])) largest = std::max(largest, std::abs(static_cast<double>(e.as<T>()[i])));
    const double room = static_cast<double>(std::numeric_limits<T>::min()) + (sums ? 1e4 * static_cast<double>(std::numeric_limits<T>::epsilon()) * (1e-3 + largest) : 0);
    for (std::int64_t i = 0; i < e.count(); ++i) {
      const double a = static_cast<double>(e.as<T>()[i]), b = static_cast<double>(g.as<T>()[i]);
      if (a == b || std::abs(a - b) <= room || (std::isnan(a) && std::isnan(b))) continue;
      return fmt::format("{} result {} [{}] is {} instead of {}", what, k, i, b, a);
    }
  }
  return "";
}

template <class T>
std::string check_native_as(const Program& p, Backend& backend, const CompileOptions& options) {
  constexpr int kThreads = 37;  // more than two vectors at every width, and a tail
  const Arguments in = arguments(converted<T>(inputs(p, kThreads)));
  const Function captured = run_passes(*capture(p), capture_pipeline()), f = lower(captured, "cpu");
  verify(f);
  Arguments expected = testing::run(f, in, {{kThreads, 1, 1}}), got = run_native(f, in, kThreads, backend, options);
  const Arguments sums = {expected[4]}, sums_got = {got[4]};
  expected.pop_back(), got.pop_back();
  std::string wrong = compare_numbers<T>("native:", expected, got, p.w_accumulates);
  if (wrong.empty()) wrong = compare_numbers<T>("native-sums:", sums, sums_got, true);
  if (!wrong.empty() || p.real != DType::f64 || p.seed % 8 != 1) return wrong;

  const Function adjoint = lower(run_passes(vjp(captured), capture_pipeline()), "cpu");
  const Arguments back = testing::vjp_arguments(captured, in, {kThreads, 1, 1}, p.seed);
  return compare_numbers<T>("native-vjp:", testing::run(adjoint, back, {{kThreads, 1, 1}}),
                            run_native(adjoint, back, kThreads, backend, options), true);
}

}  // namespace

std::string check_native(const Program& p, Backend& backend, const CompileOptions& options) {
  return p.real == DType::f32 ? check_native_as<float>(p, backend, options) : check_native_as<double>(p, backend, options);
}

}  // namespace fluxion::fuzz
