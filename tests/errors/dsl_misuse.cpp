// Misuse of the language that shows at capture: each case is an error with the user's line that says what to do.
#include <fluxion/capture.h>
#include <fluxion/error.h>

#include <catch2/catch.hpp>
#include <optional>
#include <vector>

namespace fx = fluxion;
using Catch::Contains;

namespace {
/// Captures a kernel and gives what is thrown, with its line relative to `base`.
struct Failure {
  std::string message = "nothing was thrown";
  int line = -1;
};
template <class L> Failure capture(const L& lambda, std::uint32_t base) {
  try {
    fx::detail::capture_kernel("k", lambda, fx::Loc::here());
  } catch (const fx::KernelError& e) {
    CHECK(std::string(e.where().file).find("dsl_misuse.cpp") != std::string::npos);
    return {e.what(), static_cast<int>(e.where().line) - static_cast<int>(base)};
  }
  return {};
}
}  // namespace

// The lambda starts on the line of the macro; `at` counts from there.
#define FAILS(at, text, ...)                                \
  do {                                                      \
    const Failure failure = capture(__VA_ARGS__, __LINE__); \
    CHECK_THAT(failure.message, Contains(text));            \
    CHECK(failure.line == at);                              \
  } while (false)

TEST_CASE("a native break out of a captured loop is reported at the loop", "[errors][dsl]") {
  const auto base = fx::Loc::here().line;
  const Failure f = capture(
      [](fx::InOut<float> y) {
        for (auto i : fx::range(3)) {
          y[i] = 1;
          break;
        }
        y[0] = 2;
      },
      base);
  CHECK_THAT(f.message, Contains("a native break, return or goto leaves this captured loop; use fx::break_if(c)"));
  CHECK(f.line == 3);
}
TEST_CASE("a native return out of captured loops is reported at the innermost", "[errors][dsl]") {
  const auto base = fx::Loc::here().line;
  const Failure f = capture(
      [](fx::InOut<float> y) {
        for (auto i : fx::range(3))
          for (auto _ : fx::while_([&] { return y[i] > 0; })) {
            y[i] = 1;
            return;
          }
      },
      base);
  CHECK_THAT(f.message, Contains("fx::return_if(c)"));
  CHECK(f.line == 4);
}
TEST_CASE("a native continue is the end of the round", "[errors][dsl]") {
  CHECK_NOTHROW(fx::detail::capture_kernel(
      "k",
      [](fx::InOut<float> y) {
        for (auto i : fx::range(3)) {
          y[i] = 1;
          continue;
        }
      },
      fx::Loc::here()));
}
TEST_CASE("an exception thrown in a loop is not taken for a break", "[errors][dsl]") {
  CHECK_THROWS_WITH(fx::detail::capture_kernel(
                        "k",
                        [](fx::InOut<float> y) {
                          for (auto i : fx::range(3)) {
                            y[i] = 1;
                            throw std::runtime_error("mine");
                          }
                        },
                        fx::Loc::here()),
                    "mine");
  CHECK_FALSE(fx::detail::recording());
}
TEST_CASE("a captured value outside of a kernel is refused", "[errors][dsl]") {
  CHECK_THROWS_WITH(fx::Float(1.f), Contains("outside of its kernel or function"));
  std::optional<fx::Float> escaped;
  fx::detail::capture_kernel("k", [&](fx::InOut<float> y) { escaped.emplace(y[0]); }, fx::Loc::here());
  CHECK_THROWS_WITH(*escaped + 1, Contains("outside of its kernel or function"));
  FAILS(0, "a value that belongs to another kernel or function is used in \"k\"; pass it as a parameter",
        [&](fx::InOut<float> y) { y[0] = *escaped; });
}
TEST_CASE("a value of the surrounding kernel is refused in a function", "[errors][dsl]") {
  FAILS(0, "belongs to another kernel or function", [](fx::InOut<float> y) {
    fx::Float a = y[0];
    auto f = fx::fn([&](fx::Float x) { return x + a; });
    y[0] = f(a);
  });
}
TEST_CASE("an array of another kernel is refused", "[errors][dsl]") {
  fx::InOut<float> other;
  fx::detail::capture_kernel("first", [&](fx::InOut<float> y) { other = y; }, fx::Loc::here());
  FAILS(0, "an array of another kernel is used", [&](fx::InOut<float> y) { y[0] = other[0]; });
}
TEST_CASE("reading a variable before it is assigned names both lines", "[errors][dsl]") {
  const auto base = fx::Loc::here().line;
  const Failure f = capture(
      [](fx::InOut<float> y) {
        fx::Float v;
        y[0] = v + 1;
      },
      base);
  CHECK_THAT(f.message, Contains("a variable is read before it is assigned (declared at dsl_misuse.cpp:" + std::to_string(base + 3) + ")"));
  CHECK(f.line == 4);
}
TEST_CASE("a variable that one arm leaves without a value cannot be read", "[errors][dsl]") {
  FAILS(0, "not assigned on every path", [](fx::InOut<float> y) {
    fx::Float v;
    fx::if_(y[0] > 0, [&] { v = 1; });
    y[0] = v;
  });
}
TEST_CASE("a variable that only a loop assigns cannot be read after it", "[errors][dsl]") {
  FAILS(0, "a loop that may run zero times", [](fx::InOut<float> y) {
    fx::Float v;
    for (auto i : fx::range(3)) v = fx::Float(i);
    y[0] = v;
  });
  FAILS(0, "read before it is assigned", [](fx::InOut<float> y) {
    fx::Float v;
    for (auto i : fx::range(3)) {
      y[i] = v;
      v = 1;
    }
  });
}
TEST_CASE("a variable set after a break is not set where the loop was left", "[errors][dsl]") {
  FAILS(0, "not assigned on every path", [](fx::InOut<float> y) {
    fx::Float v;
    for (auto _ : fx::while_([&] {
           v = 1;
           return y[0] > 0;
         })) {
      fx::Float w;
      fx::if_(y[1] > 0, [&] { w = 1; });
      y[0] = w;
    }
    y[0] = v;
  });
}
TEST_CASE("a value declared in a region that has ended cannot be used", "[errors][dsl]") {
  FAILS(0, "a value declared inside a loop, an arm or a condition that has ended is used after it (declared at dsl_misuse.cpp",
        [](fx::InOut<float> y) {
          std::vector<fx::Float> v;
          for (auto i : fx::range(3)) v.push_back(y[i]);
          y[0] = v[0];
        });
  FAILS(0, "a value declared inside a loop", [](fx::InOut<float> y) {
    std::vector<fx::Float> v;
    fx::if_(y[0] > 0, [&] { v.emplace_back(1.f); });
    y[0] = v[0];
  });
  FAILS(0, "a Local declared inside a loop", [](fx::InOut<float> y) {
    std::optional<fx::Local<float, 4>> v;
    for (auto i : fx::range(3)) {
      v.emplace();
      y[i] = 0;
    }
    y[0] = (*v)[0];
  });
}
TEST_CASE("exits belong into loops", "[errors][dsl]") {
  FAILS(0, "break_if outside of a captured loop", [](fx::InOut<float> y) { fx::break_if(y[0] > 0); });
  FAILS(0, "continue_if outside of a captured loop", [](fx::InOut<float> y) { fx::if_(y[0] > 0, [&] { fx::continue_if(y[1] > 0); }); });
  FAILS(0, "break_if inside the condition of a while", [](fx::InOut<float> y) {
    for (auto i : fx::range(3))
      for (auto _ : fx::while_([&] {
             fx::break_if(y[0] > 0);
             return y[1] > 0;
           }))
        y[i] = 1;
  });
  FAILS(0, "return_if inside the condition of a while", [](fx::InOut<float> y) {
    for (auto _ : fx::while_([&] {
           fx::return_if(y[0] > 0);
           return y[1] > 0;
         }))
      y[0] = 1;
  });
  CHECK_THROWS_WITH(fx::fn([](fx::Float x) {
                      fx::return_if(x > 0);
                      return x;
                    }),
                    Contains("return_if outside of a kernel"));
}
TEST_CASE("an exit on the right side of && is refused", "[errors][dsl]") {
  FAILS(0, "on the right side of && or ||", [](fx::InOut<float> y) {
    for (auto i : fx::range(3)) {
      auto leave = [&] {
        fx::break_if(y[i] > 3);
        return y[i] > 0;
      };
      fx::if_(y[0] > 0 && leave(), [&] { y[i] = 1; });
    }
  });
}
TEST_CASE("the axes of index and domain agree", "[errors][dsl]") {
  FAILS(0, "index<2>() in a kernel over 1 axes", [](fx::InOut<float> y) {
    auto i = fx::index();
    auto ij = fx::index<2>();
    y[i] = fx::Float(ij.x);
  });
  FAILS(0, "domain(1) in a kernel over 1 axes", [](fx::InOut<float> y) { y[0] = fx::Float(fx::domain(1)); });
  FAILS(0, "extent(2) of an array of 1 axes", [](fx::InOut<float> y) { y[0] = fx::Float(y.extent(2)); });
  CHECK_THROWS_WITH(fx::fn([](fx::Float x) { return x + fx::Float(fx::index()); }),
                    Contains("index() in a function: only kernels run over a domain"));
}
TEST_CASE("numbers of the host must fit", "[errors][dsl]") {
  FAILS(0, "the number 300 does not fit into i8", [](fx::InOut<std::int8_t> y) { y[0] = 300; });
  FAILS(0, "the number 5000000000 does not fit into i32", [](fx::InOut<int> y) { y[0] = y[0] + 5000000000; });
}
TEST_CASE("a function cannot return half precision", "[errors][dsl]") {
  CHECK_THROWS_WITH(fx::fn([](fx::Float x) {
                      fx::Half h = x;
                      return h;
                    }),
                    Contains("return fx::Float"));
}
TEST_CASE("a text has a place for each value", "[errors][dsl]") {
  FAILS(0, "\"a {} b {}\" has 2 places {} for 1 values", [](fx::InOut<float> y) { fx::print("a {} b {}", y[0]); });
  FAILS(0, "has 0 places {} for 1 values", [](fx::InOut<float> y) { fx::check(y[0] > 0, "positive", y[0]); });
}
TEST_CASE("a native loop that records thousands of operations from one line is warned about", "[errors][dsl]") {
  static std::string warning;
  static std::uint32_t line;
  warning.clear();
  fx::set_warning_sink([](fx::Loc at, const char* text, void*) { warning = text, line = at.line; });
  const auto base = fx::Loc::here().line;
  fx::detail::capture_kernel(
      "k",
      [](fx::InOut<float> y) {
        fx::Float s = 0;
        for (int i = 0; i < 1000; ++i) s += y[i] * 2;
        y[0] = s;
      },
      fx::Loc::here());
  CHECK_THAT(warning, Contains("native loop unrolled at dsl_misuse.cpp:" + std::to_string(base + 5)));
  CHECK_THAT(warning, Contains("use for (auto i : fx::range(n))"));
  CHECK(line == base + 5);
  warning.clear();
  fx::detail::capture_kernel(
      "k",
      [](fx::InOut<float> y) {
        fx::Float s = 0;
        for (auto i : fx::range(1000)) s += y[i] * 2;
        y[0] = s;
      },
      fx::Loc::here());
  CHECK(warning.empty());
  fx::set_warning_sink(nullptr);
}
TEST_CASE("after a failed capture the thread can capture again", "[errors][dsl]") {
  FAILS(0, "read before it is assigned", [](fx::InOut<float> y) {
    fx::Float v;
    y[0] = v;
  });
  CHECK_NOTHROW(fx::detail::capture_kernel("k", [](fx::InOut<float> y) { y[0] = 1; }, fx::Loc::here()));
}
