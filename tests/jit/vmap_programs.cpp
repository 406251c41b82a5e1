// A table of programs, each as a batch against a loop over the batch on the host: values, gradients of the batch and a batch of
// gradients, tangents, and second orders inside of other programs. The rules of the IR are checked on the way.
#include <catch2/catch.hpp>

#include <cmath>
#include <functional>

#include "fluxion/fluxion.h"
#include "inputs.h"

namespace fx = fluxion;
using fluxion::testing::Debug;
using fluxion::testing::random_numbers;

namespace {

using B = fx::Buffer<double>;
using B2 = fx::Buffer<double, 2>;
using Number = fx::Double;
using Numbers = std::vector<double>;
constexpr int kN = 4, kBatch = 3;

/// Everything is a function of a batched array, a shared one, a batched number and a shared one.
using Body = std::function<B(B, B, Number, Number)>;
struct Row {
  const char* what;
  Body body;
  bool decides = false;   // d decides trips or branches
  bool matrices = false;  // has arrays of two axes
};

const auto step = fx::kernel("step", [](fx::InOut<double> x, Number c) {
  auto i = fx::index();
  x[i] = fx::sin(x[i]) + c * x[i];
});
const auto scaled = fx::kernel("scaled", [](fx::InOut<double> x, fx::In<double> a) {
  auto i = fx::index();
  x[i] *= a[i];
});
const auto gather = fx::kernel("gather", [](fx::In<double> x, fx::In<double> w, fx::Accum<double> e, Number c) {
  auto i = fx::index();
  e[i % 2] += c * x[i] * w[(i + 1) % kN];
});

/// x with each element multiplied, in a new array.
B times(const B& x, Number s) {
  static const auto k = fx::kernel("times", [](fx::InOut<double> x, Number s) { x[fx::index()] *= s; });
  auto y = fx::copy(x);
  k(y, s);
  return y;
}

/// A row whose launches take a number that is made of a batched and a shared one.
Row number(const char* what, std::function<Number(Number, Number)> f) {
  return {what, [f](B a, B, Number c, Number d) {
            auto y = fx::copy(a);
            step.over(kN)(y, f(c, d));
            return y;
          }};
}

auto program_of(const Body& f) {
  return fx::program("p", [f](B a, B b, Number c, Number d) { return f(a, b, c, d); });
}
void append(Numbers& to, const Numbers& v) { to.insert(to.end(), v.begin(), v.end()); }
void add(Numbers& to, const Numbers& v) {
  to.resize(v.size());
  for (std::size_t k = 0; k < v.size(); ++k) to[k] += v[k];
}
void same(const char* how, const Numbers& is, const Numbers& should) {
  INFO(how);
  REQUIRE(is.size() == should.size());
  for (std::size_t k = 0; k < is.size(); ++k) CHECK(is[k] == Approx(should[k]).epsilon(1e-11).margin(1e-13));
}
B squares(const B& a, const B& b) { return fx::sum(fx::square(a)) + fx::sum(fx::square(b)); }

/// The second order: the slopes of sum(p^2) squared.
auto slopes_of(const Body& f) {
  auto energy = fx::program("energy", [p = program_of(f)](B a, B b, Number c, Number d) { return fx::sum(fx::square(p(a, b, c, d))); });
  return fx::program("slopes", [g = fx::value_and_grad(energy, fx::wrt<0, 2>)](B a, B b, Number c, Number d) {
    auto [e, ga, gc] = g(a, b, c, d);
    return squares(ga, gc);
  });
}

void agrees(const Row& row, const fx::Device& dev) {
  INFO(row.what << " on " << dev.name());
  const Debug debug("verify");
  const auto p = program_of(row.body);
  const Numbers as = random_numbers(kBatch * kN, 5, 0.3, 1.7), cs{0.6, 1.3, 1.6}, bs = random_numbers(kN, 7, 0.3, 1.7);
  const double d = 1.2;
  const auto part = [](const Numbers& all, int k, std::size_t n) {
    const auto from = all.begin() + static_cast<std::ptrdiff_t>(n) * k;
    return Numbers(from, from + static_cast<std::ptrdiff_t>(n));
  };
  const B b = dev.upload(bs), c = dev.upload(cs);
  const B2 a = dev.upload(as, kBatch, kN);

  // One after the other.
  Numbers values, ga, gb, gc, gd, gb_sum, gd_sum, tangents;
  std::size_t n = 0;
  const auto q = slopes_of(row.body);
  Numbers second, sa, sb, sc, sd;
  Numbers w;
  for (int k = 0; k < kBatch; ++k) {
    const B one = dev.upload(part(as, k, kN));
    const double ck = cs[static_cast<std::size_t>(k)];
    const Numbers y = p(one, b, ck, d).host();
    append(values, y);
    n = y.size();
    if (w.empty()) w = random_numbers(kBatch * n, 9, -1, 1);
    const auto [xa, xb, xc, xd] = fx::vjp(p)(one, b, ck, d, dev.upload(part(w, k, n)));
    append(ga, xa.host()), append(gb, xb.host()), append(gc, xc.host()), append(gd, xd.host());
    add(gb_sum, xb.host()), add(gd_sum, xd.host());
    const auto [v, t] = fx::jvp(p)(one, b, ck, d, dev.upload(part(as, k, kN)), b, 1.0, 0.5);
    append(tangents, t.host());
    const auto [e, ya, yb, yc, yd] = fx::value_and_grad(q)(one, b, ck, d);
    append(second, e.host()), append(sa, ya.host()), append(sc, yc.host());
    add(sb, yb.host()), add(sd, yd.host());
  }

  constexpr auto shared = fx::unbatched<1, 3>;
  const auto many = fx::vmap(p, shared);
  const B2 bw = dev.upload(w, kBatch, static_cast<int>(n));
  same("values", many(a, b, c, d).host(), values);
  {
    const auto [xa, xb, xc, xd] = fx::vjp(many)(a, b, c, d, bw);
    same("gradient of the batch by a", xa.host(), ga);
    same("gradient of the batch by b", xb.host(), gb_sum);
    same("gradient of the batch by c", xc.host(), gc);
    same("gradient of the batch by d", xd.host(), gd_sum);
  }
  {
    const auto [xa, xb, xc, xd] = fx::vmap(fx::vjp(p), shared)(a, b, c, d, bw);
    same("batch of gradients by a", xa.host(), ga);
    same("batch of gradients by b", xb.host(), gb);
    same("batch of gradients by c", xc.host(), gc);
    same("batch of gradients by d", xd.host(), gd);
  }
  {
    const auto [v, t] = fx::jvp(many)(a, b, c, d, a, b, dev.full<double>(1, kBatch), 0.5);
    same("tangents of the batch", t.host(), tangents);
    const auto [v2, t2] = fx::vmap(fx::jvp(p), fx::unbatched<1, 3, 5, 6, 7>)(a, b, c, d, a, b, 1.0, 0.5);
    same("batch of tangents", t2.host(), tangents);
    same("values beside them", v2.host(), values);
  }
  {
    auto total = fx::program("total", [m = fx::vmap(q, shared)](B2 a, B b, B c, Number d) { return fx::sum(m(a, b, c, d)); });
    const auto [e, ya, yb, yc, yd] = fx::value_and_grad(total)(a, b, c, d);
    double sum = 0;
    for (const double x : second) sum += x;
    same("value inside a program", e.host(), {sum});
    same("second order of a", ya.host(), sa);
    same("second order of b", yb.host(), sb);
    same("second order of c", yc.host(), sc);
    same("second order of d", yd.host(), sd);
  }
  {
    // The batch inside of both derivatives.
    auto energy = fx::program("energy", [many](B2 a, B b, B c, Number d) { return fx::sum(fx::square(many(a, b, c, d))); });
    auto total = fx::program("total", [g = fx::value_and_grad(energy, fx::wrt<0, 2>)](B2 a, B b, B c, Number d) {
      auto [e, ga, gc] = g(a, b, c, d);
      return B(fx::sum(fx::square(ga)) + fx::sum(fx::square(gc)));
    });
    const auto [e, ya, yb, yc, yd] = fx::value_and_grad(total)(a, b, c, d);
    same("second order inside out by a", ya.host(), sa);
    same("second order inside out by b", yb.host(), sb);
    same("second order inside out by c", yc.host(), sc);
    same("second order inside out by d", yd.host(), sd);
  }
}

std::vector<Row> arithmetic() {
  auto settles = fx::fn("settles", [](Number x) {
    Number s = x;
    for ([[maybe_unused]] auto t : fx::range(20)) s = 0.5 * fx::sin(s) + x;
    return s;
  });
  auto mixes = fx::fn("mixes", [](Number x, Number y) { return fx::sin(x) * y - x / y; });
  return {
      number("c * d", [](Number c, Number d) { return c * d; }),
      number("d * c", [](Number c, Number d) { return d * c; }),
      number("1 - c", [](Number c, Number) { return 1.0 - c; }),
      number("c / d", [](Number c, Number d) { return c / d; }),
      number("d / c", [](Number c, Number d) { return d / c; }),
      number("max and min", [](Number c, Number d) { return fx::max(d, c) + fx::min(d, c) * c + fx::max(c, d); }),
      number("max of 0", [](Number c, Number d) { return fx::max(0.0, c) * d + fx::clamp(c, 0.7, 1.5); }),
      number("pow", [](Number c, Number d) { return fx::pow(c, d) + fx::pow(d, c) + fx::pow(c, 3.0); }),
      number("fma", [](Number c, Number d) { return fx::fma(d, c, d) + fx::fma(d, d, c) + fx::fma(c, d, d); }),
      number("a batched condition of shared numbers", [](Number c, Number d) { return fx::select(c > 1.5, d, d * d); }),
      number("a shared condition", [](Number c, Number d) { return fx::select(d > 1.5, c, d) + fx::select(d > 1.1, d, c); }),
      number("a batched condition of both", [](Number c, Number d) { return fx::select(1.5 > c, d, c) * d; }),
      number("a batched condition of constants", [](Number c, Number) { return c * fx::select(1.5 > c, 10.0, 20.0); }),
      number("bools", [](Number c, Number d) { return fx::select((c > 1.0 && c < d) || !(d < 1.5), c, 2.0); }),
      number("hypot and atan2", [](Number c, Number d) { return fx::hypot(d, c) + fx::atan2(d, c) + fx::atan2(c, d); }),
      number("a chain", [](Number c, Number d) { return d * (1.0 - d * c) * (2.0 / (d - 3.0 * c)); }),
      number("whole numbers",
             [](Number c, Number d) {
               fx::Int n = fx::cast<int>(c * 3.0), m = fx::cast<int>(d * 3.0);
               return c * fx::cast<double>((n * 2 + 1) % m + (m & n));
             }),
      number("floor and sign", [](Number c, Number d) { return d * fx::floor(c * 2.0) + fx::abs(1.0 - c); }),
      number("stop_grad", [](Number c, Number d) { return fx::stop_grad(c * d) * d + c; }),
      number("a function with a loop", [settles](Number c, Number d) { return settles(settles(c)) + settles(c * d); }),
      number("a function of both", [mixes](Number c, Number d) { return mixes(d, c) + mixes(c, d) + mixes(d, d); }),
      number("a function's derivative",
             [g = fx::grad(mixes)](Number c, Number d) {
               auto [x, y] = g(d, c);
               return x * y;
             }),
  };
}

std::vector<Row> structures() {
  auto inner = fx::program("inner", [](B x, Number s) {
    auto y = fx::copy(x);
    for (auto t : fx::range(2)) step.over(kN)(y, s * fx::cast<double>(t + 1));
    return std::tuple(y, times(fx::sum(y), s));
  });
  auto product = fx::program("product", [](B x, B y) { return fx::sum(x * y * x); });
  return {
      {"array arithmetic", [](B a, B b, Number, Number) { return B(a * b - b / a + (1.0 - a) * b); }},
      {"the parameter itself", [](B a, B, Number, Number) { return a; }},
      {"what all share", [](B, B b, Number, Number d) { return times(b * b, d); }},
      {"a shared array becomes batched in a loop",
       [](B a, B b, Number, Number) {
         auto y = fx::copy(b);
         for ([[maybe_unused]] auto t : fx::range(3)) scaled.over(kN)(y, a);
         return B(y + a);
       }},
      {"a shared array becomes batched in an arm of a loop and is swapped",
       [](B a, B b, Number, Number) {
         auto y = fx::copy(b), z = fx::copy(b);
         for (auto t : fx::range(4)) {
           fx::if_(t == 1, [&] { y *= a; });
           fx::swap(y, z);
           z += y * 0.3;
         }
         return B(y + z);
       }},
      {"zeros become batched",
       [](B a, B b, Number, Number) {
         auto y = fx::zeros_like(b);
         auto s = fx::zeros<double>(1);
         for (auto t : fx::range(3)) {
           y += b;
           fx::if_(t == 2, [&] { y *= a; });
           s += fx::sum(y);
         }
         return s;
       }},
      {"a batched number times the counter",
       [](B a, B, Number c, Number) {
         auto y = fx::copy(a);
         for (auto t : fx::range(3)) step.over(kN)(y, c * fx::cast<double>(t + 1));
         return y;
       }},
      {"carried numbers and an if",
       [](B a, B, Number c, Number d) {
         auto y = fx::copy(a);
         Number s = 1.0, r = c;
         for (auto t : fx::range(3)) {
           fx::if_(t > 0, [&] { s = s * c; }).else_([&] {
             s = 0.3 * d;
             r = s;
           });
           step.over(kN)(y, fx::sin(s) * r);
         }
         return y;
       }},
      {"a carried number that starts shared in a while",
       [](B a, B, Number, Number d) {
         auto y = fx::copy(a);
         Number s = 1.0;
         fx::Int n = 0;
         for ([[maybe_unused]] auto again : fx::while_([&] { return n < 3; })) {
           step.over(kN)(y, s);
           s = s * d + fx::item(y, n);
           n += 1;
         }
         return times(y, s);
       }},
      {"a while over a shared number",
       [](B a, B b, Number c, Number d) {
         auto y = fx::copy(a);
         Number s = d;
         for ([[maybe_unused]] auto again : fx::while_([&] { return s < 4.0; })) {
           y *= b;
           step.over(kN)(y, c / s);
           s = s * 1.7;
         }
         return y;
       },
       true},
      {"trips and branches of a shared number",
       [](B a, B b, Number c, Number d) {
         auto y = fx::copy(b);
         for (auto t : fx::range(fx::cast<int>(d * 3.0)))
           fx::if_(fx::cast<double>(t) < d, [&] { step.over(kN)(y, d); }).else_([&] { step.over(kN)(y, c - d); });
         return B(y * a);
       },
       true},
      {"nested loops",
       [](B a, B b, Number c, Number d) {
         auto y = fx::copy(b);
         Number s = d;
         for (auto t : fx::range(2)) {
           for (auto u : fx::range(t + 1)) {
             s = s - c * fx::cast<double>(u);
             step.over(kN)(y, s);
           }
           y += a;
         }
         return y;
       }},
      {"an if alone",
       [](B a, B b, Number c, Number d) {
         auto y = fx::copy(b);
         Number s = d;
         fx::if_(d > 1.0, [&] {
           y = fx::copy(a);
           s = c;
         });
         step.over(kN)(y, s);
         return y;
       },
       true},
      {"items",
       [](B a, B b, Number, Number) {
         auto y = fx::copy(b);
         step.over(kN)(y, 1.0 - fx::item(a, 2));
         step.over(kN)(y, fx::item(b, 1) * fx::item(a, 0));
         return y;
       }},
      {"items of a loop in a carried number",
       [](B a, B b, Number, Number) {
         auto y = fx::copy(b);
         Number s = 1.0;
         for (auto t : fx::range(3)) {
           s = s * fx::item(a, t);
           step.over(kN)(y, s);
         }
         return y;
       }},
      {"items at batched places",
       [](B a, B b, Number c, Number d) {
         auto y = fx::copy(a);
         fx::Int n = fx::cast<int>(c * 2.0);
         step.over(kN)(y, fx::item(a, n) - fx::item(b, n));
         step.over(kN)(y, fx::item(b, fx::cast<int>(d)) * fx::item(y, 3 - n));
         return y;
       }},
      {"sums and dot products", [](B a, B b, Number, Number) { return B(fx::sum(a * b) * fx::mean(a) + fx::dot(a, b) * fx::dot(b, b)); }},
      {"arrays that are added to",
       [](B a, B b, Number c, Number d) {
         auto e = fx::zeros<double>(2);
         gather.over(kN)(b, b, e, d);
         gather.over(kN)(b, a, e, d);
         gather.over(kN)(b, b, e, c);
         return e;
       }},
      {"a shared sum that a loop goes on with",
       [](B a, B b, Number c, Number d) {
         auto e = fx::zeros<double>(2);
         gather.over(kN)(b, b, e, d);
         for (auto t : fx::range(3)) gather.over(kN)(b, a, e, c * fx::item(e, t % 2));
         return e;
       }},
      {"in place",
       [](B a, B b, Number, Number) {
         auto y = fx::copy(b);
         y *= a;
         y += b;
         y -= 0.5;
         y /= a;
         auto z = fx::copy(a);
         z += y;
         return B(z * y);
       }},
      {"programs inside",
       [inner](B a, B b, Number c, Number d) {
         auto [x, ex] = inner(a, c);
         auto [y, ey] = inner(b, d);
         auto [z, ez] = inner(a, d);
         auto [u, eu] = inner(b, c);
         return B(x * y + z * u + times(u, fx::item(B(ex * ey + ez * eu))));
       }},
      {"a program inside a loop",
       [inner](B a, B b, Number c, Number d) {
         auto y = fx::copy(b);
         Number s = d;
         for ([[maybe_unused]] auto t : fx::range(2)) {
           auto [x, e] = inner(y, s);
           y = fx::copy(x);
           s = 0.1 * fx::item(e) - c;
         }
         return B(y + a);
       }},
      {"a derivative inside",
       [g = fx::value_and_grad(product)](B a, B b, Number, Number) {
         auto [e, x, y] = g(a, b);
         return times(x * y, fx::item(e));
       }},
      {"derivatives of what is shared and batched",
       [g = fx::vjp(inner)](B a, B b, Number c, Number d) {
         auto one = fx::zeros<double>(1);
         one += 1.0;
         auto [x, s] = g(b, c, a, one);
         auto [y, t] = g(b, d, b, one);
         return B(times(x, fx::item(t)) - times(y, fx::item(s)));
       }},
      {"tangents inside",
       [g = fx::jvp(inner)](B a, B b, Number c, Number d) {
         auto [y, e, dy, de] = g(b, c, a, d);
         return B(y * dy + times(y, fx::item(e) * fx::item(de)));
       }},
      {"a batch inside",
       [m = fx::vmap(product, fx::unbatched<1>)](B a, B b, Number c, Number d) {
         auto rows = fx::zeros<double>(2, kN);
         auto k = fx::kernel("rows", [](fx::In<double> x, fx::In<double> y, Number c, fx::Out<double, 2> r) {
           auto [i, j] = fx::index<2>();
           r(i, j) = fx::select(i == 0, x[j], y[j] * c);
         });
         k.over(2, kN)(b, a, c, rows);
         return times(fx::sum(m(rows, b)), d);
       },
       false, true},
      {"a batch of numbers inside", [m = fx::vmap(fx::program("line", [](Number x, Number s) { return x * s - s / x; }), fx::unbatched<1>)](
                                        B a, B b, Number c, Number d) { return B(m(a, d) * m(b, c)); }},
  };
}

/// Which of a, b, c and d are shared makes no difference: values and gradients.
template <int... S> void agrees_however(const Row& row, fx::UnbatchedParameters<S...> shared) {
  constexpr auto is = [](int k) { return ((k == S) || ...); };
  const auto dev = fx::Device::reference();
  INFO(row.what);
  const Debug debug("verify");
  const auto p = program_of(row.body);
  const Numbers as = random_numbers(kBatch * kN, 5, 0.3, 1.7), bs = random_numbers(kBatch * kN, 7, 0.3, 1.7), cs{0.6, 1.3, 1.6},
                ds{1.2, 1.25, 1.45};
  const auto row_of = [](const Numbers& all, int k, std::size_t n = kN) {
    const auto from = all.begin() + static_cast<std::ptrdiff_t>(n) * k;
    return Numbers(from, from + static_cast<std::ptrdiff_t>(n));
  };
  Numbers values, w;
  std::array<Numbers, 4> want;
  std::size_t n = 0;
  for (int k = 0; k < kBatch; ++k) {
    const B a = dev.upload(row_of(as, is(0) ? 0 : k)), b = dev.upload(row_of(bs, is(1) ? 0 : k));
    const double c = cs[is(2) ? 0 : static_cast<std::size_t>(k)], d = ds[is(3) ? 0 : static_cast<std::size_t>(k)];
    const Numbers y = p(a, b, c, d).host();
    append(values, y);
    n = y.size();
    if (w.empty()) w = random_numbers(kBatch * n, 9, -1, 1);
    const auto [xa, xb, xc, xd] = fx::vjp(p)(a, b, c, d, dev.upload(row_of(w, k, n)));
    const std::array<Numbers, 4> x{xa.host(), xb.host(), xc.host(), xd.host()};
    for (std::size_t q = 0; q < 4; ++q) is(static_cast<int>(q)) ? add(want[q], x[q]) : append(want[q], x[q]);
  }
  const auto array = [&]<int K>(const Numbers& all) {
    if constexpr (is(K)) return dev.upload(row_of(all, 0));
    else return dev.upload(all, kBatch, kN);
  };
  const auto number = [&]<int K>(const Numbers& all) {
    if constexpr (is(K)) return all[0];
    else return dev.upload(all);
  };
  const auto a = array.template operator()<0>(as);
  const auto b = array.template operator()<1>(bs);
  const auto c = number.template operator()<2>(cs);
  const auto d = number.template operator()<3>(ds);
  const auto many = fx::vmap(p, shared);
  if (row.decides && !is(3)) {
    CHECK_THROWS_WITH(many(a, b, c, d), Catch::Contains("differs within the batch"));
    return;
  }
  same("values", many(a, b, c, d).host(), values);
  const auto [xa, xb, xc, xd] = fx::vjp(many)(a, b, c, d, dev.upload(w, kBatch, static_cast<int>(n)));
  same("a", xa.host(), want[0]);
  same("b", xb.host(), want[1]);
  same("c", xc.host(), want[2]);
  same("d", xd.host(), want[3]);
}

std::vector<Row> rows() {
  std::vector<Row> all = arithmetic();
  for (Row& r : structures()) all.push_back(std::move(r));
  return all;
}

}  // namespace

TEST_CASE("a batch of programs is a loop over the batch in all orders", "[jit][vmap]") {
  for (const Row& row : rows()) agrees(row, fx::Device::reference());
}

TEST_CASE("a batch of programs is a loop over the batch in native code too", "[jit][vmap]") {
  const auto all = rows();
  for (std::size_t k = 5; k < all.size(); k += 14) agrees(all[k], fx::Device::cpu());
}

TEST_CASE("a batch of programs is a loop over the batch whatever is shared", "[jit][vmap]") {
  for (const Row& row : rows()) {
    agrees_however(row, fx::unbatched<>);
    agrees_however(row, fx::unbatched<0, 1, 3>);
    agrees_however(row, fx::unbatched<0, 1, 2>);
    agrees_however(row, fx::unbatched<1, 2, 3>);
    agrees_however(row, fx::unbatched<0, 2, 3>);
    agrees_however(row, fx::unbatched<0, 2>);
  }
}

TEST_CASE("a batch of batches of programs is two loops", "[jit][vmap]") {
  const auto dev = fx::Device::reference();
  const Debug debug("verify");
  const Numbers as = random_numbers(2 * kBatch * kN, 5, 0.3, 1.7), bs = random_numbers(2 * kN, 7, 0.3, 1.7), cs{0.6, 1.3, 1.6};
  for (const Row& row : rows()) {
    INFO(row.what);
    const auto p = program_of(row.body);
    const auto many = fx::vmap(p, fx::unbatched<1, 3>);
    const auto twice = fx::vmap(many, fx::unbatched<2, 3>);
    const auto a = dev.upload(as, 2, kBatch, kN);
    const B2 b = dev.upload(bs, 2, kN);
    const B c = dev.upload(cs);
    if (row.matrices) {
      CHECK_THROWS_WITH(twice(a, b, c, 1.2), Catch::Contains("no room for the axis of the batch"));
      continue;
    }
    Numbers values, ga, gb, gc, gd;
    for (std::ptrdiff_t k = 0; k < 2; ++k) {
      const B2 ak = dev.upload(Numbers(as.begin() + k * kBatch * kN, as.begin() + (k + 1) * kBatch * kN), kBatch, kN);
      const B bk = dev.upload(Numbers(bs.begin() + k * kN, bs.begin() + (k + 1) * kN));
      const B2 y = many(ak, bk, c, 1.2);
      append(values, y.host());
      const auto [xa, xb, xc, xd] = fx::vjp(many)(ak, bk, c, 1.2, y);
      append(ga, xa.host()), append(gb, xb.host()), add(gc, xc.host()), add(gd, xd.host());
    }
    const auto y = twice(a, b, c, 1.2);
    same("values", y.host(), values);
    const auto [xa, xb, xc, xd] = fx::vjp(twice)(a, b, c, 1.2, y);
    same("a", xa.host(), ga);
    same("b", xb.host(), gb);
    same("c", xc.host(), gc);
    same("d", xd.host(), gd);
  }
}
