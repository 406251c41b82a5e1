// The list of passes and what runs it.
#include "fluxion/pipeline.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <map>

#include "fluxion/buffer_plan.h"
#include "pointwise.h"
#include "runtime.h"

namespace fluxion {
namespace {

constexpr Pass kInline{"inline", "callees that are small or called once take the place of their calls", inline_final};
constexpr Pass kFold{"fold", "replace an op on constants by its value, and exact identities", fold};
constexpr Pass kPromote{"promote_locals", "local arrays indexed by constants become values", promote_locals};
constexpr Pass kForward{"forward_stores", "a load after a store to the same element becomes the value", forward_stores};
constexpr Pass kCse{"cse", "one of several equal pure ops", cse};
constexpr Pass kLicm{"licm", "what does not change in a loop moves before it", licm};
constexpr Pass kContract{"contract", "a * b + c becomes fma", contract};
constexpr Pass kContractRest{"contract_rest", "a * b + c becomes fma where no branch, trip or index depends on it", contract_rest};
constexpr Pass kMath{"math_lowering", "transcendentals become polynomials and bit operations", math_lowering};
constexpr Pass kDce{"dce", "drop what no result and no effect needs", dce};
constexpr Pass kCanonical{"canonical", "one order of ops for equal functions", canonical};

constexpr Pass kCapture[] = {kFold, kPromote, kForward, kCse, kLicm, kContract, kDce, kCanonical};
constexpr Pass kDerived[] = {kFold, kForward, kCse, kLicm, kDce, kCanonical};
constexpr Pass kNative[] = {kInline, kFold, kPromote, kForward, kCse, kContractRest, kMath, kFold, kCse, kLicm, kDce, kCanonical};
constexpr Pass kAsWritten[] = {kInline, kFold, kPromote, kForward, kCse, kContractRest, kLicm, kDce, kCanonical};
constexpr Pass kProgram[] = {kMath};

#ifdef __OPTIMIZE__
constexpr bool kDebugBuild = false;
#else
constexpr bool kDebugBuild = true;
#endif

struct Lowered {
  std::shared_ptr<const Function> from, to;  // `from` is kept: its address is the key
};
using Done = std::map<const Function*, Lowered>;

Function lower(const Function& f, Done& done, bool as_written) {
  // Program-level code is scalar glue around launches: it only needs its transcendentals lowered.
  Function out = f.kind != Function::Kind::program ? run_passes(f, as_written ? std::span<const Pass>(kAsWritten) : kNative)
                                                   : run_passes(is_memory_form(f) ? f : buffer_plan(dce(write_sums(inline_final(f)))),
                                                                as_written ? std::span<const Pass>() : kProgram);
  if (f.kind == Function::Kind::kernel && is_pointwise(f)) out = loads_first(std::move(out));
  for (auto& callee : out.callees) {
    const Lowered lowered = done[callee.get()];
    if (!lowered.to) {
      auto made = std::make_shared<const Function>(lower(*callee, done, as_written));
      done[callee.get()] = {callee, made};
      callee = made;
    } else {
      callee = lowered.to;
    }
  }
  return out;
}

}  // namespace

std::span<const Pass> capture_pipeline() { return kCapture; }
std::span<const Pass> derived_pipeline() { return kDerived; }
std::span<const Pass> native_pipeline() { return kNative; }

bool dump_wanted(std::string_view stage) {
  static const std::string wanted = [] {
    const char* text = std::getenv("FLUXION_DUMP");
    return text && *text ? fmt::format(",{},", text) : std::string();
  }();
  if (wanted.empty()) return false;
  return wanted == ",all," || wanted == ",1," || wanted.find(fmt::format(",{},", stage)) != std::string::npos;
}

void dump_stage(std::string_view stage, std::string_view function, std::string_view text) {
  fmt::print(stderr, "---- {} of \"{}\"\n{}{}", stage, function, text, text.ends_with('\n') ? "" : "\n");
}

Function run_passes(const Function& f, std::span<const Pass> passes) {
  const bool check = kDebugBuild || detail::debug_flags().verify;
  if (check) verify(f);  // what a transform made
  Function now = f;
  for (const Pass& pass : passes) {
    now = pass.run(now);
    if (check) {
      try {
        verify(now);
      } catch (const Error& e) { throw Bug(e.where(), fmt::format("pass {} broke a rule of the IR: {}", pass.name, e.what())); }
    }
    if (dump_wanted(pass.name)) dump_stage(pass.name, now.name, print(now));
  }
  return now;
}

Function lower(const Function& f, std::string_view backend, bool as_written) {
  if (backend == "reference") return f;
  Done done;
  return lower(f, done, as_written);
}

}  // namespace fluxion
