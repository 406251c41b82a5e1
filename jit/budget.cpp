// The bytes of a program are F + sum over its loops of (states * C + strip * S): C those of one state, S those that one
// iteration of a strip keeps. F, C and S are found by measuring some settings; then each loop's best settings for
// each share of the budget, and the shares that cost least.
#include "budget.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fluxion {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

struct Loop {
  double trips = 0, state = 0, step = 0;
};
struct Best {
  double cost = kNever;
  std::int32_t strip = 1, states = 1;
};

std::int32_t whole(double x) { return static_cast<std::int32_t>(std::clamp(std::floor(x), 1.0, 2147483647.0)); }

/// The settings of one loop that take no more than `bytes`.
Best best(const Loop& l, double bytes) {
  Best out;
  for (double strip = 1; strip <= std::max(l.trips, 1.0); strip = std::max(strip + 1, std::floor(strip * (strip < 256 ? 1 : 1.03)))) {
    const double room = bytes - strip * l.step, count = std::ceil(l.trips / strip);
    if (room < l.state) break;
    const double states = l.state > 0 ? std::min(std::floor(room / l.state), count) : count;
    const double cost = recomputation(l.trips, strip, states);
    if (cost < out.cost) out = {cost, whole(strip), whole(states)};
  }
  return out;
}

}  // namespace

// Griewank & Walther 2000: advances of n strips with c states are r n - C(c + 1 + r - 1, r - 1), where no strip is run
// more than r times; the one more is the end of the forward sweep. Each strip is run again
// to keep what its reverse needs.
double recomputation(double trips, double strip, double states) {
  const double n = std::ceil(trips / strip);
  if (n <= 0) return 0;
  double r = 0, all = 1, before = 0;
  while (all < n) {
    r += 1;
    before = all;
    all = all * (states + r) / r;
  }
  // C(c + r, r - 1) = C(c + r - 1, r - 1) (c + r) / (c + 1)
  const double advances = r > 0 ? r * n - before * (states + r) / (states + 1) : 0;
  return (advances + 1) * strip / trips + 1;
}

std::optional<Settings> within_budget(std::size_t loops, const Measure& measure, double bytes, double& least) {
  Settings settings(2 * loops, 1);
  for (std::size_t k = 0; k < loops; ++k) settings[2 * k + 1] = 0x7fffffff;
  WorkspaceUse use = measure(settings);
  use.trips.resize(loops);
  std::vector<Loop> all(loops);
  for (std::size_t k = 0; k < loops; ++k) {
    all[k].trips = use.trips[k];
    settings[2 * k] = whole(std::ceil(std::sqrt(all[k].trips)));
  }
  const double base = measure(settings).bytes;
  double fixed = base;
  for (std::size_t k = 0; k < loops; ++k) {
    Loop& l = all[k];
    const std::int32_t strip = settings[2 * k], count = whole(std::ceil(l.trips / strip)), half = (count + 1) / 2;
    if (l.trips < 2) continue;
    Settings other = settings;
    if (half < count) {
      other[2 * k + 1] = half;
      l.state = std::max(0.0, (base - measure(other).bytes) / (count - half));
    }
    other[2 * k] = whole(l.trips);
    other[2 * k + 1] = 1;
    l.step = std::max(0.0, (measure(other).bytes - base + (count - 1) * l.state) / (l.trips - strip));
    fixed -= count * l.state + strip * l.step;
  }
  least = fixed;
  for (const Loop& l : all) least += l.state + l.step;
  if (least > bytes) return std::nullopt;

  // Shares of the budget in small parts; best cost of the first loops with so many parts, and the last one's part of them.
  const int parts = loops > 1 ? 100 : 1;
  double rest = bytes - fixed;
  for (int attempt = 0; attempt < 8; ++attempt) {
    double free = rest;
    for (const Loop& l : all) free -= l.state + l.step;
    if (free < 0) break;
    std::vector<std::vector<Best>> of(loops);
    std::vector<std::vector<double>> cost(loops + 1, std::vector<double>(static_cast<std::size_t>(parts) + 1, kNever));
    std::vector<std::vector<int>> share(loops, std::vector<int>(static_cast<std::size_t>(parts) + 1, 0));
    std::fill(cost[0].begin(), cost[0].end(), 0.0);
    for (std::size_t k = 0; k < loops; ++k) {
      const double weight = all[k].trips * std::max(all[k].step, 1.0);
      for (int q = 0; q <= parts; ++q) of[k].push_back(best(all[k], all[k].state + all[k].step + free * q / parts));
      for (int q = 0; q <= parts; ++q)
        for (int mine = 0; mine <= q; ++mine) {
          const double c = cost[k][static_cast<std::size_t>(q - mine)] + weight * of[k][static_cast<std::size_t>(mine)].cost;
          if (c < cost[k + 1][static_cast<std::size_t>(q)]) {
            cost[k + 1][static_cast<std::size_t>(q)] = c;
            share[k][static_cast<std::size_t>(q)] = mine;
          }
        }
    }
    int left = parts;
    for (std::size_t k = loops; k-- > 0;) {
      const int mine = share[k][static_cast<std::size_t>(left)];
      settings[2 * k] = of[k][static_cast<std::size_t>(mine)].strip;
      settings[2 * k + 1] = of[k][static_cast<std::size_t>(mine)].states;
      left -= mine;
    }
    const double taken = measure(settings).bytes;
    if (taken <= bytes) return settings;
    rest -= taken - bytes;
  }
  least = std::max(least, std::nextafter(bytes, kNever));
  return std::nullopt;
}

}  // namespace fluxion
