// Captured control flow against the same C++ run on the host.
#include "dsl.h"

namespace {
const std::vector<int> kInputs = {0, 1, 2, 3, 5, 7, 10, -1, -4};

/// Runs `kernel(n, out)` for each input in the evaluator and compares with `host(n)`.
template <class K, class H> void same_as_host(const K& kernel, const H& host) {
  std::vector<int> x = kInputs, out(x.size(), -99), expected;
  for (int n : x) expected.push_back(host(n));
  run_over(
      static_cast<std::int64_t>(x.size()),
      [&](fx::In<int> x, fx::InOut<int> y) {
        auto i = fx::index();
        fx::Int n = x[i];
        y[i] = kernel(n);
      },
      x, out);
  CHECK(out == expected);
}
}  // namespace

TEST_CASE("a captured expression computes what it says", "[dsl]") {
  std::vector<float> x = {1, 2, 3, 4}, y = {10, 20, 30, 40};
  run_kernel(
      [](fx::In<float> x, fx::InOut<float> y, fx::Float a) {
        auto i = fx::index();
        y[i] = a * x[i] + y[i];
      },
      {4, 1, 1}, {bits(2.f)}, x, y);
  CHECK(y == std::vector<float>{12, 24, 36, 48});
}

TEST_CASE("for with a carried sum", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 0;
        for (auto i : fx::range(n)) s += i * i;
        return s;
      },
      [](int n) {
        int s = 0;
        for (int i = 0; i < n; ++i) s += i * i;
        return s;
      });
}
TEST_CASE("for with bounds and steps", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 1;
        for (auto i : fx::range(-2, n)) s = s * 3 + i;
        return s;
      },
      [](int n) {
        int s = 1;
        for (int i = -2; i < n; ++i) s = s * 3 + i;
        return s;
      });
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 1;
        for (auto i : fx::range(n, -1, -1)) s = s * 3 + i;
        return s;
      },
      [](int n) {
        int s = 1;
        for (int i = n; i > -1; --i) s = s * 3 + i;
        return s;
      });
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 1;
        for (auto i : fx::range(0, n, 3)) s = s * 3 + i;
        return s;
      },
      [](int n) {
        int s = 1;
        for (int i = 0; i < n; i += 3) s = s * 3 + i;
        return s;
      });
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 1;
        for (auto i : fx::range(n, -5, -2)) s = s * 3 + i;
        return s;
      },
      [](int n) {
        int s = 1;
        for (int i = n; i > -5; i -= 2) s = s * 3 + i;
        return s;
      });
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 1, d = 2;
        d = d + (n & 1);
        for (auto i : fx::range(0, n, d)) s = s * 3 + i;
        return s;
      },
      [](int n) {
        int s = 1, d = 2 + (n & 1);
        for (int i = 0; i < n; i += d) s = s * 3 + i;
        return s;
      });
  same_as_host(
      [](fx::Int) {
        fx::Int s = 1;
        for (auto i : fx::range(2, 9, 3)) s = s * 3 + i;
        return s;
      },
      [](int) {
        int s = 1;
        for (int i = 2; i < 9; i += 3) s = s * 3 + i;
        return s;
      });
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 1;
        for (auto i : fx::range(0, n, 0)) s += i + 1;
        return s;
      },
      [](int) { return 1; });
}
TEST_CASE("two names swapped each round", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int a = 0, b = 1;
        for (auto i : fx::range(n)) {
          (void)i;
          std::swap(a, b);
          b += a;
        }
        return b;
      },
      [](int n) {
        int a = 0, b = 1;
        for (int i = 0; i < n; ++i) {
          std::swap(a, b);
          b += a;
        }
        return b;
      });
}
TEST_CASE("if with both arms and the chain elif", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int r = 5;
        fx::if_(n < 1, [&] { r = 1; }).elif (n < 3, [&] { r = r + 2; }).elif (n == 5, [&] { r = 9; }).else_([&] { r = -r; });
        return r;
      },
      [](int n) {
        int r = 5;
        if (n < 1) r = 1;
        else if (n < 3) r = r + 2;
        else if (n == 5) r = 9;
        else r = -r;
        return r;
      });
}
TEST_CASE("the condition of elif is evaluated in the else arm", "[dsl]") {
  std::vector<int> x = {4, 7}, y(3, 0);
  run_over(
      3,
      [](fx::In<int> x, fx::InOut<int> y) {
        auto i = fx::index();
        fx::if_(i >= 2, [&] { y[i] = -1; }).elif (x[i] > 5, [&] { y[i] = 1; }).else_([&] { y[i] = 2; });
      },
      x, y);
  CHECK(y == std::vector<int>{2, 1, -1});
}
TEST_CASE("if as a value", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int r = fx::if_(n > 2, [&] { return n * 2; }, [&] { return -1; });
        return r;
      },
      [](int n) { return n > 2 ? n * 2 : -1; });
}
TEST_CASE("while", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int c = 0, m = n;
        for (auto _ : fx::while_([&] { return m > 0; })) {
          m = m / 2;
          c += 1;
        }
        return c;
      },
      [](int n) {
        int c = 0;
        while (n > 0) {
          n /= 2;
          ++c;
        }
        return c;
      });
}
TEST_CASE("a condition with a side effect", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int c = 0, m = n, last;
        for (auto _ : fx::while_([&] {
               m -= 1;
               last = m * 2;
               return m > 0;
             }))
          c += last;
        return c + m + last;
      },
      [](int n) {
        int c = 0, last;
        while (n -= 1, last = n * 2, n > 0) c += last;
        return c + n + last;
      });
}
TEST_CASE("break in for", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 0;
        for (auto i : fx::range(n)) {
          fx::break_if(i * i > 10);
          s += i;
        }
        return s;
      },
      [](int n) {
        int s = 0;
        for (int i = 0; i < n; ++i) {
          if (i * i > 10) break;
          s += i;
        }
        return s;
      });
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 0;
        for (auto i : fx::range(n, -3, -1)) {
          s += i;
          fx::if_(s > 12, [&] {
            s -= 100;
            fx::break_if(true);
          });
          s += 1;
        }
        return s;
      },
      [](int n) {
        int s = 0;
        for (int i = n; i > -3; --i) {
          s += i;
          if (s > 12) {
            s -= 100;
            break;
          }
          s += 1;
        }
        return s;
      });
}
TEST_CASE("continue in for", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 0;
        for (auto i : fx::range(n)) {
          fx::continue_if(i % 3 == 1);
          s += i;
        }
        return s;
      },
      [](int n) {
        int s = 0;
        for (int i = 0; i < n; ++i) {
          if (i % 3 == 1) continue;
          s += i;
        }
        return s;
      });
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 0;
        for (auto i : fx::range(n)) {
          fx::if_(i % 2 == 0, [&] {
            s += 10;
            fx::continue_if(i > 2);
            s += 1;
          }).else_([&] { s -= 1; });
          s *= 2;
        }
        return s;
      },
      [](int n) {
        int s = 0;
        for (int i = 0; i < n; ++i) {
          if (i % 2 == 0) {
            s += 10;
            if (i > 2) continue;
            s += 1;
          } else {
            s -= 1;
          }
          s *= 2;
        }
        return s;
      });
}
TEST_CASE("break and continue in one loop", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 0;
        for (auto i : fx::range(n)) {
          fx::if_(i == 2, [&] { fx::continue_if(true); });
          fx::if_(s > 8, [&] {
            fx::break_if(i > 1);
            s += 5;
          });
          s += i;
        }
        return s;
      },
      [](int n) {
        int s = 0;
        for (int i = 0; i < n; ++i) {
          if (i == 2) continue;
          if (s > 8) {
            if (i > 1) break;
            s += 5;
          }
          s += i;
        }
        return s;
      });
}
TEST_CASE("break leaves only the inner loop", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 0;
        for (auto i : fx::range(n)) {
          for (auto j : fx::range(i)) {
            fx::break_if(j > 2);
            fx::continue_if(j == 1);
            s += i * j;
          }
          s += 1;
          fx::break_if(s > 30);
        }
        return s;
      },
      [](int n) {
        int s = 0;
        for (int i = 0; i < n; ++i) {
          for (int j = 0; j < i; ++j) {
            if (j > 2) break;
            if (j == 1) continue;
            s += i * j;
          }
          s += 1;
          if (s > 30) break;
        }
        return s;
      });
}
TEST_CASE("while with break evaluates its condition only when it goes on", "[dsl]") {
  std::vector<int> x = {1, 2, 3}, y(1);
  run_over(
      1,
      [](fx::In<int> x, fx::InOut<int> y) {
        fx::Int k = 0, s = 0;
        for (auto _ : fx::while_([&] { return x[k] > 0; })) {  // x[3] is out of bounds
          s += x[k];
          fx::break_if(k == 2);
          k += 1;
        }
        y[0] = s;
      },
      x, y);
  CHECK(y[0] == 6);
}
TEST_CASE("return from nested loops", "[dsl]") {
  std::vector<int> x = kInputs, y(x.size(), 0), expected(x.size(), 0);
  for (std::size_t t = 0; t < x.size(); ++t)
    [&] {
      for (int i = 0; i < x[t]; ++i) {
        for (int j = 0; j < 3; ++j) {
          if (i * j == 6) return;
          expected[t] += i + j;
        }
        expected[t] += 1;
      }
      expected[t] = -expected[t];
    }();
  run_over(
      static_cast<std::int64_t>(x.size()),
      [](fx::In<int> x, fx::InOut<int> y) {
        auto t = fx::index();
        for (auto i : fx::range(x[t])) {
          for (auto j : fx::range(3)) {
            fx::return_if(i * j == 6);
            y[t] += i + j;
          }
          y[t] += 1;
        }
        y[t] = -y[t];
      },
      x, y);
  CHECK(y == expected);
}
TEST_CASE("an early return guards what follows", "[dsl]") {
  std::vector<int> y(6, 0);
  run_over(
      6,
      [](fx::InOut<int> y) {
        auto t = fx::index();
        fx::if_(t > 3, [&] {
          y[t] = 7;
          fx::return_if(true);
        });
        fx::return_if(t < 1);
        y[t] = t;
      },
      y);
  CHECK(y == std::vector<int>{0, 1, 2, 3, 7, 7});
}
TEST_CASE("an arm that surely leaves needs no value of a variable", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 0;
        for (auto i : fx::range(n)) {
          fx::Int v;
          fx::if_(i == 3, [&] { fx::break_if(true); }).else_([&] { v = i * 2; });
          s += v;
        }
        return s;
      },
      [](int n) {
        int s = 0;
        for (int i = 0; i < n; ++i) {
          if (i == 3) break;
          s += i * 2;
        }
        return s;
      });
}
TEST_CASE("the right side of && and || is skipped where the left one decides", "[dsl]") {
  std::vector<int> x = {3, -1, 4}, y(5, 0), z(5, 0);
  run_over(
      5,
      [](fx::In<int> x, fx::InOut<int> y, fx::InOut<int> z) {
        auto i = fx::index();
        y[i] = fx::select(i < x.size() && x[i] > 0, 1, 0);
        z[i] = fx::select(i >= x.extent(0) || !(x[i] > 0), 1, 0);
      },
      x, y, z);
  CHECK(y == std::vector<int>{1, 0, 1, 0, 0});
  CHECK(z == std::vector<int>{0, 1, 0, 1, 1});
}
TEST_CASE("an assignment on the right of && happens only where the left holds", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int v = 1;
        fx::Bool b = n > 2 && (v = n * n, v > 9);
        return v + fx::select(b, 100, 0);
      },
      [](int n) {
        int v = 1;
        bool b = n > 2 && (v = n * n, v > 9);
        return v + (b ? 100 : 0);
      });
}
TEST_CASE("names in containers and lambdas are names", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        std::vector<fx::Int> v = {n, n + 1, 3};
        auto bump = [&](int k) { v[k] += 10; };
        bump(1);
        for (auto i : fx::range(n)) v[2] += v[1] + i;
        return v[0] + v[2];
      },
      [](int n) {
        std::vector<int> v = {n, n + 1, 3};
        v[1] += 10;
        for (int i = 0; i < n; ++i) v[2] += v[1] + i;
        return v[0] + v[2];
      });
}
TEST_CASE("local arrays are zero where they are declared", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 0;
        for (auto i : fx::range(n)) {
          fx::Local<int, 4> t;
          t[i & 3] += i + 1;
          s += t[0] * 2 + t[1];
        }
        return s;
      },
      [](int n) {
        int s = 0;
        for (int i = 0; i < n; ++i) {
          int t[4] = {};
          t[i & 3] += i + 1;
          s += t[0] * 2 + t[1];
        }
        return s;
      });
}
TEST_CASE("half precision values round when they are assigned", "[dsl]") {
  std::vector<fx::half> x = {fx::half(1.f), fx::half(2050.f)};
  std::vector<float> y(2);
  run_over(
      2,
      [](fx::InOut<fx::half> x, fx::InOut<float> y) {
        auto i = fx::index();
        fx::Half h = x[i] + 1.f;
        for (auto k : fx::range(2)) h = h + fx::Float(k);
        y[i] = h;
        x[i] = h * 2.f;
      },
      x, y);
  CHECK(y == std::vector<float>{3, 2052});  // 2050 + 1 is a tie, and so is 2052 + 1
  CHECK(static_cast<float>(x[1]) == 4104);
}
TEST_CASE("functions are inlined in kernels and evaluated on the host", "[dsl]") {
  auto f = fx::fn([](fx::Float x, fx::Int n) {
    fx::Float r = 1;
    for (auto i : fx::range(n)) r = r * x + fx::Float(i);
    return r;
  });
  CHECK(f(2.f, 3) == 1 * 8 + 0 * 4 + 1 * 2 + 2);
  std::vector<float> y = {1, 2};
  run_over(
      2,
      [&](fx::InOut<float> y) {
        auto i = fx::index();
        fx::Float v = y[i];
        y[i] = f(v, 3) + f(v, i);
      },
      y);
  CHECK(y == std::vector<float>{5, 14});
}
TEST_CASE("every operation carries the line of the user", "[dsl]") {
  const auto line = fx::Loc::here().line;
  auto k = fx::detail::capture_kernel(
      "lines",
      [](fx::InOut<float> y) {
        auto i = fx::index();
        fx::Float v = y[i];
        fx::Float w = v * 2;
        for (auto k : fx::range(3)) { w = fx::sqrt(w) + fx::Float(k); }
        y[i] = w;
      },
      fx::Loc::here());
  for (const auto& op : k->ops) {
    INFO(fx::name_of(op.code));
    CHECK(std::string(op.loc.file).find("dsl_control.cpp") != std::string::npos);
    switch (op.code) {
      case fx::Opcode::load: CHECK(op.loc.line == line + 5); break;
      case fx::Opcode::mul: CHECK(op.loc.line == line + 6); break;
      case fx::Opcode::for_:
      case fx::Opcode::sqrt:
      case fx::Opcode::add: CHECK(op.loc.line == line + 7); break;
      case fx::Opcode::store: CHECK(op.loc.line == line + 8); break;
      default: break;
    }
  }
}

TEST_CASE("exits of a loop inside an arm that has none itself", "[dsl]") {
  same_as_host(
      [](fx::Int n) {
        fx::Int s = 0;
        fx::if_(n > 1, [&] {
          for (auto i : fx::range(n)) {
            fx::continue_if((i & 1) == 0);
            s += i;
          }
        }).else_([&] {
          for (auto i : fx::range(4)) {
            fx::break_if(i > n);
            s -= i;
          }
        });
        return s;
      },
      [](int n) {
        int s = 0;
        if (n > 1)
          for (int i = 0; i < n; ++i) {
            if ((i & 1) == 0) continue;
            s += i;
          }
        else
          for (int i = 0; i < 4; ++i) {
            if (i > n) break;
            s -= i;
          }
        return s;
      });
}
