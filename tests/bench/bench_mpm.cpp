// The throw of demos/mpm.h: its forward beside hand-written C++, its value_and_grad beside its forward.
#include <cmath>
#include <limits>
#include <stdexcept>

#include "bench.h"
#include "mpm.h"
#include "peers.h"

int main(int argc, char** argv) {
  namespace fx = fluxion;
  bench::Suite suite(argc, argv);
  using Sim = mpm::Throw<float>;
  const mpm::Parameters p;
  const fx::Device dev = fx::Device::cpu();
  const Sim sim(p, dev);
  auto loss = sim.program(p.steps);
  auto both = fx::value_and_grad(loss);
  auto v0 = dev.upload({Sim::Vec2{0.1f, -1.0f}});
  const float ours = loss(v0).item(), theirs = peer::mpm_throw(0.1f, -1.0f, p.steps);
  if (!(std::abs(ours - theirs) < 1e-3f * theirs)) throw std::runtime_error("mpm_throw: ours and the peer's losses differ");
  auto forward = [&] { bench::keep(loss(v0).item()); };
  // The peer has one thread; with more, ours is shown beside it without a limit.
  const double slack = suite.threads() == 1 ? 1.5 : std::numeric_limits<double>::infinity();
  suite.compare(
      "mpm_throw forward", {{"fluxion", forward}, {bench::kPeer, [&] { bench::keep(peer::mpm_throw(0.1f, -1.0f, p.steps)); }}},
      [=](double peer) { return peer * slack; }, 1, 5);
  suite.compare(
      "mpm_throw value_and_grad",
      {{"fluxion",
        [&] {
          auto [l, g] = both(v0);
          bench::keep(l.item());
        }},
       {"fluxion forward", forward}},
      [](double forward) { return 4 * forward; }, 1, 5);
}
