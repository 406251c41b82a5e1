// Timing beside peers: interleaved rounds, minima, a table on the terminal and a row of JSON a case.
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace bench {

using Work = std::function<void()>;
struct Contender {
  std::string name;  // the first of a case is ours
  Work work;
};
/// What our seconds must not exceed, from the seconds of the first peer (0 without peers).
using Limit = std::function<double(double peer)>;

class Suite {
 public:
  /// --threads N (1) and --json FILE (rows are appended, one a line). Must be made before Fluxion is used: it says
  /// by environment how many threads are to work.
  Suite(int argc, char** argv);
  int threads() const { return threads_; }
  const std::string& only() const { return only_; }
  const std::string& device() const { return device_; }  // --device NAME
  const std::string& child() const { return child_; }    // --child WHAT: a benchmark that starts itself anew

  /// Times each contender in turn, `rounds` times, each time repeated until it lasts long enough to be measured,
  /// and keeps the minima, which it returns. `inner`: how many units one call does; seconds are for one unit.
  std::vector<double> compare(const std::string& name, const std::vector<Contender>& contenders, const Limit& limit, int inner = 1,
                              int rounds = 100);
  /// A figure measured elsewhere.
  void row(const std::string& name, const std::vector<std::pair<std::string, double>>& seconds, double limit);
  /// The row of JSON alone; `rate`: units a second.
  void record(const std::string& name, const std::vector<std::pair<std::string, double>>& seconds, double limit, double rate = 0);
  /// Splits [0, n) over threads() threads and waits; with one thread a plain call. For the peers.
  void split(int n, const std::function<void(int begin, int end)>& part);

 private:
  int threads_ = 1;
  std::string json_, only_, child_, device_;
};

/// Seconds of processor time of this process; of its ended children.
double cpu_seconds();
double children_cpu_seconds();
double wall_seconds();

/// Keeps the compiler from dropping what it computes.
template <class T>
void keep(const T& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

/// What compiled the peers: "clang-19", or another compiler's name where that one is missing.
inline constexpr const char* kPeer = FLUXION_PEER_NAME;

/// n numbers of [0, scale) without a pattern.
inline std::vector<float> ramp(std::size_t n, float scale) {
  std::vector<float> v(n);
  for (std::size_t i = 0; i < n; ++i) v[i] = scale * static_cast<float>((i * 7919 + 13) % 1000) / 1000.0f;
  return v;
}

}  // namespace bench
