// Values: capture, the exact passes, the evaluator and the text form against direct execution.
#include "checks.h"

#include <fmt/format.h>

#include "capture.h"
#include "fluxion/pipeline.h"
#include "inputs.h"

namespace fluxion::fuzz {
namespace {

constexpr Pass kExactPasses[] = {{"canonical", "", canonical},
                                 {"fold", "", fold},
                                 {"promote_locals", "", promote_locals},
                                 {"forward_stores", "", forward_stores},
                                 {"cse", "", cse},
                                 {"licm", "", licm},
                                 {"dce", "", dce}};

std::string compare_bits(const char* what, const Arguments& expected, const Arguments& got) {
  constexpr const char* kResults[] = {"y", "z", "q", "w", "g", "s"};
  for (std::size_t k = 0; k < expected.size(); ++k) {
    if (expected[k].bytes == got[k].bytes) continue;
    const DType t = layout_of(expected[k].element).leaves[0].dtype;
    const std::size_t size = static_cast<std::size_t>(fluxion::size_of(t));
    for (std::size_t i = 0; i < expected[k].bytes.size(); i += size) {
      std::uint64_t a = 0, b = 0;
      std::memcpy(&a, expected[k].bytes.data() + i, size);
      std::memcpy(&b, got[k].bytes.data() + i, size);
      if (a == b) continue;
      const auto is_nan = [&](std::uint64_t bits) {
        return t == DType::f64 ? std::isnan(std::bit_cast<double>(bits))
                               : t == DType::f32 && std::isnan(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
      };
      if (is_nan(a) && is_nan(b)) continue;
      return fmt::format("{} {}[{}] is {} instead of {}", what, kResults[k], i / size, format_value(t, b), format_value(t, a));
    }
  }
  return "";
}

}  // namespace

template <class T>
std::string compare_numbers(const char* what, const Arguments& expected, const Arguments& got, bool sums) {
  for (std::size_t k = 0; k < expected.size(); ++k) {
    const Data &e = expected[k], &g = got[k];
    if (!e.floats()) {
      if (e.bytes != g.bytes) return fmt::format("{} the integers of result {} differ", what, k);
      continue;
    }
    const auto numbers = static_cast<std::int64_t>(e.bytes.size() / sizeof(T));
    double largest = 0;
    for (std::int64_t i = 0; i < numbers; ++i)
      if (std::isfinite(e.as<T>()[i])) largest = std::max(largest, std::abs(static_cast<double>(e.as<T>()[i])));
    const double room = static_cast<double>(std::numeric_limits<T>::min()) +
                        (sums ? 1e4 * static_cast<double>(std::numeric_limits<T>::epsilon()) * (1e-3 + largest) : 0);
    for (std::int64_t i = 0; i < numbers; ++i) {
      const double a = static_cast<double>(e.as<T>()[i]), b = static_cast<double>(g.as<T>()[i]);
      if (a == b || std::abs(a - b) <= room || (std::isnan(a) && std::isnan(b))) continue;
      return fmt::format("{} result {} [{}] is {} instead of {}", what, k, i, b, a);
    }
  }
  return "";
}
template std::string compare_numbers<float>(const char*, const Arguments&, const Arguments&, bool);
template std::string compare_numbers<double>(const char*, const Arguments&, const Arguments&, bool);

namespace {

template <class T>
std::string check_values_as(const Program& p) {
  const int threads = threads_of(p, 5);
  const KeptCalls kept(p.keep_calls);
  const Arrays<T> in = converted<T>(inputs(p, threads));
  Arrays<T> out = in;
  Host<T>(p, out).run(threads);
  const std::shared_ptr<const Function> f = capture(p);
  // Where threads meet, a pass may change in which order they come to a sum.
  const auto compare = [&](const char* what, const Function& g) {
    const Arguments got = testing::run(g, arguments(in), {{threads, 1, 1}});
    return p.group ? compare_numbers<T>(what, results(out), got, true) : compare_bits(what, results(out), got);
  };
  std::string wrong = compare("capture:", *f);
  if (!wrong.empty()) return wrong;
  Function g = *f;
  for (const Pass& pass : kExactPasses) {
    g = pass.run(g);
    verify(g);
    wrong = compare(pass.name, g);
    if (!wrong.empty()) return wrong;
  }
  const Function reread = parse(print(g));
  if (print(reread) != print(g)) return "text: printing what was parsed differs";
  if (p.functions.empty()) return "";
  const KeptCalls inlined(false);
  g = cse(fold(inline_final(g)));
  verify(g);
  return compare("inline", g);
}

}  // namespace

std::string check_values(const Program& p) { return p.real == DType::f32 ? check_values_as<float>(p) : check_values_as<double>(p); }

}  // namespace fluxion::fuzz
