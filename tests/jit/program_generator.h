// Random programs in value form on i32 arrays, so that every result is exact: launches of every role, array and
// sequence arithmetic, nested for, while and if that carry and collect arrays, scalars and sequences.
#pragma once
#include <memory>
#include <random>

#include "fluxion/builder.h"

namespace program_test {
using namespace fluxion;

inline constexpr std::int64_t kLength = 5;

inline Type array_type() {
  const std::int64_t shape[] = {kLength};
  return Type::array(DType::i32, shape);
}

struct Kernels {
  std::shared_ptr<const Function> mix, scale, scatter, copy;
};

inline std::shared_ptr<const Function> kernel(const char* name, const std::function<void(Builder&, ValueId)>& body) {
  auto f = std::make_shared<Function>();
  f->kind = Function::Kind::kernel;
  f->name = name;
  f->domain_rank = 1;
  Builder b(*f);
  body(b, b.index(0));
  b.finish();
  return f;
}

inline Kernels kernels() {
  Kernels k;
  k.mix = kernel("mix", [](Builder& b, ValueId i) {  // out[i] = 3 a[i] + c[i + 1 mod n]
    const auto a = b.memory_parameter(DType::i32, 1, Role::in, "a"), c = b.memory_parameter(DType::i32, 1, Role::in, "c");
    const auto out = b.memory_parameter(DType::i32, 1, Role::out, "out");
    const ValueId next = b.emit(Opcode::rem, {b.add(i, b.i32(1)), b.extent(c, 0)});
    b.store(out, {&i, 1}, b.add(b.mul(b.i32(3), b.load(a, {&i, 1})), b.load(c, {&next, 1})));
  });
  k.scale = kernel("scale", [](Builder& b, ValueId i) {  // y[i] = y[i] s + x[i]
    const auto y = b.memory_parameter(DType::i32, 1, Role::inout, "y");
    const auto s = b.scalar_parameter(DType::i32, "s");
    const auto x = b.memory_parameter(DType::i32, 1, Role::in, "x");
    b.store(y, {&i, 1}, b.add(b.mul(b.load(y, {&i, 1}), s), b.load(x, {&i, 1})));
  });
  k.scatter = kernel("scatter", [](Builder& b, ValueId i) {  // e[2 i mod n] += x[i]
    const auto x = b.memory_parameter(DType::i32, 1, Role::in, "x");
    const auto e = b.memory_parameter(DType::i32, 1, Role::accum, "e");
    const ValueId at = b.emit(Opcode::rem, {b.mul(i, b.i32(2)), b.extent(e, 0)});
    b.accumulate(e, {&at, 1}, b.load(x, {&i, 1}));
  });
  k.copy = kernel("copy", [](Builder& b, ValueId i) {  // out[i] = x[i] + 1, element by element
    const auto x = b.memory_parameter(DType::i32, 1, Role::in, "x");
    const auto out = b.memory_parameter(DType::i32, 1, Role::out, "out");
    b.store(out, {&i, 1}, b.add(b.load(x, {&i, 1}), b.i32(1)));
  });
  return k;
}

class Generator {
 public:
  explicit Generator(unsigned seed) : rng_(seed), b_(f_), k_(kernels()) {}

  Function make() {
    f_.kind = Function::Kind::program;
    f_.name = "random";
    Pool pool;
    pool.scalars = {b_.scalar_parameter(DType::i32, "s"), b_.i32(3)};
    pool.arrays = {b_.array_parameter(array_type(), Role::in, "x"), b_.array_parameter(array_type(), Role::inout, "y")};
    b_.array_parameter(array_type(), Role::out, "z");
    pool.arrays.push_back(b_.array_parameter(array_type(), Role::accum, "e"));
    statements(pool, 3, 6);
    Values out;
    for (int k = 0; k < 5; ++k) out.push_back(any(pool.arrays));
    out.push_back(any(pool.scalars));
    b_.finish(out);
    return std::move(f_);
  }

 private:
  struct Pool {
    Values arrays, scalars, sequences;
  };

  int pick(int n) { return static_cast<int>(rng_() % static_cast<unsigned>(n)); }
  ValueId any(const Values& from) {
    // The newest are picked more often, so that some old versions die.
    const int n = static_cast<int>(from.size());
    return from[static_cast<std::size_t>(pick(2) ? n - 1 - pick(std::min(n, 2)) : pick(n))];
  }
  ValueId domain() { return b_.i32(kLength); }

  void statements(Pool& pool, int depth, int count) {
    for (int s = 0; s < count; ++s) statement(pool, depth);
  }
  void statement(Pool& pool, int depth) {
    const ValueId n = domain();
    switch (pick(depth > 0 ? 15 : 11)) {
      case 0: pool.arrays.push_back(launch(k_.mix, {any(pool.arrays), any(pool.arrays)}, 1)); break;
      case 1:
      case 2: pool.arrays.push_back(launch(k_.scale, {any(pool.arrays), any(pool.scalars), any(pool.arrays)}, 0)); break;
      case 3: pool.arrays.push_back(launch(k_.scatter, {any(pool.arrays), any(pool.arrays)}, 0)); break;
      case 4: pool.arrays.push_back(launch(k_.copy, {any(pool.arrays)}, 1)); break;
      case 5: pool.arrays.push_back(b_.add(any(pool.arrays), any(pool.arrays))); break;
      case 6: pool.arrays.push_back(b_.zero(array_type())); break;
      case 7: pool.scalars.push_back(b_.add(any(pool.scalars), b_.mul(any(pool.scalars), b_.i32(7)))); break;
      case 8:
      case 9: sequence(pool); break;
      case 10:
        if (pick(4) == 0)
          pool.sequences.push_back(b_.zeros(pick(2) ? array_type().as_seq() : Type(DType::i32).as_seq(), b_.i32(1 + pick(3))));
        break;
      case 11: branch(pool, depth - 1); break;
      case 12:
      case 13: for_loop(pool, depth - 1); break;
      default: while_loop(pool, depth - 1);
    }
    (void)n;
  }
  ValueId launch(const std::shared_ptr<const Function>& k, const Values& arguments, int outs) {
    const Type t = array_type();
    const ValueId n = domain();
    return b_.launch(k, {&n, 1}, arguments, {&t, static_cast<std::size_t>(outs)})[0];
  }
  /// A position within `s`, whose length may be 0: the caller reads under `if`.
  ValueId position(ValueId s) { return b_.emit(Opcode::rem, {b_.emit(Opcode::bit_and, {b_.i32(pick(9)), b_.i32(7)}), b_.seq_len(s)}); }
  void sequence(Pool& pool) {
    if (pool.sequences.empty()) return;
    const ValueId s = any(pool.sequences);
    const Type item = f_.type(s).item();
    const ValueId some = b_.emit(Opcode::gt, {b_.seq_len(s), b_.i32(0)});
    const int what = pick(3);
    if (what == 0) {
      if (item.is_seq()) {
        const Values got =
            b_.if_(some, [&] { return Values{b_.seq_get(s, position(s))}; }, [&] { return Values{b_.zeros(item, b_.i32(1))}; });
        pool.sequences.push_back(got[0]);
      } else {
        const Values got = b_.if_(some, [&] { return Values{b_.seq_get(s, position(s))}; }, [&] { return Values{b_.zero(item)}; });
        (item.is_array() ? pool.arrays : pool.scalars).push_back(got[0]);
      }
      return;
    }
    if (item.is_seq()) return;
    const ValueId v = any(item.is_array() ? pool.arrays : pool.scalars);
    pool.sequences.push_back(b_.if_(
        some, [&] { return Values{what == 1 ? b_.seq_set(s, position(s), v) : b_.seq_add_at(s, position(s), v)}; },
        [&] { return Values{s}; })[0]);
  }
  Values outgoing(Pool& inner, const Values& like) {
    Values out;
    for (ValueId v : like) {
      const Type& t = f_.type(v);
      if (t.is_array()) {
        out.push_back(any(inner.arrays));
      } else if (t.is_scalar()) {
        out.push_back(any(inner.scalars));
      } else {
        ValueId best = v;
        for (ValueId s : inner.sequences)
          if (f_.type(s) == t && pick(2)) best = s;
        out.push_back(best);
      }
    }
    return out;
  }
  Values incoming(Pool& pool) {
    Values in;
    for (int k = pick(4); k > 0; --k) in.push_back(any(pool.arrays));
    if (pick(2)) in.push_back(any(pool.scalars));
    if (!pool.sequences.empty() && pick(2)) in.push_back(any(pool.sequences));
    return in;
  }
  void keep(Pool& pool, const Values& values) {
    for (ValueId v : values) (f_.type(v).is_array() ? pool.arrays : f_.type(v).is_scalar() ? pool.scalars : pool.sequences).push_back(v);
  }
  ValueId condition(Pool& pool) { return b_.emit(Opcode::eq, {b_.emit(Opcode::bit_and, {any(pool.scalars), b_.i32(1)}), b_.i32(pick(2))}); }
  void branch(Pool& pool, int depth) {
    Values like = incoming(pool);
    const ValueId c = condition(pool);
    const auto arm = [&] {
      Pool inner = pool;
      statements(inner, depth, 1 + pick(3));
      return outgoing(inner, like);
    };
    keep(pool, b_.if_(c, arm, arm));
  }
  /// The carried copies, with the sequences of the enclosing scopes and new ones.
  Pool inside(const Pool& pool, const Values& carries) {
    Pool inner = pool;
    keep(inner, carries);
    return inner;
  }
  Values collected(Pool& inner, const Values& own) {
    Values out;
    for (int k = pick(3); k > 0; --k) {
      const int what = pick(6);
      if (what == 0 && !inner.sequences.empty() && f_.type(inner.sequences.back()).seq < 2) out.push_back(inner.sequences.back());
      else if (what == 1) out.push_back(any(inner.scalars));
      else if (what == 2 && !own.empty() && f_.type(own[0]).is_array()) out.push_back(own[0]);
      else out.push_back(any(inner.arrays));
    }
    return out;
  }
  void for_loop(Pool& pool, int depth) {
    const Values init = incoming(pool);
    const auto r = b_.for_(
        b_.i32(pick(2)), b_.i32(pick(5)), init,
        [&](ValueId i, const Values& c) {
          Pool inner = inside(pool, c);
          inner.scalars.push_back(i);
          statements(inner, depth, 1 + pick(4));
          return Builder::LoopYield{outgoing(inner, c), collected(inner, c)};
        },
        pick(2) == 0);
    keep(pool, r.carries);
    keep(pool, r.seqs);
  }
  void while_loop(Pool& pool, int depth) {
    Values init = incoming(pool);
    init.push_back(b_.i32(0));
    const auto r = b_.while_(
        init,
        [&](const Values& c) {
          Pool inner = inside(pool, c);
          if (pick(3) == 0) statements(inner, 0, 1);
          Values passed = pick(3) ? c : outgoing(inner, c);
          passed.back() = c.back();
          return std::pair{b_.emit(Opcode::lt, {c.back(), b_.i32(1 + pick(3))}), passed};
        },
        [&](const Values& c) {
          Pool inner = inside(pool, c);
          statements(inner, depth, 1 + pick(3));
          Values next = outgoing(inner, c);
          next.back() = b_.add(c.back(), b_.i32(1));
          Values out;
          if (pick(2)) out.push_back(any(inner.arrays));
          return Builder::LoopYield{next, out};
        });
    keep(pool, r.carries);
    keep(pool, r.seqs);
  }

  std::mt19937 rng_;
  Function f_;
  Builder b_;
  Kernels k_;
};

}  // namespace program_test
