// Runs a pure function (no memory, no loops) on many arguments at once, op by op with HostOps: fast enough for
// dense sampling. Both arms of an `if_` run, as in a SIMD backend.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "fluxion/host_ops.h"
#include "fluxion/ir.h"

namespace fluxion::testing {

using Lane = std::vector<std::uint64_t>;

template <class T> T from_bits(std::uint64_t b) {
  if constexpr (std::is_same_v<T, bool>) return b != 0;
  T v;
  std::memcpy(&v, &b, sizeof v);
  return v;
}
template <class T> std::uint64_t to_bits(T v) {
  std::uint64_t b = 0;
  std::memcpy(&b, &v, sizeof v);
  return b;
}

template <class Visit>
void with_type(DType t, Visit visit) {
  switch (t) {
    case DType::boolean: return visit(bool{});
    case DType::i32: return visit(std::int32_t{});
    case DType::i64: return visit(std::int64_t{});
    case DType::u32: return visit(std::uint32_t{});
    case DType::u64: return visit(std::uint64_t{});
    case DType::f32: return visit(float{});
    case DType::f64: return visit(double{});
    default: throw std::runtime_error("lanes: a type that math does not use");
  }
}

class Lanes {
 public:
  Lanes(const Function& f, std::vector<Lane> arguments) : f_(f), values_(f.values.size()), n_(arguments.at(0).size()) {
    for (std::size_t i = 0; i < arguments.size(); ++i) values_[f.parameters[i].value.index] = std::move(arguments[i]);
  }
  Lane run() {
    const Values out = region(f_.body);
    return get(out[0]);
  }

 private:
  const Lane& get(ValueId v) {
    Lane& lane = values_[v.index];
    if (lane.empty()) {
      if (!f_.is_constant(v)) throw std::runtime_error("lanes: a value is used before it is made");
      lane.assign(n_, f_[v].bits);
    }
    return lane;
  }
  Values region(RegionId r) {
    for (OpId o : f_[r].ops)
      if (f_[o].code != Opcode::yield) step(f_[o]);
    return f_.terminator(r).operands;
  }
  template <class T, class Compute>
  void map(const Op& op, Compute compute) {
    const Lane& a = get(op.operands[0]);
    const Lane& b = op.operands.size() > 1 ? get(op.operands[1]) : a;
    const Lane& c = op.operands.size() > 2 ? get(op.operands[2]) : a;
    Lane out(n_);
    for (std::size_t i = 0; i < n_; ++i) out[i] = to_bits(compute(from_bits<T>(a[i]), from_bits<T>(b[i]), from_bits<T>(c[i])));
    values_[op.results[0].index] = std::move(out);
  }
  void select(ValueId result, const Lane& c, const Lane& a, const Lane& b) {
    Lane out(n_);
    for (std::size_t i = 0; i < n_; ++i) out[i] = c[i] ? a[i] : b[i];
    values_[result.index] = std::move(out);
  }
  void step(const Op& op) {
    if (op.code == Opcode::if_) {
      const Values a = region(op.regions[0]), b = region(op.regions[1]);
      for (std::size_t i = 0; i < op.results.size(); ++i) select(op.results[i], get(op.operands[0]), get(a[i]), get(b[i]));
    } else if (op.code == Opcode::select) {
      select(op.results[0], get(op.operands[0]), get(op.operands[1]), get(op.operands[2]));
    } else if (op.code == Opcode::bitcast) {
      values_[op.results[0].index] = get(op.operands[0]);
    } else if (op.code == Opcode::convert) {
      with_type(f_.type(op.results[0]).dtype(), [&]<class R>(R) {
        with_type(f_.type(op.operands[0]).dtype(), [&]<class T>(T) {
          map<T>(op, [](T a, T, T) {
            if constexpr (std::is_floating_point_v<T> && !std::is_floating_point_v<R>)
              throw std::runtime_error("lanes: float to int is not used by math");
            return static_cast<R>(a);
          });
        });
      });
    } else if (is_elementwise(op.code)) {
      with_type(f_.type(op.operands[0]).dtype(), [&]<class T>(T) { elementwise<T>(op); });
    } else {
      throw std::runtime_error(std::string("lanes: cannot run ") + name_of(op.code));
    }
  }
  template <class T>
  void elementwise(const Op& op) {
    using F = HostOps<T>;
#define FLUXION_LANES(name, dtypes, meaning)              \
  case Opcode::name:                                      \
    if constexpr (accepts(Operands::dtypes, dtype_of<T>)) \
      return map<T>(op, [](T a, T b, T c) {               \
        (void)b, (void)c;                                 \
        return meaning;                                   \
      });                                                 \
    break;
#define OP1(name, dtypes, flags, meaning, ...) FLUXION_LANES(name, dtypes, meaning)
#define OP2(name, dtypes, flags, meaning, ...) FLUXION_LANES(name, dtypes, meaning)
#define OP3(name, dtypes, flags, meaning, ...) FLUXION_LANES(name, dtypes, meaning)
    switch (op.code) {
#include "fluxion/ops.def"
      default: break;
    }
#undef FLUXION_LANES
    throw std::runtime_error(std::string("lanes: bad operand type of ") + name_of(op.code));
  }

  const Function& f_;
  std::vector<Lane> values_;
  std::size_t n_;
};

}  // namespace fluxion::testing
