// One thread is timed by the processor-time clock, which other programs disturb least; several by the wall clock.
#include "bench.h"

#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <thread>

namespace bench {
namespace {

double seconds_of(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

std::string human(double s) {
  char text[32];
  if (s >= 1) std::snprintf(text, sizeof text, "%.2f s", s);
  else if (s >= 1e-3) std::snprintf(text, sizeof text, "%.2f ms", s * 1e3);
  else if (s >= 1e-6) std::snprintf(text, sizeof text, "%.2f us", s * 1e6);
  else std::snprintf(text, sizeof text, "%.1f ns", s * 1e9);
  return text;
}

// Workers that spin while a benchmark runs, so that the peers pay next to nothing for being parallel.
class Pool {
 public:
  explicit Pool(int workers) {
    for (int w = 1; w <= workers; ++w) threads_.emplace_back([this, w] { serve(w); });
  }
  ~Pool() {
    stop_ = true;
    for (std::thread& t : threads_) t.join();
  }
  void run(int n, const std::function<void(int, int)>& part) {
    part_ = &part;
    n_ = n;
    left_ = static_cast<int>(threads_.size());
    ++ticket_;
    slice(0);
    while (left_.load(std::memory_order_acquire) > 0) {}
  }

 private:
  void slice(int w) const {
    const int parts = static_cast<int>(threads_.size()) + 1;
    const auto cut = [&](int k) { return static_cast<int>(static_cast<long>(n_) * k / parts); };
    (*part_)(cut(w), cut(w + 1));
  }
  void serve(int w) {
    int seen = 0;
    while (!stop_) {
      if (ticket_.load(std::memory_order_acquire) == seen) {
        std::this_thread::yield();
        continue;
      }
      ++seen;
      slice(w);
      left_.fetch_sub(1, std::memory_order_release);
    }
  }
  std::vector<std::thread> threads_;
  const std::function<void(int, int)>* part_ = nullptr;
  int n_ = 0;
  std::atomic<int> ticket_{0}, left_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace

double cpu_seconds() { return seconds_of(CLOCK_PROCESS_CPUTIME_ID); }
double wall_seconds() { return seconds_of(CLOCK_MONOTONIC); }
double children_cpu_seconds() {
  rusage use{};
  getrusage(RUSAGE_CHILDREN, &use);
  auto of = [](timeval t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  return of(use.ru_utime) + of(use.ru_stime);
}

Suite::Suite(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; i += 2) {
    if (!std::strcmp(argv[i], "--threads")) threads_ = std::max(1, std::atoi(argv[i + 1]));
    else if (!std::strcmp(argv[i], "--json")) json_ = argv[i + 1];
    else if (!std::strcmp(argv[i], "--only")) only_ = argv[i + 1];
    else if (!std::strcmp(argv[i], "--device")) device_ = argv[i + 1];
    else if (!std::strcmp(argv[i], "--child")) child_ = argv[i + 1];
    else throw std::runtime_error(std::string("unknown option ") + argv[i]);
  }
  setenv("FLUXION_THREADS", std::to_string(threads_).c_str(), 1);
  if (!std::strcmp(kPeer, "clang-19") || !child_.empty()) return;
  std::fprintf(stderr, "*** clang++-19 was missing at build time: the peers are compiled by %s ***\n", kPeer);
}

void Suite::split(int n, const std::function<void(int, int)>& part) {
  if (threads_ == 1) return part(0, n);
  static Pool pool(threads_ - 1);
  pool.run(n, part);
}

std::vector<double> Suite::compare(const std::string& name, const std::vector<Contender>& contenders, const Limit& limit, int inner,
                                   int rounds) {
  if (!only_.empty() && name.find(only_) == std::string::npos) return {};
  const auto now = threads_ == 1 ? cpu_seconds : wall_seconds;
  std::vector<int> repeat(contenders.size(), 1);
  std::vector<double> best(contenders.size(), std::numeric_limits<double>::infinity());
  auto time = [&](std::size_t k) {
    contenders[k].work();  // the contender before had the caches
    const double begin = now();
    for (int r = 0; r < repeat[k]; ++r) contenders[k].work();
    return (now() - begin) / repeat[k];
  };
  constexpr double kLongEnough = 0.002;  // short, so that some rounds fall between disturbances
  for (std::size_t k = 0; k < contenders.size(); ++k) {
    contenders[k].work();  // compiles
    repeat[k] = std::clamp(static_cast<int>(kLongEnough / std::max(time(k), 1e-8)), 1, 1000000);
  }
  for (int round = 0; round < rounds; ++round)
    for (std::size_t k = 0; k < contenders.size(); ++k) best[k] = std::min(best[k], time(k));
  std::vector<std::pair<std::string, double>> seconds;
  for (std::size_t k = 0; k < contenders.size(); ++k) seconds.emplace_back(contenders[k].name, best[k] / inner);
  row(name, seconds, limit(seconds.size() > 1 ? seconds[1].second : 0));
  for (double& b : best) b /= inner;
  return best;
}

void Suite::row(const std::string& name, const std::vector<std::pair<std::string, double>>& seconds, double limit) {
  const double ours = seconds.front().second;
  std::string line;
  for (const auto& [who, s] : seconds) line += "  " + who + " " + human(s);
  std::printf("%-34s %2d thread%s%-46s", name.c_str(), threads_, threads_ == 1 ? " " : "s", line.c_str());
  if (seconds.size() > 1) std::printf("  %.2fx of %s", seconds[1].second / ours, seconds[1].first.c_str());
  if (std::isfinite(limit)) std::printf("  limit %s %s", human(limit).c_str(), ours <= limit ? "met" : "MISSED");
  std::printf("\n");
  std::fflush(stdout);
  record(name, seconds, limit);
}

void Suite::record(const std::string& name, const std::vector<std::pair<std::string, double>>& seconds, double limit, double rate) {
  if (json_.empty()) return;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(json_.c_str(), "a"), std::fclose);
  if (!file) throw std::runtime_error("cannot write " + json_);
  std::fprintf(file.get(), "{\"case\": \"%s\", \"threads\": %d, \"seconds\": {", name.c_str(), threads_);
  for (std::size_t k = 0; k < seconds.size(); ++k)
    std::fprintf(file.get(), "%s\"%s\": %.6g", k ? ", " : "", seconds[k].first.c_str(), seconds[k].second);
  if (std::isfinite(limit)) std::fprintf(file.get(), ", \"limit\": %.6g", limit);
  std::fprintf(file.get(), "}");
  if (rate > 0) std::fprintf(file.get(), ", \"rate\": %.6g", rate);
  std::fprintf(file.get(), "}\n");
}

}  // namespace bench
