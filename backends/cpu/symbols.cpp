// Runtime entries, elementwise ops that have no instruction, and what LLVM itself may ask for.
#include "symbols.h"

#include <cmath>
#include <cstdint>
#include <cstring>

#include "fluxion/host_ops.h"
#include "program_state.h"

namespace fluxion::cpu {
namespace {
template <class T> T host_fma(T a, T b, T c) { return std::fma(a, b, c); }
template <class T> T even(T a) { return std::nearbyint(a); }
}  // namespace

const std::vector<Symbol>& runtime_symbols() {
#define UNARY(op)                                                          \
  {"fluxion_op_" #op "f", reinterpret_cast<void*>(&HostOps<float>::op)}, { \
    "fluxion_op_" #op, reinterpret_cast<void*>(&HostOps<double>::op)       \
  }
#define LIBM(name)                                                                   \
  {#name "f", reinterpret_cast<void*>(static_cast<float (*)(float)>(&std::name))}, { \
    #name, reinterpret_cast<void*>(static_cast<double (*)(double)>(&std::name))      \
  }
  static const std::vector<Symbol> symbols = {
      {"fluxion_cpu_launch", reinterpret_cast<void*>(&fluxion_cpu_launch)},
      {"fluxion_cpu_watched_launch", reinterpret_cast<void*>(&fluxion_cpu_watched_launch)},
      {"fluxion_cpu_loop", reinterpret_cast<void*>(&fluxion_cpu_loop)},
      {"fluxion_cpu_records", reinterpret_cast<void*>(&fluxion_cpu_records)},
      {"fluxion_cpu_program_report", reinterpret_cast<void*>(&fluxion_cpu_program_report)},
      {"fluxion_cpu_touch", reinterpret_cast<void*>(&fluxion_cpu_touch)},
      {"fluxion_cpu_phase", reinterpret_cast<void*>(&fluxion_cpu_phase)},
      {"fluxion_cpu_fail", reinterpret_cast<void*>(&fluxion_cpu_fail)},
      {"fluxion_cpu_cancelled", reinterpret_cast<void*>(&fluxion_cpu_cancelled)},
      {"fluxion_cpu_program_cancelled", reinterpret_cast<void*>(&fluxion_cpu_program_cancelled)},
      {"fluxion_cpu_exhausted", reinterpret_cast<void*>(&fluxion_cpu_exhausted)},
      {"fluxion_cpu_print", reinterpret_cast<void*>(&fluxion_cpu_print)},
      {"fluxion_cpu_external", reinterpret_cast<void*>(&fluxion_cpu_external)},
      {"fluxion_cpu_program_external", reinterpret_cast<void*>(&fluxion_cpu_program_external)},
      {"fluxion_cpu_program_host", reinterpret_cast<void*>(&fluxion_cpu_program_host)},
      {"memcpy", reinterpret_cast<void*>(&std::memcpy)},
      {"memmove", reinterpret_cast<void*>(&std::memmove)},
      {"memset", reinterpret_cast<void*>(&std::memset)},
      UNARY(rem),
      UNARY(fma),
      UNARY(cbrt),
      UNARY(exp),
      UNARY(exp2),
      UNARY(expm1),
      UNARY(log),
      UNARY(log2),
      UNARY(log10),
      UNARY(log1p),
      UNARY(sin),
      UNARY(cos),
      UNARY(tan),
      UNARY(asin),
      UNARY(acos),
      UNARY(atan),
      UNARY(atan2),
      UNARY(sinh),
      UNARY(cosh),
      UNARY(tanh),
      UNARY(asinh),
      UNARY(acosh),
      UNARY(atanh),
      UNARY(pow),
      UNARY(hypot),
      UNARY(erf),
      // without SSE4.1 LLVM rounds by calls
      LIBM(floor),
      LIBM(ceil),
      LIBM(trunc),
      {"roundevenf", reinterpret_cast<void*>(&even<float>)},
      {"roundeven", reinterpret_cast<void*>(&even<double>)},
      {"fmaf", reinterpret_cast<void*>(&host_fma<float>)},
      {"fma", reinterpret_cast<void*>(&host_fma<double>)},
  };
#undef UNARY
#undef LIBM
  return symbols;
}

}  // namespace fluxion::cpu
