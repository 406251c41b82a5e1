// Stacked LSTM with diagonal weights. The recurrence does not mix bits, so a thread follows one bit through all
// characters; the loss, which sums over bits, is a thread a character. The states of a few layers are variables, of many an
// array.
#include <fluxion/fluxion.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "problem.h"

namespace gradbench {

namespace fx = fluxion;

constexpr int kUnrolled = 4;  // layers

Problem make_lstm(const Lstm& in) {
  const fx::Device dev = fx::Device::cpu();
  const int b = in.bits, layers = in.layers, predictions = in.characters - 1;

  auto sigmoid = fx::fn("sigmoid", [](fx::Double x) { return 1.0 / (1.0 + fx::exp(-x)); });
  // One layer at one character: what it says to the layer above.
  auto advance = [=](const fx::In<double, 2>& main, const auto& layer, const fx::Int& e, const fx::Double& x, fx::Double& h,
                     fx::Double& z) {
    auto gate = [&](int g, const fx::Double& v) { return v * main(2 * layer, e + g * b) + main(2 * layer + 1, e + g * b); };
    fx::Double forget = sigmoid(gate(0, x)), ingate = sigmoid(gate(1, h)), outgate = sigmoid(gate(2, x));
    fx::Double change = fx::tanh(gate(3, h));
    z = z * forget + ingate * change;
    h = outgate * fx::tanh(z);
  };
  auto few = fx::kernel("few", [=](fx::In<double, 2> main, fx::In<double, 2> extra, fx::In<double, 2> state, fx::In<double, 2> sequence,
                                   fx::Out<double, 2> y) {
    auto e = fx::index();
    const int unrolled = std::min(layers, kUnrolled);
    std::vector<fx::Double> h, z;
    for (int layer = 0; layer < unrolled; ++layer) {
      h.push_back(state(2 * layer, e));
      z.push_back(state(2 * layer + 1, e));
    }
    for (auto t : fx::range(predictions)) {
      fx::Double x = sequence(t, e) * extra(0, e);
      for (int layer = 0; layer < unrolled; ++layer) {
        const auto k = static_cast<std::size_t>(layer);
        advance(main, layer, e, x, h[k], z[k]);
        x = h[k];
      }
      y(t, e) = x * extra(1, e) + extra(2, e);
    }
  });
  auto many = fx::kernel("many", [=](fx::In<double, 2> main, fx::In<double, 2> extra, fx::InOut<double, 2> state,
                                     fx::In<double, 2> sequence, fx::Out<double, 2> y) {
    auto e = fx::index();
    for (auto t : fx::range(predictions)) {
      fx::Double x = sequence(t, e) * extra(0, e);
      for (auto layer : fx::range(layers)) {
        fx::Double h = state(2 * layer, e), z = state(2 * layer + 1, e);
        advance(main, layer, e, x, h, z);
        state(2 * layer, e) = h;
        state(2 * layer + 1, e) = z;
        x = h;
      }
      y(t, e) = x * extra(1, e) + extra(2, e);
    }
  });
  auto copy = fx::kernel("copy", [](fx::In<double, 2> from, fx::Out<double, 2> to) {
    auto [r, e] = fx::index<2>();
    to(r, e) = from(r, e);
  });
  auto score = fx::kernel("score", [=](fx::In<double, 2> y, fx::In<double, 2> sequence, fx::Accum<double> loss) {
    auto t = fx::index();
    fx::Double sum = 2.0, dot = 0.0, weight = 0.0;
    for (auto e : fx::range(b)) {
      fx::Double v = y(t, e), target = sequence(t + 1, e);
      sum += fx::exp(v);
      dot += target * v;
      weight += target;
    }
    loss[0] += (weight * fx::log(sum) - dot) * (1.0 / (double(predictions) * b));
  });

  struct State {
    fx::Buffer<double, 2> main, extra, state, sequence;
    fx::Buffer<double> value;
    fx::Buffer<double, 2> d_main, d_extra;
  };
  auto s = std::make_shared<State>(State{dev.upload(in.main, 2 * layers, 4 * b),
                                         dev.upload(in.extra, 3, b),
                                         dev.upload(in.state, 2 * layers, b),
                                         dev.upload(in.sequence, in.characters, b),
                                         {},
                                         {},
                                         {}});
  auto lstm = fx::program("lstm", [=](fx::Buffer<double, 2> main, fx::Buffer<double, 2> extra) {
    auto y = fx::zeros<double>(predictions, b);
    auto loss = fx::zeros<double>(1);
    if (layers <= kUnrolled) {
      few.over(b)(main, extra, s->state, s->sequence, y);
    } else {
      auto state = fx::zeros<double>(2 * layers, b);
      copy.over(2 * layers, b)(s->state, state);
      many.over(b)(main, extra, state, s->sequence, y);
    }
    score.over(predictions)(y, s->sequence, loss);
    return loss;
  });
  auto gradient = fx::value_and_grad(lstm);

  Problem p;
  p.primal = [=] {
    s->value = lstm(s->main, s->extra);
    dev.wait();
  };
  p.derivative = [=] {
    std::tie(s->value, s->d_main, s->d_extra) = gradient(s->main, s->extra);
    dev.wait();
  };
  p.primal_json = [=] { return nlohmann::json(s->value.item()); };
  p.derivative_json = [=] {
    auto all = s->d_main.host();
    for (const double v : s->d_extra.host()) all.push_back(v);
    return nlohmann::json(all);
  };
  add_rivals(p, in);
  return p;
}

}  // namespace gradbench
