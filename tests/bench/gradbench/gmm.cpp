// Log posterior of a Gaussian mixture. Products and terms are launches over components and points, with points side by
// side. The products Q (x - mu) are an array: they are linear in Q and in mu, so their derivative need not make them
// again. Few dimensions are unrolled, many are loops.
#include <fluxion/fluxion.h>

#include <memory>
#include <vector>

#include "formulas.h"
#include "problem.h"

namespace gradbench {

namespace fx = fluxion;

namespace {

constexpr int kUnrolled = 16;

/// Where entry (r, s), r > s, of a strictly lower triangle stored column by column stands.
template <class R, class S>
auto strict_index(int d, const R& r, const S& s) {
  return s * d - s * (s + 1) / 2 + r - s - 1;
}

}  // namespace

Problem make_gmm(const Gmm& in) {
  const fx::Device dev = fx::Device::cpu();
  const int d = in.d, k = in.k, n = in.n, strict = in.strict();
  const double gamma2 = in.gamma * in.gamma, m = in.m, constant = formulas::gmm_constant(in);

  auto prepare = fx::kernel("prepare", [=](fx::In<double> alpha, fx::In<double, 2> q, fx::Out<double, 2> diagonal, fx::Out<double> base) {
    auto c = fx::index();
    fx::Double sum = alpha[c];
    for (auto j : fx::range(d)) {
      fx::Double v = q(c, j);
      diagonal(c, j) = fx::exp(v);
      sum += v;
    }
    base[c] = sum;
  });
  auto products = fx::kernel("products", [=](fx::In<double, 2> x, fx::In<double, 2> mu, fx::In<double, 2> diagonal, fx::In<double, 2> l,
                                             fx::Out<double, 3> product) {
    auto [c, i] = fx::index<2>();
    if (d <= kUnrolled) {
      std::vector<fx::Double> centred;
      for (int r = 0; r < d; ++r) {
        centred.push_back(x(r, i) - mu(c, r));
        fx::Double y = diagonal(c, r) * centred.back();
        for (int s = 0; s < r; ++s) y += l(c, strict_index(d, r, s)) * centred[static_cast<std::size_t>(s)];
        product(c, r, i) = y;
      }
    } else {
      for (auto r : fx::range(d)) {
        fx::Double y = diagonal(c, r) * (x(r, i) - mu(c, r));
        for (auto s : fx::range(r)) y += l(c, strict_index(d, r, s)) * (x(s, i) - mu(c, s));
        product(c, r, i) = y;
      }
    }
  });
  auto terms = fx::kernel("terms", [=](fx::In<double, 3> product, fx::In<double> base, fx::Out<double, 2> term) {
    auto [c, i] = fx::index<2>();
    fx::Double squares = 0.0;
    if (d <= kUnrolled) {
      for (int r = 0; r < d; ++r) squares += fx::square(product(c, r, i));
    } else {
      for (auto r : fx::range(d)) squares += fx::square(product(c, r, i));
    }
    term(c, i) = base[c] - 0.5 * squares;
  });
  auto mixture = fx::kernel("mixture", [=](fx::In<double, 2> term, fx::Accum<double> total) {
    auto i = fx::index();
    fx::Double most = term(0, i), sum = 0.0;
    for (auto c : fx::range(1, k)) most = fx::max(most, term(c, i));
    most = fx::stop_grad(most);  // it only shifts
    for (auto c : fx::range(k)) sum += fx::exp(term(c, i) - most);
    total[0] += most + fx::log(sum);
  });
  auto prior = fx::kernel("prior", [=](fx::In<double, 2> q, fx::In<double, 2> diagonal, fx::In<double, 2> l, fx::Accum<double> total) {
    auto c = fx::index();
    fx::Double squares = 0.0, sum = 0.0;
    for (auto j : fx::range(d)) {
      squares += fx::square(diagonal(c, j));
      sum += q(c, j);
    }
    for (auto j : fx::range(strict)) squares += fx::square(l(c, j));
    total[0] -= 0.5 * gamma2 * squares - m * sum;
  });
  auto weights = fx::kernel("weights", [=](fx::In<double> alpha, fx::Accum<double> total) {
    fx::Double most = alpha[0], sum = 0.0;
    for (auto c : fx::range(1, k)) most = fx::max(most, alpha[c]);
    most = fx::stop_grad(most);
    for (auto c : fx::range(k)) sum += fx::exp(alpha[c] - most);
    total[fx::index()] += constant - double(n) * (most + fx::log(sum));
  });

  struct State {
    fx::Buffer<double, 2> x;  // (d, n)
    fx::Buffer<double> alpha;
    fx::Buffer<double, 2> mu, q, l;
    fx::Buffer<double> value, d_alpha;
    fx::Buffer<double, 2> d_mu, d_q, d_l;
  };
  Numbers across(in.x.size());
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < d; ++j) across[static_cast<std::size_t>(j * n + i)] = in.x[static_cast<std::size_t>(i * d + j)];
  auto s = std::make_shared<State>();
  s->x = dev.upload(across, d, n);
  s->alpha = dev.upload(in.alpha);
  s->mu = dev.upload(in.mu, k, d);
  s->q = dev.upload(in.q, k, d);
  s->l = dev.upload(in.l, k, strict);

  auto gmm = fx::program("gmm", [=](fx::Buffer<double> alpha, fx::Buffer<double, 2> mu, fx::Buffer<double, 2> q, fx::Buffer<double, 2> l) {
    auto diagonal = fx::zeros<double>(k, d), term = fx::zeros<double>(k, n);
    auto product = fx::zeros<double>(k, d, n);
    auto base = fx::zeros<double>(k), total = fx::zeros<double>(1);
    prepare.over(k)(alpha, q, diagonal, base);
    products.over(k, n)(s->x, mu, diagonal, l, product);
    terms.over(k, n)(product, base, term);
    mixture.over(n)(term, total);
    prior.over(k)(q, diagonal, l, total);
    weights.over(1)(alpha, total);
    return total;
  });
  auto gradient = fx::value_and_grad(gmm);

  Problem p;
  p.primal = [=] {
    s->value = gmm(s->alpha, s->mu, s->q, s->l);
    dev.wait();
  };
  p.derivative = [=] {
    std::tie(s->value, s->d_alpha, s->d_mu, s->d_q, s->d_l) = gradient(s->alpha, s->mu, s->q, s->l);
    dev.wait();
  };
  p.primal_json = [=] { return nlohmann::json(s->value.item()); };
  p.derivative_json = [=] {
    const auto components = static_cast<std::size_t>(k);
    return nlohmann::json{{"alpha", s->d_alpha.host()},
                          {"mu", rows(s->d_mu.host(), d, components)},
                          {"q", rows(s->d_q.host(), d, components)},
                          {"l", rows(s->d_l.host(), strict, components)}};
  };
  add_rivals(p, in);
  return p;
}

}  // namespace gradbench
