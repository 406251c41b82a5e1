// What a user might write: one kernel of 100 lines with nested control flow. Only its compile time is measured, by
// bench_compile; it is no part of any program.
#include <fluxion/fluxion.h>

namespace fx = fluxion;

auto collide() {
  return fx::kernel("collide", [](fx::In<fx::Vec<float, 2>> x, fx::InOut<fx::Vec<float, 2>> v, fx::In<float> radius, fx::In<int> kind,
                                  fx::Accum<float> energy, fx::Out<int> hits, fx::Float dt) {
    auto i = fx::index();
    fx::Vec<fx::Float, 2> p = x[i];
    fx::Vec<fx::Float, 2> u = v[i];
    fx::Float r = radius[i];
    fx::Float mass = 3.14159f * r * r;
    fx::Int count = 0;
    fx::Float work = 0;
    for (auto j : fx::range(x.extent(0))) {
      fx::continue_if(j == i);
      fx::Vec<fx::Float, 2> q = x[j];
      fx::Float dx = q[0] - p[0];
      fx::Float dy = q[1] - p[1];
      fx::Float d2 = dx * dx + dy * dy;
      fx::Float reach = r + radius[j];
      fx::continue_if(d2 > reach * reach);
      fx::Float d = fx::sqrt(d2 + 1e-12f);
      fx::Float nx = dx / d;
      fx::Float ny = dy / d;
      fx::Float overlap = reach - d;
      fx::Float push = 0;
      fx::if_(kind[j] == 0, [&] { push = 100.0f * overlap; })
          .elif (kind[j] == 1,
                 [&] {
                   push = 50.0f * overlap * overlap;
                   work += push * overlap / 3.0f;
                 })
          .else_([&] {
            fx::Float s = overlap;
            for (auto k : fx::range(4)) { s = 0.5f * (s + overlap / (s + 1e-6f)) + fx::cast<float>(k) * 1e-3f; }
            push = 10.0f * s;
          });
      u[0] = u[0] - dt * push * nx / mass;
      u[1] = u[1] - dt * push * ny / mass;
      work += 0.5f * push * overlap;
      count += 1;
      fx::break_if(count > 32);
    }
    fx::Float speed = fx::sqrt(u[0] * u[0] + u[1] * u[1]);
    fx::Float limit = 10.0f;
    fx::if_(speed > limit, [&] {
      u[0] = u[0] * limit / speed;
      u[1] = u[1] * limit / speed;
    });
    fx::Float left = p[0] + dt * u[0];
    fx::Float low = p[1] + dt * u[1];
    fx::if_(left < r && u[0] < 0.0f, [&] {
      u[0] = -0.9f * u[0];
      count += 1;
    }).elif (left > 1.0f - r && u[0] > 0.0f, [&] {
      u[0] = -0.9f * u[0];
      count += 1;
    });
    fx::if_(low < r && u[1] < 0.0f, [&] {
      u[1] = -0.9f * u[1];
      u[0] = 0.99f * u[0];
      count += 1;
    }).elif (low > 1.0f - r && u[1] > 0.0f, [&] {
      u[1] = -0.9f * u[1];
      count += 1;
    });
    fx::Float heat = fx::exp(-speed) * fx::cos(3.0f * speed) + fx::sin(left) * fx::log(1.0f + speed);
    fx::Int rounds = 0;
    for (auto _ : fx::while_([&] { return heat > 1.0f && rounds < 20; })) {
      heat = heat * 0.5f + 0.1f * fx::tanh(heat);
      rounds += 1;
    }
    fx::Float wave = 0;
    for (auto a : fx::range(8)) {
      fx::Float phase = 0.25f * fx::cast<float>(a) + left;
      for (auto b : fx::range(4)) {
        wave += fx::sin(phase) * fx::cos(low * fx::cast<float>(b + 1));
        phase *= 1.5f;
      }
      fx::break_if(wave > 2.0f);
    }
    fx::Float best = 1e30f;
    for (auto a : fx::range(0, 16, 2)) {
      fx::Float candidate = fx::abs(wave - 0.1f * fx::cast<float>(a));
      best = fx::min(best, candidate);
    }
    fx::Float gather = 0;
    fx::if_(count > 0, [&] {
      for (auto a : fx::range(1, 5)) {
        fx::Int other = (i + a) % x.extent(0);
        fx::Float gap = x[other][0] - p[0];
        gather += gap * gap;
      }
    });
    best += 1e-3f * gather;
    fx::Float damping = fx::select(best < 0.05f, fx::Float(0.98f), fx::Float(1.0f));
    u[0] *= damping;
    u[1] *= damping;
    u[1] -= dt * 9.8f;
    v[i] = u;
    hits[i] = count + rounds;
    energy[0] += 0.5f * mass * (u[0] * u[0] + u[1] * u[1]) + work + 1e-3f * heat;
  });
}

int main() { return static_cast<int>(collide().ir().size() == 0); }
