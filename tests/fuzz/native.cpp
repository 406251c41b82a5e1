// The lowerings and the native backend against the evaluator.
#include <fmt/format.h>

#include "capture.h"
#include "checks.h"
#include "fluxion/strips.h"
#include "fluxion/pipeline.h"
#include "inputs.h"

namespace fluxion::fuzz {
namespace {

/// What testing::run gives, computed by compiled code.
Arguments run_native(const Function& f, const Arguments& arguments, int threads, Backend& backend, const CompileOptions& options) {
  Arguments all = testing::with_scratch(f, arguments, {threads, 1, 1});
  std::vector<ArrayArgument> arrays;
  // Room around each array, which stays as it is.
  constexpr std::size_t kGuard = 1024;
  std::vector<std::vector<std::byte>> guarded_bytes;
  std::vector<std::uint64_t> scalars;
  for (std::size_t k = 0; k < all.size(); ++k) {
    if (f.parameters[k].kind == Parameter::Kind::memory) {
      guarded_bytes.push_back(std::vector<std::byte>(all[k].bytes.size() + 2 * kGuard, std::byte{0x5a}));
      std::memcpy(guarded_bytes.back().data() + kGuard, all[k].bytes.data(), all[k].bytes.size());
      arrays.push_back({guarded_bytes.back().data() + kGuard, all[k].extent});
      continue;
    }
    std::uint64_t bits = 0;
    std::memcpy(&bits, all[k].bytes.data(), all[k].bytes.size());
    scalars.push_back(bits);
  }
  std::vector<std::pair<void*, std::size_t>> moved;  // where the arrays are, on a device with memory of its own
  if (!backend.host_memory())
    for (std::size_t k = 0; k < arrays.size(); ++k) {
      moved.emplace_back(nullptr, (guarded_bytes[k].size() + 63) / 64 * 64);
      moved[k].first = backend.allocate(moved[k].second);
      backend.write(moved[k].first, guarded_bytes[k].data(), guarded_bytes[k].size());
      arrays[k].data = static_cast<std::byte*>(moved[k].first) + kGuard;
    }
  FailureSlot failure;
  Launch launch;
  launch.domain = {threads, 1, 1};
  launch.arrays = arrays;
  launch.scalars = scalars;
  backend.compile(f, options)->run(launch, failure);
  for (std::size_t k = 0; k < moved.size(); ++k) {
    backend.read(guarded_bytes[k].data(), moved[k].first, guarded_bytes[k].size());
    backend.free(moved[k].first, moved[k].second);
  }
  failure.rethrow();
  std::size_t array = 0;
  for (std::size_t k = 0; k < all.size(); ++k) {
    if (f.parameters[k].kind != fluxion::Parameter::Kind::memory) continue;
    const std::vector<std::byte>& g = guarded_bytes[array++];
    std::memcpy(all[k].bytes.data(), g.data() + kGuard, all[k].bytes.size());
    const auto untouched = [](std::byte b) { return b == std::byte{0x5a}; };
    if (!std::all_of(g.begin(), g.begin() + kGuard, untouched) || !std::all_of(g.end() - kGuard, g.end(), untouched))
      throw std::runtime_error("native code wrote outside of " + f.parameters[k].name);
  }
  testing::add_scratch(f, all);
  Arguments out;
  for (std::size_t k = 0; k < arguments.size(); ++k)
    if (f.parameters[k].kind == Parameter::Kind::memory && f.parameters[k].role != Role::in) out.push_back(all[k]);
  return out;
}

template <class T>
std::string check_native_as(const Program& p, Backend& backend, const CompileOptions& options, bool derivative) {
  const int threads = threads_of(p, 37);  // more than two vectors at every width, and a tail
  const Arguments in = arguments(converted<T>(inputs(p, threads)));
  const std::array<std::int64_t, 3> domain = {threads, 1, 1};
  const Function captured = run_passes(*capture(p), capture_pipeline()), f = lower(captured, "cpu");
  verify(f);
  Arguments expected = testing::run(f, in, {domain}), got = run_native(f, in, threads, backend, options);
  const Arguments sums = {expected[4]}, sums_got = {got[4]};
  expected.erase(expected.begin() + 4), got.erase(got.begin() + 4);
  std::string wrong = compare_numbers<T>("native:", expected, got, p.w_accumulates || p.group);
  if (wrong.empty()) wrong = compare_numbers<T>("native-sums:", sums, sums_got, true);
  // What is summed over threads comes in another order, which single precision shows too much of.
  if (!wrong.empty() || p.real != DType::f64 || p.halves || !derivative) return wrong;

  const auto compare = [&](const char* what, const Function& d, const Arguments& at) {
    const Function lowered = lower(run_passes(d, derived_pipeline()), "cpu");
    verify(lowered);
    return compare_numbers<T>(what, testing::run(lowered, at, {domain}), run_native(lowered, at, threads, backend, options), true);
  };
  if (p.seed / 10 % 4 == 0) return compare("native-jvp:", jvp(captured), testing::jvp_arguments(captured, in, p.seed));
  const Function adjoint = run_passes(vjp(captured), derived_pipeline());
  const Arguments back = testing::vjp_arguments(captured, in, domain, p.seed);
  if (p.seed / 10 % 4 == 1) return compare("native-vjp:", adjoint, back);
  if (p.seed / 10 % 4 == 2) return compare("native-vjp(vjp):", vjp(adjoint), testing::vjp_arguments(adjoint, back, domain, p.seed));
  return compare("native-jvp(vjp):", jvp(adjoint), testing::jvp_arguments(adjoint, back, p.seed));
}

/// What a lowering may change is rounding: branches depend on exact numbers only, which stay.
template <class T>
std::string check_lowering_as(const Program& p) {
  const int threads = threads_of(p, 3);
  const Arguments in = arguments(converted<T>(inputs(p, threads)));
  const Function captured = run_passes(*capture(p), capture_pipeline()), f = lower(captured, "cpu");
  verify(f);
  return compare_numbers<T>("lowering:", testing::run(captured, in, {{threads, 1, 1}}), testing::run(f, in, {{threads, 1, 1}}), true);
}

}  // namespace

std::string check_native(const Program& p, Backend& backend, const CompileOptions& options, bool derivative) {
  const testing::StripLength strips(p.seed / 7 % 2 ? 2 : 1 << 14);
  const KeptCalls kept(p.keep_calls);
  return p.real == DType::f32 ? check_native_as<float>(p, backend, options, derivative)
                              : check_native_as<double>(p, backend, options, derivative);
}
std::string check_lowering(const Program& p) {
  const KeptCalls kept(p.keep_calls);
  return p.real == DType::f32 ? check_lowering_as<float>(p) : check_lowering_as<double>(p);
}

}  // namespace fluxion::fuzz
