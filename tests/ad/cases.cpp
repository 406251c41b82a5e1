#include "cases.h"

namespace fluxion::testing {

std::vector<Case> straight_cases() {
  std::vector<Case> out;
  {
    Kernel k("products");
    M x = k.in(), y = k.out();
    V p = k.scalar(), t = k.index(), v = x[t];
    y.set(t, sin(v) * p + v * v / (v + 2.0) - exp(v * p));
    out.push_back({"products of a load and a scalar parameter", k.done()});
  }
  {
    Kernel k("energy");
    M x = k.in(), e = k.accum();
    V v = x[k.index()];
    e.add(i(0), 0.5 * v * v + cos(3.0 * v));
    out.push_back({"a sum over threads", k.done()});
  }
  {
    Kernel k("gather");
    M x = k.in(), idx = k.in(DType::i32), y = k.out();
    V t = k.index(), j = idx[t];
    y.set(t, x[j] * x[j] + x[i(0)]);
    out.push_back({"a gather that reads elements many times", k.done()});
  }
  {
    Kernel k("scatter");
    M x = k.in(), idx = k.in(DType::i32), g = k.accum();
    V t = k.index(), v = x[t];
    g.add(idx[t], v * v);
    g.add(idx[t], sin(v));
    out.push_back({"scatters twice to one element", k.done()});
  }
  {
    Kernel k("minmax");
    M x = k.in(), z = k.in(), y = k.out();
    V t = k.index(), a = x[t], b = z[t];
    y.set(t, op(Opcode::min, a, b) * 3.0 + op(Opcode::max, a, b * 0.9) * a + op(Opcode::abs, a - b));
    out.push_back({"min max and abs", k.done()});
  }
  {
    Kernel k("fma");
    M x = k.in(), y = k.out();
    V t = k.index(), a = x[t];
    V h = op(Opcode::hypot, a, a * 2.0);
    y.set(t, k.b.emit(Opcode::fma, {a.id, h.id, sin(a).id}));
    out.push_back({"fma and hypot", k.done()});
  }
  {
    Kernel k("select");
    M x = k.in(), y = k.out();
    V t = k.index(), a = x[t];
    y.set(t, select(a > 1.0, a * a, sin(a)) * select(a > 0.9, c(2), a));
    out.push_back({"select", k.done()});
  }
  {
    Kernel k("cell");
    M x = k.in(), g = k.accum(), y = k.out();
    V t = k.index(), a = x[t] * 3.0;
    V base = to(a - 0.5, DType::i32), f = a - to(base, DType::f64);
    g.add(base, 0.5 * f * f);
    y.set(t, f * a);
    out.push_back({"a grid index computed from a position", k.done()});
  }
  {
    Kernel k("single");
    M x = k.in(DType::f32), y = k.out(DType::f32);
    V t = k.index(), a = to(x[t], DType::f64);
    y.set(t, to(sin(a) * a, DType::f32));
    out.push_back({"conversions between f32 and f64", k.done()});
  }
  {
    Kernel k("half");
    M x = k.in(DType::bf16), z = k.in(DType::f16), y = k.out(DType::f16);
    V t = k.index(), a = to(x[t], DType::f32) * to(z[t], DType::f32);
    y.set(t, to(a * a, DType::f16));
    out.push_back({"half precision in memory", k.done()});
  }
  {
    Kernel k("leaves");
    Layout particle{{{DType::f64, 0}, {DType::f64, 8}, {DType::i32, 16}}, 24};
    const LayoutId id = intern(particle);
    M x = k.in(id), y = k.inout(id);
    V t = k.index(), a = x.at({t}, 0), b = x.at({t}, 1), n = to(x.at({t}, 2), DType::f64);
    y.set(t, a * b + n * y.at({t}, 1), 0);
    y.set(t, x.at({t}, 2), 2);
    y.add(t, a, 1);
    out.push_back({"elements with float and integer leaves", k.done()});
  }
  {
    Kernel k("plane", 2);
    M x = k.in(DType::f64, 2), y = k.out(DType::f64, 2);
    V r = k.index(0), q = k.index(1);
    V n = k.b.extent(x.id, 1);
    V east = op(Opcode::min, q + 1, n - 1);
    y.set({r, q}, x.at({r, q}) * x.at({r, east}) + x.at({q, r}));
    out.push_back({"two axes with a neighbour and a transpose", k.done(), {}, {6, 6, 1}});
  }
  return out;
}

std::vector<Case> control_cases() {
  std::vector<Case> out;
  {
    Kernel k("if");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t], w = v * v;
    V r = if_(v > 1.0, [&] { return std::vector<V>{sin(w) * v}; }, [&] { return std::vector<V>{v}; })[0];
    y.set(t, r * w);
    out.push_back({"an if that uses values from outside", k.done()});
  }
  {
    Kernel k("nested if");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t];
    V r = if_(
        v > 0.8,
        [&] {
          V u = v * v;
          V q = if_(v > 1.1, [&] { return std::vector<V>{exp(u)}; }, [&] { return std::vector<V>{u * v}; })[0];
          return std::vector<V>{q * u};
        },
        [&] { return std::vector<V>{cos(v)}; })[0];
    y.set(t, r);
    out.push_back({"nested ifs", k.done()});
  }
  {
    Kernel k("power");
    M x = k.in(), n = k.in(DType::i32), y = k.out();
    V t = k.index(), v = x[t], m = n[t];
    V r = for_(i(0), m * m, {c(1)}, [&](V, auto a) { return std::vector<V>{a[0] * v}; })[0];
    y.set(t, r);
    out.push_back({"a power by repeated products with trips of zero and more", k.done()});
  }
  {
    Kernel k("before");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t], s = sin(v);
    V r = for_(i(0), i(4), {s}, [&](V j, auto a) { return std::vector<V>{a[0] * s + to(j, DType::f64) * v}; })[0];
    y.set(t, r * s);
    out.push_back({"a variable set before a loop and used in and after it", k.done()});
  }
  {
    Kernel k("down");
    M x = k.in(), y = k.out();
    V t = k.index();
    V r = for_(i(1), i(5), {c(0.5)}, [&](V j, auto a) { return std::vector<V>{a[0] * x[j] + sin(a[0])}; }, true)[0];
    y.set(t, r * x[t]);
    out.push_back({"a loop that runs down", k.done()});
  }
  {
    Kernel k("swap");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t];
    auto r = for_(i(0), i(5), {v, v * v}, [&](V, auto a) { return std::vector<V>{a[1], a[0] * v}; });
    y.set(t, r[0] * 2.0 + r[1]);
    out.push_back({"two loop variables swapped each iteration", k.done()});
  }
  {
    Kernel k("nest");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t];
    V r = for_(i(0), i(3), {c(1)}, [&](V j, auto a) {
      V inner = for_(i(0), j + 1, {a[0]}, [&](V m, auto q) { return std::vector<V>{sin(q[0] * v) + x[m]}; })[0];
      return std::vector<V>{inner * a[0]};
    })[0];
    y.set(t, r);
    out.push_back({"nested dynamic loops", k.done()});
  }
  {
    Kernel k("deep");
    M x = k.in(), e = k.accum();
    V t = k.index(), v = x[t];
    for_(i(0), i(3), {v}, [&](V j, auto a) {
      V w = a[0] * a[0] * 0.3;
      for_(i(0), i(2), {w}, [&](V m, auto q) {
        V z = for_(i(0), m + j, {q[0]}, [&](V, auto p) { return std::vector<V>{p[0] * p[0] * 0.5}; })[0];
        e.add(m, z * v);
        return std::vector<V>{z + a[0]};
      });
      return std::vector<V>{w + v};
    });
    out.push_back({"three nested loops accumulating into one element", k.done()});
  }
  {
    Kernel k("newton");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t];
    V r = while_(
        {v + 1.0, i(0)}, [&](auto a) { return op(Opcode::bit_and, op(Opcode::abs, a[0] * a[0] - v) > 1e-13, a[1] < 30.0); },
        [&](auto a) { return std::vector<V>{0.5 * (a[0] + v / a[0]), a[1] + 1.0}; })[0];
    y.set(t, r);
    out.push_back({"a while that is Newton's iteration", k.done()});
  }
  {
    Kernel k("condition");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t];
    // The condition region itself changes what it passes on.
    const Values init = {v.id, i(0).id};
    auto r = k.b.while_(
        init,
        [&](const Values& a) {
          V n = V(a[1]) + 1.0;
          return std::pair((n < 5.0).id, Values{(sin(V(a[0])) + v).id, n.id});
        },
        [&](const Values& a) { return Builder::LoopYield{{(V(a[0]) * 0.9).id, a[1]}, {}}; });
    y.set(t, V(r.carries[0]) * v);
    out.push_back({"a while whose condition computes", k.done()});
  }
  {
    Kernel k("never");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t];
    V r = while_({v}, [&](auto a) { return a[0] > 100.0; }, [&](auto a) { return std::vector<V>{a[0] * v}; })[0];
    y.set(t, r * v);
    out.push_back({"a while without a trip", k.done()});
  }
  {
    Kernel k("while in for");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t];
    V r = for_(i(0), i(3), {v}, [&](V j, auto a) {
      auto w = while_(
          {a[0], i(0)}, [&](auto q) { return q[1] < j + t; }, [&](auto q) { return std::vector<V>{sin(q[0]) + 0.5 * v, q[1] + 1.0}; });
      return std::vector<V>{w[0] * v};
    })[0];
    y.set(t, r);
    out.push_back({"a while in a for", k.done()});
  }
  {
    Kernel k("state");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t];
    auto r = for_(i(0), i(6), {v, i(1), V(k.b.boolean(false))}, [&](V j, auto a) {
      V odd = (j % 2.0) == 1.0;
      V n = select(odd, a[1] * 2.0, a[1]);
      return std::vector<V>{select(a[2], a[0] * v, a[0] + to(a[1], DType::f64)), n, odd};
    });
    y.set(t, r[0] * to(r[1], DType::f64));
    out.push_back({"integer and boolean state beside float state", k.done()});
  }
  {
    Kernel k("escape");
    M x = k.in(), y = k.out();
    V t = k.index();
    // argmax by a loop; the integer leaves the loop as an index
    auto best = for_(i(1), V(k.b.extent(x.id, 0)), {x[i(0)], i(0)}, [&](V j, auto a) {
      V v = x[j], better = v > a[0];
      return std::vector<V>{select(better, v, a[0]), select(better, j, a[1])};
    });
    y.set(t, x[best[1]] * best[0] * x[t]);
    out.push_back({"an integer that leaves a loop as an index", k.done()});
  }
  {
    Kernel k("unused");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t];
    auto r = for_(i(0), i(3), {v, v}, [&](V, auto a) { return std::vector<V>{a[0] * v, a[1] + 1.0}; });
    y.set(t, r[0]);
    out.push_back({"unused float in loop state", k.done()});
  }
  {
    Kernel k("loop in if");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t];
    V r = if_(
        v > 0.9, [&] { return std::vector<V>{for_(i(0), t, {v}, [&](V, auto a) { return std::vector<V>{sin(a[0]) * v}; })[0]}; },
        [&] { return std::vector<V>{v}; })[0];
    y.set(t, r * v);
    out.push_back({"a loop in an if", k.done()});
  }
  {
    Kernel k("if in loop");
    M x = k.in(), e = k.accum();
    V t = k.index(), v = x[t];
    for_(i(0), i(5), {v}, [&](V j, auto a) {
      V r = if_((j % 2.0) == 0.0,
                [&] {
                  e.add(j, a[0] * v);
                  return std::vector<V>{a[0] * a[0]};
                },
                [&] { return std::vector<V>{a[0] + v}; })[0];
      return std::vector<V>{r * 0.5};
    });
    out.push_back({"a scatter in an if in a loop", k.done()});
  }
  {
    Kernel k("collected");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t];
    const Values init = {v.id};
    auto r = k.b.for_(i(0).id, i(4).id, init, [&](ValueId, const Values& a) {
      V n = sin(V(a[0])) * v;
      return Builder::LoopYield{{n.id}, {n.id, a[0]}};
    });
    V s = for_(i(0), i(4), {c(0)},
               [&](V j, auto a) { return std::vector<V>{a[0] + V(k.b.seq_get(r.seqs[0], j.id)) * V(k.b.seq_get(r.seqs[1], i(1).id))}; })[0];
    ValueId changed = k.b.seq_add_at(k.b.seq_set(r.seqs[0], i(2).id, (v * v).id), i(2).id, s.id);
    y.set(t, V(k.b.seq_get(changed, i(2).id)) * V(k.b.seq_get(changed, i(3).id)) + s);
    out.push_back({"collected sequences", k.done()});
  }
  return out;
}

std::vector<Case> memory_cases() {
  std::vector<Case> out;
  {
    Kernel k("increment");
    M x = k.inout();
    V t = k.index();
    x.set(t, x[t] + 1.0);
    out.push_back({"an element incremented in place", k.done()});
  }
  {
    Kernel k("square");
    M x = k.inout();
    V t = k.index();
    x.set(t, x[t] * x[t]);
    out.push_back({"an element squared in place", k.done()});
  }
  {
    Kernel k("squares");
    M x = k.inout(), y = k.out();
    V t = k.index();
    x.set(t, x[t] * x[t]);
    V v = x[t];
    x.set(t, sin(v));
    y.set(t, x[t] * v);
    out.push_back({"an element overwritten twice and read between", k.done()});
  }
  {
    Kernel k("killed");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t];
    y.set(t, v * v);
    y.set(t, sin(v));
    out.push_back({"a store that kills an earlier one", k.done()});
  }
  {
    Kernel k("conditional");
    M x = k.in(), y = k.inout();
    V t = k.index(), v = x[t];
    y.set(t, v * y[t]);
    when(v > 1.0, [&] { y.set(t, exp(v)); });
    out.push_back({"a conditional overwrite", k.done()});
  }
  {
    Kernel k("ewma");
    M x = k.in(), y = k.out();
    V n = k.b.extent(x.id, 0), t = k.index();
    (void)t;
    y.set(i(0), x[i(0)] * x[i(0)]);
    for_(i(1), n, {}, [&](V j, auto) {
      y.set(j, y[j - 1.0] * 0.6 + sin(x[j]) * y[j - 1.0]);
      return std::vector<V>{};
    });
    out.push_back({"a recurrence over the elements of an Out", k.done(), {}, {1, 1, 1}});
  }
  {
    Kernel k("loop store");
    M x = k.in(DType::f64, 2), y = k.inout(DType::f64, 2);
    V t = k.index();
    for_(i(0), i(6), {}, [&](V j, auto) {
      y.set({t, j}, y.at({t, j}) * x.at({t, j}));
      return std::vector<V>{};
    });
    out.push_back({"a loop that steps through elements in place", k.done()});
  }
  {
    Kernel k("repeat");
    M x = k.in(), y = k.inout();
    V t = k.index();
    for_(i(0), i(4), {}, [&](V, auto) {
      y.set(t, y[t] * y[t] * 0.7 + x[t]);
      return std::vector<V>{};
    });
    out.push_back({"a loop that overwrites one element", k.done()});
  }
  {
    Kernel k("repeat nested");
    M x = k.in(), y = k.inout();
    V t = k.index();
    for_(i(0), i(3), {}, [&](V j, auto) {
      for_(i(0), j + 1.0, {}, [&](V, auto) {
        y.set(t, sin(y[t]) * x[t] + y[t]);
        return std::vector<V>{};
      });
      when((j % 2.0) == 0.0, [&] { y.set(t, y[t] * y[t]); });
      return std::vector<V>{};
    });
    out.push_back({"nested loops that overwrite one element", k.done()});
  }
  {
    Kernel k("while memory");
    M x = k.in(), y = k.inout();
    V t = k.index();
    for_(i(0), i(3), {}, [&](V, auto) {
      while_(
          {i(0)}, [&](auto a) { return op(Opcode::bit_and, y[t] < 3.0, a[0] < 9.0); },
          [&](auto a) {
            y.set(t, y[t] * (1.0 + x[t]));
            return std::vector<V>{a[0] + 1.0};
          });
      y.set(t, y[t] * 0.4);
      return std::vector<V>{};
    });
    out.push_back({"a while on memory that it changes in a for", k.done()});
  }
  {
    Kernel k("accumulate own");
    M x = k.in(), y = k.inout();
    V t = k.index(), v = x[t];
    y.add(t, v * v);
    V w = y[t];
    y.add(t, w * v);
    y.set(t, y[t] * w);
    out.push_back({"accumulates and loads of one element", k.done()});
  }
  {
    Kernel k("accumulate then read");
    M x = k.in(), y = k.inout(), z = k.out();
    V t = k.index(), v = x[t];
    y.add(t, v * v);
    y.add(t, sin(v));
    z.set(t, y[t] * v);
    out.push_back({"two accumulates into an element that is then read", k.done()});
  }
  {
    Kernel k("local");
    M x = k.in(), y = k.out();
    M l = k.local(4);
    V t = k.index(), v = x[t];
    l.set(i(0), v);
    for_(i(1), i(4), {}, [&](V j, auto) {
      l.set(j, l[j - 1.0] * v + sin(l[j - 1.0]));
      return std::vector<V>{};
    });
    y.set(t, for_(i(0), i(4), {c(0)}, [&](V j, auto a) { return std::vector<V>{a[0] + l[j] * l[j]}; })[0]);
    out.push_back({"a local array", k.done()});
  }
  {
    Kernel k("local in loop");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t];
    V r = for_(i(0), i(3), {v}, [&](V, auto a) {
      M l = k.local(3);
      l.set(i(0), a[0]);
      for_(i(1), i(3), {}, [&](V m, auto) {
        l.set(m, sin(l[m - 1.0]) * v);
        l.add(m, a[0]);
        return std::vector<V>{};
      });
      return std::vector<V>{l[i(2)] * l[i(1)] + l[i(0)]};
    })[0];
    y.set(t, r);
    out.push_back({"a local array made anew in each iteration", k.done()});
  }
  {
    Kernel k("integers");
    M x = k.in(), n = k.inout(DType::i32), y = k.out();
    V t = k.index(), v = x[t];
    n.set(t, n[t] + 1.0);
    V r = for_(i(0), n[t], {v}, [&](V, auto a) { return std::vector<V>{a[0] * v}; })[0];
    n.set(t, i(0));
    y.set(t, r);
    out.push_back({"an integer buffer that is changed and then read", k.done()});
  }
  {
    Kernel k("red black");
    M x = k.inout(), w = k.in();
    V t = k.index(), n = k.b.extent(x.id, 0);
    V j = t * 2.0;
    // even elements from odd neighbours, which nobody writes
    V left = op(Opcode::max, j - 1.0, i(1)), right = op(Opcode::min, j + 1.0, n - 1.0);
    x.set(j, (x[left] + x[right]) * w[t] - x[j]);
    out.push_back({"one colour of a red and black sweep", k.done(), {}, {3, 1, 1}});
  }
  {
    Kernel k("both arms");
    M x = k.in(), y = k.out();
    V t = k.index(), v = x[t];
    if_(
        v > 1.0,
        [&] {
          y.set(t, v * v);
          return std::vector<V>{};
        },
        [&] {
          y.set(t, exp(v));
          return std::vector<V>{};
        });
    out.push_back({"an Out stored in both arms", k.done()});
  }
  return out;
}

}  // namespace fluxion::testing
