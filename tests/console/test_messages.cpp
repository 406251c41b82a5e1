// What a session says about mistakes and about what it holds: with the user's line, with names of their own.
#include <catch2/catch.hpp>

#include "talk.h"

using namespace console_test;

namespace {
std::string report(const nlohmann::json& j) { return j["ok"] == true ? "" : j["error"]["report"].get<std::string>(); }
}  // namespace

TEST_CASE("errors deep in headers and exceptions show the user's line", "[console]") {
  const auto a = talk({"auto k = fx::kernel(\"k\", [](float x, fx::Out<float> y) { y[fx::index()] = x; });",
                       "std::vector<int> v(3);\nv.at(9)", "auto z = fx::Device::best().zeros<float>(-1);",
                       "std::vector<char> much(std::size_t(1) << 44);", "int ok = 1; std::raise(SIGSEGV);"});
  CHECK(has(report(a[0]), "input:1:26: error: static assertion failed"));
  CHECK(has(report(a[0]), "[](float x, fx::Out<float> y)"));
  CHECK(a[0]["error"]["line"] == 1);
  CHECK(has(report(a[1]), "input:3:1: error: std::out_of_range"));
  CHECK(has(report(a[1]), "    3 | v.at(9)\n      | ^"));
  CHECK(a[1]["error"]["line"] == 2);
  CHECK(has(report(a[2]), "| auto z = fx::Device::best().zeros<float>(-1);\n"));
  CHECK(has(report(a[3]), "out of memory"));
  CHECK(has(report(a[3]), "| std::vector<char> much("));
  CHECK(has(report(a[4]), "| int ok = 1; std::raise(SIGSEGV);\n      |             ^"));
}

TEST_CASE("each variable is listed once and one that cannot be named leaves the others", "[console]") {
  const auto a = talk({"auto [abc, xyz] = std::pair(1, 2);", ":vars", "using namespace std; using namespace fx;",
                       "int mat[2][2] = {{1, 2}, {3, 4}};", ":vars"});
  const std::string first = value(a[1]), all = value(a[4]);
  CHECK(has(first, "abc "));
  CHECK(first.find("abc ") == first.rfind("abc "));
  CHECK(has(all, "abc "));
  CHECK(has(all, "  1\n"));
  CHECK(has(all, "mat "));
  CHECK(has(all, "cannot be shown: reference to 'mat' is ambiguous"));
}

TEST_CASE("derivatives of programs have names and parameters of their own", "[console]") {
  const auto a =
      talk({"auto sim = fx::program(\"sim\", [](fx::Buffer<float> v) { return fx::sum(fx::square(v)); });", "fx::value_and_grad(sim)",
            "fx::vjp(sim)", "sim", "auto x = fx::Device::best().upload({1.f, 2.f});", ":time fx::value_and_grad(sim)(x)", ":spirv sim(x)"});
  CHECK(value(a[1]).starts_with("program sim.value_and_grad(f32[])"));
  CHECK(value(a[2]).starts_with("program sim.vjp(f32[], f32[])"));
  CHECK(value(a[3]).starts_with("program sim(f32[])"));
  CHECK(value(a[5]).starts_with("program sim.value_and_grad:"));
  CHECK(wrong(a[6]).starts_with(":spirv takes a kernel: \"sim\" is a program"));
}

TEST_CASE("what a command cannot take is told in its own words", "[console]") {
  const auto a = talk({"auto k = fx::kernel(\"k\", [](fx::Out<float> y) { y[fx::index()] = 1.f; });", ":time k", ":asm k --stage x",
                       ":explain k --all", "auto f = fx::fn([](fx::Float x) { return x; });", ":plot f 6 -6", ":time 1 + 1", "throw 3;",
                       "throw std::string(\"oh\");"});
  CHECK(has(wrong(a[1]), ":time needs a call with all arguments"));
  CHECK(has(wrong(a[2]), ":asm has no --stage"));
  CHECK(has(wrong(a[3]), ":explain has no --all"));
  CHECK(has(wrong(a[5]), "the interval from 6 to -6 is empty"));
  CHECK(a[6]["ok"] == true);
  CHECK(wrong(a[7]) == "an exception of type int: 3");
  CHECK(wrong(a[8]) == "an exception of type std::string: oh");
}
