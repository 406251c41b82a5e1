// Values: capture, the exact passes, the evaluator and the text form against direct execution.
#include "checks.h"

#include <fmt/format.h>

#include "capture.h"
#include "fluxion/pipeline.h"
#include "inputs.h"

namespace fluxion::fuzz {
namespace {

constexpr Pass kExactPasses[] = {{"canonical", "", canonical}, {"fold", "", fold}, {"promote_locals", "", promote_locals},
                                 {"forward_stores", "", forward_stores}, {"cse", "", cse}, {"licm", "", licm}, {"dce", "", dce}};

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
      const auto is_nan = [&](std::uint64_t bits) { return t == DType::f64 ? std::isnan(std::bit_cast<double>(bits)) : t == DType::f32 && std::isnan(std::bit_cast<float>(static_cast<std::uint32_t>(bits))); };
      if (is_nan(a) && is_nan(b)) continue;
      return fmt::format("{} {}[{}] is {} instead of {}", what, kResults[k], i / size, format_value(t, b), format_value(t, a));
    }
  }
  return "";
}

template <class T>
std::string check_values_as(const Program& p) {
  constexpr int kThreads = 5;
  const KeptCalls kept(p.keep_calls);
  const Arrays<T> in = converted<T>(inputs(p, kThreads));
  Arrays<T> out = in;
  Host<T>(p, out).run(kThreads);
  const std::shared_ptr<const Function> f = capture(p);
  std::string wrong = compare_bits("capture:", results(out), testing::run(*f, arguments(in), {{kThreads, 1, 1}}));
  if (!wrong.empty()) return wrong;
  Function g = *f;
  for (const Pass& pass : kExactPasses) {
    g = pass.run(g);
    verify(g);
    wrong = compare_bits(pass.name, results(out), testing::run(g, arguments(in), {{kThreads, 1, 1}}));
    if (!wrong.empty()) return wrong;
  }
  const Function reread = parse(print(g));
  if (print(reread) != print(g)) return "text: printing what was parsed differs";
  if (p.functions.empty()) return "";
  const KeptCalls inlined(false);
  g = cse(fold(inline_final(g)));
  verify(g);
  return compare_bits("inline", results(out), testing::run(g, arguments(in), {{kThreads, 1, 1}}));
}

}  // namespace

std::string check_values(const Program& p) {
  return p.real == DType::f32 ? check_values_as<float>(p) : check_values_as<double>(p);
}

}  // namespace fluxion::fuzz
