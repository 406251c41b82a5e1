// Every function of the complex type, and arithmetic on half precision arrays, in jvp, vjp and both kinds of second order, in the
// evaluator and on the devices: a row each.
#include <complex>

#include "torture.h"

using namespace fluxion::testing;
namespace fx = fluxion;

namespace {

using Z = fx::Complex<fx::Double>;
using C = std::complex<double>;
constexpr std::int64_t n = 11;
const fx::LayoutId kComplex = fx::detail::element_of<fx::Complex<double>>();

struct ComplexRow {
  const char* name;
  Z (*value)(Z, Z);
  C (*meaning)(C, C);
};
const ComplexRow kComplexRows[] = {
    {"minus", [](Z a, Z) { return -a; }, [](C a, C) { return -a; }},
    {"sum", [](Z a, Z b) { return a + b; }, [](C a, C b) { return a + b; }},
    {"difference", [](Z a, Z b) { return a - b; }, [](C a, C b) { return a - b; }},
    {"product", [](Z a, Z b) { return a * b; }, [](C a, C b) { return a * b; }},
    {"quotient", [](Z a, Z b) { return a / b; }, [](C a, C b) { return a / b; }},
    {"real operands", [](Z a, Z b) { return (2.0 - a) * b.re / (a.im + 3.0 * b) + 1.5; },
     [](C a, C b) { return (2.0 - a) * b.real() / (a.imag() + 3.0 * b) + 1.5; }},
    {"host operands", [](Z a, Z b) { return fx::Complex<double>{0.5, -1.5} * a + b * fx::Complex<double>{2, 1}; },
     [](C a, C b) { return C{0.5, -1.5} * a + b * C{2, 1}; }},
    {"assignments",
     [](Z a, Z b) {
       Z s = a;
       s += b;
       s *= a;
       s -= b * b;
       s = s * s;
       return s;
     },
     [](C a, C b) {
       C s = a;
       s += b;
       s *= a;
       s -= b * b;
       return s * s;
     }},
    {"conj", [](Z a, Z b) { return fx::conj(a) * b; }, [](C a, C b) { return std::conj(a) * b; }},
    {"norm2", [](Z a, Z b) { return fx::norm2(a) * b; }, [](C a, C b) { return std::norm(a) * b; }},
    {"abs", [](Z a, Z b) { return fx::abs(a) * b + fx::abs(b); }, [](C a, C b) { return std::abs(a) * b + std::abs(b); }},
    {"arg", [](Z a, Z b) { return fx::arg(a) * b; }, [](C a, C b) { return std::arg(a) * b; }},
    {"exp", [](Z a, Z b) { return fx::exp(a * b); }, [](C a, C b) { return std::exp(a * b); }},
    {"log", [](Z a, Z b) { return fx::log(a) * b + fx::log(-b); }, [](C a, C b) { return std::log(a) * b + std::log(-b); }},
    {"sqrt", [](Z a, Z b) { return fx::sqrt(a) * b + fx::sqrt(-b); }, [](C a, C b) { return std::sqrt(a) * b + std::sqrt(-b); }},
    {"powers of the host",
     [](Z a, Z b) { return fx::pow(a, 5) + fx::pow(b, -3) * fx::pow(a, 0) + fx::pow(a, 2.5) * fx::pow(b, fx::Complex<double>{0.5, -1}); },
     [](C a, C b) { return std::pow(a, 5) + std::pow(b, -3) + std::pow(a, 2.5) * std::pow(b, C{0.5, -1}); }},
    {"pow", [](Z a, Z b) { return fx::pow(a, b) + fx::pow(b, a.im); }, [](C a, C b) { return std::pow(a, b) + std::pow(b, a.imag()); }},
    {"quotients",
     [](Z a, Z b) {
       Z s = a;
       s /= b;
       s /= 2.0;
       s = 1.0 / s;
       s /= s + a;
       return s;
     },
     [](C a, C b) {
       C s = a;
       s /= b;
       s /= 2.0;
       s = 1.0 / s;
       return s / (s + a);
     }},
    {"parts", [](Z a, Z b) { return Z(a.im * b.re, fx::sin(a.re) * b.im); },
     [](C a, C b) { return C(a.imag() * b.real(), std::sin(a.real()) * b.imag()); }},
    {"loop",
     [](Z a, Z b) {
       Z z = a;
       for ([[maybe_unused]] auto t : fx::range(3)) z = z * z * 0.5 + b;
       return z;
     },
     [](C a, C b) {
       C z = a;
       for (int t = 0; t < 3; ++t) z = z * z * 0.5 + b;
       return z;
     }},
};

}  // namespace

TEST_CASE("every function of complex numbers has right derivatives to the second order", "[jit][complex]") {
  const ComplexRow& row = kComplexRows[GENERATE(range(0, static_cast<int>(std::size(kComplexRows))))];
  INFO(row.name);
  const auto k = fx::kernel(row.name, [&](fx::In<fx::Complex<double>> a, fx::InOut<fx::Complex<double>> b) {
    const auto i = fx::index();
    b[i] = row.value(a[i], b[i]);
  });
  const Arguments x{floats({n, 1, 1}, 1, 0.3, 1.4, kComplex), floats({n, 1, 1}, 1, 0.5, 1.2, kComplex)};
  const Arguments y = fluxion::testing::run(*k.function(), x, {{n, 1, 1}, 0});
  for (std::int64_t i = 0; i < n; ++i) {
    const auto at = [&](const Data& d) { return C(d.as<double>()[2 * i], d.as<double>()[2 * i + 1]); };
    const C expected = row.meaning(at(x[0]), at(x[1]));
    CHECK(std::abs(at(y[0]) - expected) < 1e-12 * (1 + std::abs(expected)));
  }
  torture(k, x, {{n, 1, 1}, true, true, 1e-4});
}

TEST_CASE("at zero complex numbers have right derivatives or NaN and never a number that is wrong", "[jit][complex]") {
  const Arguments zero{data({1, 1, 1}, 1, kComplex), data({1, 1, 1}, 1, kComplex)};
  const auto derivative = [&](Z (*value)(Z)) {
    const auto k =
        fx::kernel("zero", [&](fx::In<fx::Complex<double>> a, fx::Out<fx::Complex<double>> b) { b[fx::index()] = value(a[fx::index()]); });
    const auto j = fx::jvp(k);
    Arguments x = zero;
    x.push_back(data({1, 1, 1}, 1, kComplex));
    x.back().as<double>()[0] = 0.6, x.back().as<double>()[1] = 0.8;
    x.push_back(zero[1]);
    const Data forward = run_on(fx::Device::best(), j.handle(), x, {1, 1, 1}).back();
    const Data backward = run_on(fx::Device::best(), k.handle().vjp({}), {zero[0], x[2], zero[0]}, {1, 1, 1}).back();
    // What w conj(f') is of an analytic function.
    const C f(forward.as<double>()[0], forward.as<double>()[1]), r(backward.as<double>()[0], backward.as<double>()[1]);
    return std::pair(f / C(0.6, 0.8), std::conj(r / C(0.6, 0.8)));
  };
  const auto is = [&](Z (*value)(Z), C expected) {
    const auto [f, r] = derivative(value);
    CHECK(std::abs(f - expected) < 1e-15);
    CHECK(std::abs(r - expected) < 1e-15);
  };
  const auto none = [&](Z (*value)(Z)) {
    const auto [f, r] = derivative(value);
    CHECK(!std::isfinite(std::abs(f)));
    CHECK(!std::isfinite(std::abs(r)));
  };
  is([](Z a) { return fx::pow(a, 1); }, 1);
  is([](Z a) { return fx::pow(a, 0); }, 0);
  is([](Z a) { return fx::pow(a + 2.0, 2); }, 4);
  is([](Z a) { return fx::exp(a) * a; }, 1);
  none([](Z a) { return fx::sqrt(a); });
  none([](Z a) { return fx::log(a); });
  none([](Z a) { return fx::pow(a, 1.0); });
  none([](Z a) { return fx::pow(a, fx::Complex<double>{1, 0}); });
  none([](Z a) { return fx::pow(a, -1); });
  none([](Z a) { return 1.0 / a; });
}

TEST_CASE("complex numbers are accumulated and kept in local and shared memory with right derivatives", "[jit][complex]") {
  const auto k = fx::kernel("keeps", fx::groups(4),
                            [](fx::In<fx::Complex<double>> a, fx::Accum<fx::Complex<double>> sum, fx::Out<fx::Complex<double>> out) {
                              const auto i = fx::index();
                              fx::Local<fx::Complex<double>, 3> held;
                              fx::Shared<fx::Complex<double>, 4> all;
                              for (auto t : fx::range(3)) held[t] = Z(a[i]) * Z(fx::cast<double>(t) + 1.0, 0.5);
                              all[fx::thread_index()] = Z(held[2]) * Z(held[1]);
                              fx::barrier();
                              out[i] = Z(all[3 - fx::thread_index()]) * Z(held[0]);
                              sum[i % 2] += Z(fx::norm2(Z(held[1])), Z(held[2]).im);
                              sum[1] -= Z(a[i]) * 0.5;
                            });
  torture(k, {floats({8, 1, 1}, 1, 0.3, 1.4, kComplex), floats({2, 1, 1}, 1, 0, 1, kComplex), floats({8, 1, 1}, 1, 0, 1, kComplex)},
          {{8, 1, 1}});
}

// ---- half precision

namespace {

struct HalfRow {
  const char* name;
  fx::Float (*value)(fx::Float, fx::Float);
};
const HalfRow kHalfRows[] = {
    {"arithmetic", [](fx::Float a, fx::Float b) { return a * b + a / b - (a - b) * 0.5f; }},
    {"roots", [](fx::Float a, fx::Float b) { return fx::sqrt(a) * fx::cbrt(b) + fx::hypot(a, b); }},
    {"exponentials", [](fx::Float a, fx::Float b) { return fx::exp(a) * fx::log(b) + fx::pow(a, b) + fx::tanh(a); }},
    {"trigonometry", [](fx::Float a, fx::Float b) { return fx::sin(a) * fx::cos(b) + fx::atan2(a, b); }},
    {"choices", [](fx::Float a, fx::Float b) { return fx::max(a, b) * a + fx::min(a * a, b) + fx::select(a > b, a * b, fx::abs(b)); }},
    {"a loop",
     [](fx::Float a, fx::Float b) {
       fx::Float s = a;
       for ([[maybe_unused]] auto t : fx::range(4)) s = s * b + a;
       return s;
     }},
    {"a while",
     [](fx::Float a, fx::Float b) {
       fx::Float s = a;
       for (auto _ : fx::while_([&] { return s < 3.f; })) s = s * 1.5f + b;
       return s;
     }},
    {"stored halves",
     [](fx::Float a, fx::Float b) {
       fx::Local<fx::half, 2> h;
       h[0] = a * 2.f;
       h[1] = b;
       return fx::Float(h[0]) * fx::Float(h[1]);
     }},
};
/// `d` in f32, number by number.
Data single(const Data& d) {
  if (d.element != fx::LayoutId(fx::DType::f16) && d.element != fx::LayoutId(fx::DType::bf16)) return d;
  Data out = data(d.extent, d.rank, fx::DType::f32);
  for (std::int64_t i = 0; i < d.count(); ++i)
    out.set(fx::DType::f32, static_cast<std::size_t>(4 * i), d.get(d.element.scalar(), static_cast<std::size_t>(2 * i)));
  return out;
}
Arguments single(Arguments a) {
  for (Data& d : a) d = single(d);
  return a;
}
/// Both kernels in the evaluator and on the CPU, on the same numbers.
void equal(const fx::detail::KernelHandle& halves, const fx::detail::KernelHandle& floats, const Arguments& a, const char* what) {
  const Arguments wanted = fluxion::testing::run(*floats.function(), single(a), {{n, 1, 1}, 0});
  const Arguments evaluated = fluxion::testing::run(*halves.function(), a, {{n, 1, 1}, 0}),
                  native = run_on(fx::Device::best(), halves, a, {n, 1, 1});
  INFO(what);
  for (std::size_t r = 0; r < wanted.size(); ++r) {
    CHECK(distance(wanted[r], single(evaluated[r])) < 2e-6);
    CHECK(distance(wanted[r], single(native[r])) < 1e-5);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("derivatives of arithmetic on half precision arrays are those of the same numbers in f32", "[jit][half]", fx::half,
                   fx::bfloat16) {
  const HalfRow& row = kHalfRows[GENERATE(range(0, static_cast<int>(std::size(kHalfRows))))];
  INFO(row.name);
  const auto halves = fx::kernel("halves", [&](fx::In<TestType> a, fx::In<fx::half> b, fx::Out<float> y, fx::Accum<float> e) {
    const auto i = fx::index();
    const fx::Float r = row.value(a[i], b[(i * 3) % 5]);
    y[i] = r;
    e[0] += r * fx::Float(a[i]);
  });
  const auto floats32 = fx::kernel("floats", [&](fx::In<float> a, fx::In<float> b, fx::Out<float> y, fx::Accum<float> e) {
    const auto i = fx::index();
    const fx::Float r = row.value(a[i], b[(i * 3) % 5]);
    y[i] = r;
    e[0] += r * a[i];
  });
  const Arguments x{floats({n, 1, 1}, 1, 0.4, 1.3, fx::dtype_of<TestType>), floats({5, 1, 1}, 1, 0.5, 1.1, fx::DType::f16),
                    floats({n, 1, 1}, 1, 0, 1, fx::DType::f32), floats({1, 1, 1}, 1, 0, 1, fx::DType::f32)};
  const auto &h = halves.handle(), &f = floats32.handle();
  const auto hv = h.vjp({}), fv = f.vjp({});
  const Arguments jx = jvp_arguments(*h.function(), x, 3), vx = vjp_arguments(*h.function(), x, {n, 1, 1}, 4);
  equal(h, f, x, "primal");
  equal(h.jvp(), f.jvp(), jx, "jvp");
  equal(hv, fv, vx, "vjp");
  equal(hv.jvp(), fv.jvp(), jvp_arguments(*hv.function(), vx, 5), "jvp(vjp)");
  equal(hv.vjp({}), fv.vjp({}), vjp_arguments(*hv.function(), vx, {n, 1, 1}, 6), "vjp(vjp)");
  equal(h.jvp().vjp({}), f.jvp().vjp({}), vjp_arguments(*h.jvp().function(), jx, {n, 1, 1}, 7), "vjp(jvp)");
}

TEMPLATE_TEST_CASE("derivatives in half precision inputs are differences between neighbours that are exact", "[jit][half]", fx::half,
                   fx::bfloat16) {
  // Steps of a power of two from multiples of it, so that every input is a half; the rest is in double.
  const auto k = fx::kernel("exact", [](fx::In<TestType> a, fx::In<TestType> b, fx::Out<double> y) {
    const auto i = fx::index();
    const fx::Float re = a[i], im = b[i];
    const Z z(re, im), w = fx::exp(z) * fx::conj(z) + z / (z + 2.0) + fx::pow(z, 2.5) * fx::abs(z);
    y[i] = w.re * w.im + fx::cbrt(fx::cast<double>(re));
  });
  const fx::Device dev = fx::Device::best();
  constexpr double h = 1.0 / 64;
  std::vector<TestType> a, b;
  for (int j = 0; j < 12; ++j)
    a.push_back(TestType(0.5f + static_cast<float>(j) / 32)), b.push_back(TestType(0.9375f - static_cast<float>(j) / 64));
  const auto value = [&](double da, double db) {
    std::vector<TestType> x = a, z = b;
    for (TestType& v : x) v = TestType(static_cast<float>(v) + static_cast<float>(da));
    for (TestType& v : z) v = TestType(static_cast<float>(v) + static_cast<float>(db));
    const auto y = dev.zeros<double>(12);
    k.over(12)(dev.upload(x), dev.upload(z), y);
    return y.host();
  };
  const auto ga = dev.zeros<float>(12), gb = dev.zeros<float>(12);
  fx::vjp(k).over(12)(dev.upload(a), dev.upload(b), dev.upload(std::vector<double>(12, 1.0)), ga, gb);
  const auto ha = ga.host(), hb = gb.host();
  const auto a1 = value(h, 0), a2 = value(-h, 0), a3 = value(2 * h, 0), a4 = value(-2 * h, 0);
  const auto b1 = value(0, h), b2 = value(0, -h), b3 = value(0, 2 * h), b4 = value(0, -2 * h);
  for (std::size_t j = 0; j < 12; ++j) {
    CHECK(static_cast<double>(ha[j]) == Approx((8 * (a1[j] - a2[j]) - (a3[j] - a4[j])) / (12 * h)).epsilon(3e-5));
    CHECK(static_cast<double>(hb[j]) == Approx((8 * (b1[j] - b2[j]) - (b3[j] - b4[j])) / (12 * h)).epsilon(3e-5));
  }
}

TEMPLATE_TEST_CASE("half precision arrays that are written have consistent derivatives in both modes", "[jit][half]", fx::half,
                   fx::bfloat16) {
  // What is stored is rounded, so jvp and vjp are held to each other by dot products.
  const auto k = fx::kernel("writes", [](fx::In<TestType> a, fx::InOut<TestType> b, fx::Out<TestType> c, fx::Accum<float> e) {
    const auto i = fx::index();
    b[i] = fx::Float(b[i]) * fx::Float(a[i]) + 0.5f;
    c[i] = fx::sin(fx::Float(b[i])) * fx::Float(a[i]);
    b[i] = fx::Float(b[i]) * fx::Float(b[i]);
    e[0] += fx::Float(b[i]);
  });
  const fx::DType t = fx::dtype_of<TestType>;
  const Arguments x{floats({n, 1, 1}, 1, 0.4, 1.3, t), floats({n, 1, 1}, 1, 0.5, 1.1, t), floats({n, 1, 1}, 1, 0, 1, t),
                    floats({1, 1, 1}, 1, 0, 1, fx::DType::f32)};
  CheckOptions o;
  o.domain = {n, 1, 1};
  o.differences = false;  // of rounded numbers there are none
  const auto consistent = [&](const fx::detail::KernelHandle& h, const Arguments& a) {
    const Errors e = fluxion::testing::check(*h.function(), a, o);
    CHECK(e.dots < 1e-5);
    CHECK(e.order < 1e-5);
    const Arguments wanted = fluxion::testing::run(*h.function(), a, {{n, 1, 1}, 0}), native = run_on(fx::Device::best(), h, a, {n, 1, 1});
    for (std::size_t r = 0; r < wanted.size(); ++r) CHECK(distance(single(wanted[r]), single(native[r])) < 1e-2);
  };
  const auto &h = k.handle(), v = h.vjp({});
  const Arguments jx = jvp_arguments(*h.function(), x, 3), vx = vjp_arguments(*h.function(), x, {n, 1, 1}, 4);
  consistent(h, x);
  consistent(h.jvp(), jx);
  consistent(v, vx);
  const fx::Function p = program_of(*h.function(), x, {n, 1, 1});
  CHECK(fluxion::testing::check(p, x, o).dots < 1e-5);
}

TEST_CASE("values of half precision in a kernel are computed with in f32 and have its derivatives", "[jit][half]") {
  const auto halves = fx::kernel("halves", [](fx::In<fx::half> a, fx::In<fx::half> b, fx::Out<float> y, fx::Accum<float> e) {
    const auto i = fx::index();
    const fx::Half h = a[i], g = b[i % 5];
    fx::Float s = h * g + fx::sin(h) / g;
    fx::if_(h > g, [&] { s = s * h; });
    y[i] = s - fx::pow(h, g);
    e[0] += fx::exp(h) * h;
  });
  const auto floats32 = fx::kernel("floats", [](fx::In<float> a, fx::In<float> b, fx::Out<float> y, fx::Accum<float> e) {
    const auto i = fx::index();
    const fx::Float h = a[i], g = b[i % 5];
    fx::Float s = h * g + fx::sin(h) / g;
    fx::if_(h > g, [&] { s = s * h; });
    y[i] = s - fx::pow(h, g);
    e[0] += fx::exp(h) * h;
  });
  const Arguments x{floats({n, 1, 1}, 1, 0.4, 1.3, fx::DType::f16), floats({5, 1, 1}, 1, 0.5, 1.1, fx::DType::f16),
                    floats({n, 1, 1}, 1, 0, 1, fx::DType::f32), floats({1, 1, 1}, 1, 0, 1, fx::DType::f32)};
  const auto &h = halves.handle(), &f = floats32.handle();
  const auto hv = h.vjp({}), fv = f.vjp({});
  const Arguments vx = vjp_arguments(*h.function(), x, {n, 1, 1}, 4);
  equal(h, f, x, "primal");
  equal(h.jvp(), f.jvp(), jvp_arguments(*h.function(), x, 3), "jvp");
  equal(hv, fv, vx, "vjp");
  equal(hv.vjp({}), fv.vjp({}), vjp_arguments(*hv.function(), vx, {n, 1, 1}, 6), "vjp(vjp)");
}

TEST_CASE("complex numbers of half precision have no derivative and say so with the line", "[jit][half][complex]") {
  const int line = __LINE__ + 1;
  const auto k = fx::kernel("pairs", [](fx::In<fx::Complex<fx::half>> a, fx::Out<float> b) {
    const auto i = fx::index();
    b[i] = fx::Float(a[i].re) * fx::Float(a[i].im);
  });
  const std::string at = "complex_half.cpp:" + std::to_string(line);
  CHECK_THROWS_WITH(fx::vjp(k), Catch::Contains(at) && Catch::Contains("{f16, f16} with half-precision members cannot be differentiated"));
  CHECK_THROWS_WITH(fx::jvp(k), Catch::Contains(at) && Catch::Contains("{f16, f16} with half-precision members cannot be differentiated"));
}

TEST_CASE("the gradient of a real loss of a complex number is its derivative in both parts", "[jit][complex]") {
  const fx::Device dev = GENERATE(fx::Device::best(), fx::Device::reference());
  const auto loss = fx::kernel("loss", [](fx::In<fx::Complex<float>> a, fx::Accum<float> s) {
    const fx::Complex<fx::Float> z = a[fx::index()];
    s[0] += fx::norm2(z * z) + fx::abs(z) + 3.f * fx::conj(z).im;
  });
  const auto g = dev.zeros<fx::Complex<float>>(1);
  fx::vjp(loss).over(1)(dev.upload(std::vector<fx::Complex<float>>{{3, 4}}), dev.upload({1.f}), g);
  // |z|^4 + |z| - 3 im z: 4 |z|^2 z + z / |z| - 3 i
  const fx::Complex<float> r = g.host()[0];
  CHECK(r.re == Approx(300.6));
  CHECK(r.im == Approx(397.8));
}
