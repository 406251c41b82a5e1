// Runs a Program directly, without any IR: the definition that capture, passes, evaluator and backends are held to.
// N is the type of floats: float, double, or Dual for a derivative along one direction.
#pragma once
#include <stdexcept>
#include <vector>

#include "fluxion/host_ops.h"
#include "program.h"

namespace fluxion::fuzz {

/// A number and its derivative. The derivative rules are the rows of ops.def, applied to numbers.
struct Dual {
  double v = 0, d = 0;
  Dual() = default;
  Dual(double v, double d = 0) : v(v), d(d) {}
};
inline double value_of(double v) { return v; }
inline float value_of(float v) { return v; }
inline double value_of(Dual v) { return v.v; }

template <class T>
T float_op(Opcode op, T a, T b, T c) {
  using F = HostOps<T>;
  switch (op) {
#define FLUXION_FLOAT(name, dtypes, meaning) \
  case Opcode::name:                         \
    if constexpr (accepts(Operands::dtypes, dtype_of<T>)) return static_cast<T>(meaning); else break;
#define OP1(name, dtypes, flags, meaning, ...) FLUXION_FLOAT(name, dtypes, meaning)
#define OP2(name, dtypes, flags, meaning, ...) FLUXION_FLOAT(name, dtypes, meaning)
#define OP3(name, dtypes, flags, meaning, ...) FLUXION_FLOAT(name, dtypes, meaning)
#include "fluxion/ops.def"
    default: break;
  }
  (void)b, (void)c;
  throw std::logic_error("fuzz: not an op on floats");
}

inline Dual float_op(Opcode op, Dual x, Dual y, Dual z) {
  using F = HostOps<double>;
  const double a = x.v, b = y.v, c = z.v, r = float_op<double>(op, a, b, c);
  double da = 0, db = 0, dc = 0;
  switch (op) {
#define FLUXION_FLOATS_floats(...) __VA_ARGS__
#define FLUXION_FLOATS_nums(...) __VA_ARGS__
#define FLUXION_FLOATS_ints(...)
#define FLUXION_FLOATS_bits(...)
#define FLUXION_FLOATS_all(...)
#define OP1(name, dtypes, flags, meaning, pa, doc) FLUXION_FLOATS_##dtypes(case Opcode::name: da = pa; break;)
#define OP2(name, dtypes, flags, meaning, pa, pb, doc) FLUXION_FLOATS_##dtypes(case Opcode::name: da = pa; db = pb; break;)
#define OP3(name, dtypes, flags, meaning, pa, pb, pc, doc) FLUXION_FLOATS_##dtypes(case Opcode::name: da = pa; db = pb; dc = pc; break;)
#include "fluxion/ops.def"
    default: break;
  }
  (void)c;
  const auto term = [](double p, double d) { return d == 0 ? 0 : p * d; };
  return {r, term(da, x.d) + term(db, y.d) + term(dc, z.d)};
}

inline std::int32_t int_op(Opcode op, std::int32_t a, std::int32_t b) {
  using F = HostOps<std::int32_t>;
  switch (op) {
    case Opcode::add: return F::add(a, b);
    case Opcode::sub: return F::sub(a, b);
    case Opcode::mul: return F::mul(a, b);
    case Opcode::div: return F::div(a, b);
    case Opcode::rem: return F::rem(a, b);
    case Opcode::min: return F::min(a, b);
    case Opcode::max: return F::max(a, b);
    case Opcode::neg: return F::neg(a);
    case Opcode::abs: return F::abs(a);
    case Opcode::bit_and: return a & b;
    case Opcode::bit_or: return a | b;
    case Opcode::bit_xor: return a ^ b;
    case Opcode::shl: return F::shl(a, b);
    case Opcode::shr: return F::shr(a, b);
    default: throw std::logic_error("fuzz: not an op on integers");
  }
}
template <class T>
bool test(Opcode op, T a, T b) {
  switch (op) {
    case Opcode::lt: return a < b;
    case Opcode::le: return a <= b;
    case Opcode::gt: return a > b;
    case Opcode::ge: return a >= b;
    case Opcode::eq: return a == b;
    case Opcode::ne: return a != b;
    default: throw std::logic_error("fuzz: not a comparison");
  }
}
inline std::int32_t to_int(double v) {
  if (v != v) return 0;
  return v >= 2147483647.0 ? INT32_MAX : v <= -2147483648.0 ? INT32_MIN : static_cast<std::int32_t>(v);
}

template <class N>
struct Arrays {
  std::vector<N> x, y, z, w, g;
  std::vector<std::int32_t> p, q;
  N a{};
  std::int32_t m = 0;
};

template <class N>
class Host {
 public:
  Host(const Program& p, Arrays<N>& arrays) : p_(p), arrays_(arrays), values_(static_cast<std::size_t>(p.variables)) {}
  void run(int threads) {
    for (thread_ = 0; thread_ < threads; ++thread_) block(p_.body);
  }

 private:
  struct Value {
    N f{};
    std::int32_t i = 0;
    bool b = false;
  };
  enum class Exit : std::uint8_t { none, leave, skip, stop };

  const Program& p_;
  Arrays<N>& arrays_;
  std::vector<Value> values_;
  std::vector<std::vector<N>> locals_;
  int thread_ = 0;

  std::vector<N>& floats(int memory) {
    switch (memory) {
      case kX: return arrays_.x;
      case kY: return arrays_.y;
      case kZ: return arrays_.z;
      case kW: return arrays_.w;
      case kG: return arrays_.g;
      default: return locals_.at(static_cast<std::size_t>(memory - kFirstLocal));
    }
  }
  std::size_t extent(int memory) {
    return memory == kP ? arrays_.p.size() : memory == kQ ? arrays_.q.size() : floats(memory).size();
  }
  std::size_t place(int memory, const Expr& raw) {
    const std::int32_t i = eval(raw).i;
    switch (memory) {
      case kY: return static_cast<std::size_t>(thread_);
      case kZ:
      case kQ: return static_cast<std::size_t>(2 * thread_ + (i & 1));
      default: return static_cast<std::size_t>(i & INT32_MAX) % extent(memory);
    }
  }
  Value load(int memory, std::size_t at) {
    Value v;
    if (memory == kP) v.i = arrays_.p.at(at);
    else if (memory == kQ) v.i = arrays_.q.at(at);
    else v.f = floats(memory).at(at);
    return v;
  }

  Value eval(const Expr& e) {
    Value r;
    switch (e.form) {
      case Expr::Form::literal:
        if (is_real(e.kind)) r.f = static_cast<N>(e.number);
        r.i = static_cast<std::int32_t>(e.number);
        r.b = e.number != 0;
        return r;
      case Expr::Form::variable: return values_[static_cast<std::size_t>(e.id)];
      case Expr::Form::thread: r.i = thread_; return r;
      case Expr::Form::scalar: r.f = arrays_.a; r.i = arrays_.m; return r;
      case Expr::Form::extent: r.i = static_cast<std::int32_t>(extent(e.id)); return r;
      case Expr::Form::load: return load(e.id, place(e.id, e.kids[0]));
      case Expr::Form::to_real: r.f = static_cast<N>(eval(e.kids[0]).i); return r;
      case Expr::Form::to_int: r.i = to_int(value_of(eval(e.kids[0]).f)); return r;
      case Expr::Form::both: r.b = eval(e.kids[0]).b && eval(e.kids[1]).b; return r;
      case Expr::Form::either: r.b = eval(e.kids[0]).b || eval(e.kids[1]).b; return r;
      case Expr::Form::op: break;
    }
    Value k[3];
    for (std::size_t i = 0; i < e.kids.size(); ++i) k[i] = eval(e.kids[i]);
    if (e.op == Opcode::select) return k[0].b ? k[1] : k[2];
    const Kind operands = e.kids[0].kind;
    if (e.kind == Kind::boolean) {
      if (is_real(operands)) r.b = test(e.op, value_of(k[0].f), value_of(k[1].f));
      else if (operands == Kind::integer) r.b = test(e.op, k[0].i, k[1].i);
      else r.b = e.op == Opcode::bit_not ? !k[0].b : e.op == Opcode::bit_xor ? k[0].b != k[1].b : e.op == Opcode::bit_or ? k[0].b || k[1].b : k[0].b && k[1].b;
    } else if (e.kind == Kind::integer) {
      r.i = int_op(e.op, k[0].i, k[1].i);
    } else {
      r.f = float_op(e.op, k[0].f, k[1].f, k[2].f);
    }
    return r;
  }

  Exit block(const std::vector<Stmt>& stmts) {
    for (const Stmt& s : stmts)
      if (const Exit e = step(s); e != Exit::none) return e;
    return Exit::none;
  }
  Exit step(const Stmt& s) {
    const auto at = static_cast<std::size_t>(s.id);
    switch (s.form) {
      case Stmt::Form::let:
      case Stmt::Form::set: values_[at] = eval(s.e[0]); return Exit::none;
      case Stmt::Form::choose: values_[at] = eval(s.e[0]).b ? eval(s.e[1]) : eval(s.e[2]); return Exit::none;
      case Stmt::Form::local: {
        const std::size_t l = at - kFirstLocal;
        if (locals_.size() <= l) locals_.resize(l + 1);
        locals_[l].assign(kLocalLength, N{});
        return Exit::none;
      }
      case Stmt::Form::store: {
        const std::size_t i = place(s.id, s.e[0]);
        const Value v = eval(s.e[1]);
        if (s.id == kQ) arrays_.q.at(i) = v.i;
        else floats(s.id).at(i) = v.f;
        return Exit::none;
      }
      case Stmt::Form::accumulate: {
        const std::size_t i = place(s.id, s.e[0]);
        const Value v = eval(s.e[1]);
        N& to = floats(s.id).at(i);
        to = float_op(Opcode::add, to, v.f, N{});
        return Exit::none;
      }
      case Stmt::Form::branch: return block(eval(s.e[0]).b ? s.a : s.b);
      case Stmt::Form::loop: {
        const std::int64_t lo = eval(s.e[0]).i, hi = eval(s.e[1]).i, step = eval(s.e[2]).i;
        for (std::int64_t i = lo; step > 0 ? i < hi : step < 0 && i > hi; i += step) {
          values_[at].i = static_cast<std::int32_t>(i);
          const Exit e = block(s.a);
          if (e == Exit::leave) break;
          if (e == Exit::stop) return e;
        }
        return Exit::none;
      }
      case Stmt::Form::repeat:
        while (eval(s.e[0]).b) {
          const Exit e = block(s.a);
          if (e == Exit::leave) break;
          if (e == Exit::stop) return e;
        }
        return Exit::none;
      case Stmt::Form::leave: return eval(s.e[0]).b ? Exit::leave : Exit::none;
      case Stmt::Form::skip: return eval(s.e[0]).b ? Exit::skip : Exit::none;
      case Stmt::Form::stop: return eval(s.e[0]).b ? Exit::stop : Exit::none;
    }
    return Exit::none;
  }
};

}  // namespace fluxion::fuzz
