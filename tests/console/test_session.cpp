// The console at a terminal: one long session as somebody would type it, interrupts, keys.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "driver.h"

using namespace console_test;

TEST_CASE("a session types a kernel and looks at it and survives what goes wrong", "[console]") {
  const Folder folder;
  set_environment("FLUXION_HISTORY", folder / "history");
  Typed t;
  REQUIRE(t.wait_for(">>> "));
  CHECK(has(t.seen(), "fluxion 0.1"));
  // a kernel over several lines
  t.line("auto k = fx::kernel(\"k\", [](fx::In<float> x, fx::Out<float> y) {");
  t.line("  auto i = fx::index();");
  t.line("  y[i] = fx::sin(x[i]) * x[i];");
  CHECK(t.line("});").empty());
  CHECK(has(t.line("k"), "kernel k(in f32[] p0, out f32[] p1) over 1 axis"));
  t.line("auto x = fx::Device::best().upload({1.f, 2.f, 3.f}), y = fx::zeros_like(x);");
  t.line("k.over(3)(x, y)");
  CHECK(has(t.line("y"), "{0.841471, 1.8185948, 0.42336}"));
  CHECK(has(t.line(":ir k"), "kernel @k("));
  CHECK(has(t.line(":grad k"), "kernel @k.vjp("));
  t.line("auto dx = fx::zeros_like(x);");
  t.line("fx::vjp(k).over(3)(x, fx::ones_like(y), dx);");
  CHECK(has(t.line("dx.host()"), "{1.381773"));
  CHECK(has(t.line(":check k.over(3)(x, y)"), "the derivatives agree"));
  CHECK(has(t.line(":plot y"), "\xE2\xA3"));
  // five errors and a crash
  CHECK(has(t.line("x[fx::index()] = undefined"), "error: "));
  CHECK(has(t.line("int nowhere(); nowhere()"), "nowhere defined: "));
  CHECK(has(t.line("throw std::logic_error(\"oops\");"), "std::logic_error: oops"));
  CHECK(has(t.line("k.over(20)(x, y)"), "index 19 along axis 0"));
  CHECK(has(t.line("fx::Float v;"), "error: "));
  CHECK(has(t.line("*(volatile int*)nullptr = 1;"), "the code crashed: Segmentation fault (signal 11)"));
  CHECK(has(t.line("y.host()"), "{0.841471, 1.8185948, 0.42336}"));
  // undo
  t.line("int n = 1;");
  t.line("int n = 2;");
  CHECK(has(t.line("n"), "2"));
  CHECK(has(t.line(":undo"), "undone: int n = 2;\nthe next :undo takes back: int n = 1;"));
  CHECK(t.line("n") == "1\n");
  // save, forget, load
  CHECK(has(t.line(":save " + (folder / "saved.cpp")), "wrote "));
  CHECK(has(t.line(":reset"), "a new session"));
  CHECK(has(t.line("n"), "undeclared"));
  t.line(":load " + (folder / "saved.cpp"));
  CHECK(t.line("n + 1") == "2\n");
  CHECK(has(t.line("k"), "kernel k("));
  t.type(":quit\n");
  CHECK(t.end() == 0);
}

TEST_CASE("Ctrl-C drops what is typed and ends code that does not return", "[console]") {
  set_environment("FLUXION_HISTORY", "off");
  Typed t;
  REQUIRE(t.wait_for(">>> "));
  CHECK(t.line("int a = 41;").empty());
  t.line("a + (");
  t.clear();
  t.type("\003");
  CHECK(t.wait_for(">>> "));
  t.clear();
  t.type("for (;;) a = 5;\n");
  CHECK(!t.wait_for(">>> ", 0.7));
  t.type("\003");
  CHECK(t.wait_for("interrupted"));
  CHECK(t.wait_for("running 1 input again, with what that does to files"));
  CHECK(t.wait_for("the session goes on"));
  CHECK(t.wait_for(">>> "));
  CHECK(t.line("a + 1") == "42\n");
  t.type("\004");
  CHECK(t.end() == 0);
}

TEST_CASE("Ctrl-C stops launches in place and the process goes on", "[console]") {
  set_environment("FLUXION_HISTORY", "off");
  Typed t;
  REQUIRE(t.wait_for(">>> "));
  CHECK(t.line("int a = 41; auto x = fx::Device::best().full(1.f, 1000);").empty());
  const std::string process = t.line("getpid()");
  t.line("auto k = fx::kernel(\"endless\", [](fx::InOut<float> x) {");
  t.line("  auto i = fx::index(); fx::Float v = x[i];");
  t.line("  for (auto _ : fx::while_([&] { return v > 0.f; })) v = v * 0.5f + 1.f;");
  t.line("  x[i] = v;");
  CHECK(t.line("});").empty());
  const auto interrupted = [&](const std::string& code) {
    t.clear();
    t.type(code + "\n");
    CHECK(!t.wait_for("\n>>> ", 1));
    t.clear();
    t.type("\003");
    CHECK(t.wait_for(">>> ", 20));
    return t.seen();
  };
  const std::string said = interrupted("k(x)");
  CHECK(has(said, "kernel \"endless\" was cancelled in this loop"));
  CHECK(has(said, "for (auto _ : fx::while_("));
  CHECK(has(interrupted("k(x)"), "was cancelled in this loop"));  // again
  t.line("auto s = fx::kernel(\"step\", [](fx::InOut<float> x) { x[fx::index()] += 1.f; });");
  CHECK(has(interrupted("for (;;) s(x);"), "\"step\" was cancelled"));
  t.line("auto p = fx::program([=](fx::Buffer<float> x) { for (auto _ : fx::range(2000000000)) s(x); return x; });");
  CHECK(has(interrupted("p(x)"), "was cancelled"));
  CHECK(has(interrupted("fx::fn([](fx::Float v) { for (auto _ : fx::while_([&] { return v > 0.f; })) v = v + 1.f; return v; })(1.f)"),
            "was cancelled here"));
  // all is as it was
  CHECK(t.line("getpid()") == process);
  CHECK(t.line("a + 1") == "42\n");
  t.line("s(x);");
  CHECK(has(t.line("x"), "f32[1000]"));
  // a second Ctrl-C does not wait
  t.clear();
  t.type("for (;;) a = 5;\n");
  CHECK(!t.wait_for("\n>>> ", 0.5));
  t.type("\003");
  CHECK(!t.wait_for("\n>>> ", 0.2));
  t.type("\003");
  CHECK(t.wait_for("the session goes on"));
  CHECK(t.line("a") != "5\n");
}

TEST_CASE("a session at a terminal keeps its lines apart and its pastes whole", "[console]") {
  set_environment("FLUXION_HISTORY", "off");
  Typed t;
  REQUIRE(t.wait_for(">>> "));
  CHECK(t.line("std::cout << 3;") == "3\n");  // the prompt begins a line
  t.clear();
  t.type("\033[200~struct P {\n\tint a;\n};\nP{4}\n\033[201~");  // a tab that is pasted completes nothing
  CHECK(t.wait_for("{4}\n>>> "));
  // A process that ends while nothing runs takes the next input with it in no way.
  CHECK(t.line("int kept = 41; alarm(1);").empty());
  CHECK(!t.wait_for("never", 1.5));
  const std::string said = t.line("kept + 1");
  CHECK(has(said, "the code crashed: Alarm clock"));
  CHECK(said.ends_with("\n42\n"));
  CHECK(t.line("kept + 1") == "42\n");
  CHECK(has(t.line(":quit abc"), "takes a status"));
}

TEST_CASE("keys complete words and recall inputs of earlier sessions", "[console]") {
  const Folder folder;
  set_environment("FLUXION_HISTORY", folder / "history");
  {
    Typed t;
    REQUIRE(t.wait_for(">>> "));
    t.line("int twelve(int a) {");
    t.line("  return a + 12; }");
    CHECK(t.line("twelve(1)") == "13\n");
    t.clear();
    t.type("twel\t(2)\n");
    CHECK(t.wait_for("14\n>>> "));
    t.type("\004");
    CHECK(t.end() == 0);
  }
  Typed t;
  REQUIRE(t.wait_for(">>> "));
  t.line("\033[A\033[A\033[A");  // up, up, up: the function, as a whole
  CHECK(has(t.seen(), "return a + 12; }"));
  CHECK(t.line("twelve(3)").find("15\n") != std::string::npos);
  t.clear();
  t.type(":he\t\n");
  CHECK(t.wait_for(":explain"));
}

TEST_CASE("the prompt tells its state and colours are for terminals alone", "[console]") {
  set_environment("FLUXION_HISTORY", "off");
  Typed t;
  REQUIRE(t.wait_for(">>> "));
  CHECK(t.raw().find("\033[1;32m>>> ") != std::string::npos);
  t.line("(");
  CHECK(t.raw().find("\033[1;33m... ") != std::string::npos);
  t.line("nonsense)");
  CHECK(t.raw().find("\033[1;31m>>> ") != std::string::npos);
}

TEST_CASE("plots go to PNG files too", "[console]") {
  const Folder folder;
  const std::string curve = folder / "curve.png", picture = folder / "picture.png";
  const Outcome o = run({"-e", ":plot fx::fn([](fx::Float x) { return fx::sin(x); }) -6 6 --out " + curve, "-e",
                         "auto a = fx::Device::best().zeros<float>(8, 9);", "-e", ":plot a --out " + picture});
  INFO(o.error);
  CHECK(o.status == 0);
  for (const std::string& file : {curve, picture}) {
    std::ifstream in(file, std::ios::binary);
    std::string head(8, '\0');
    in.read(head.data(), 8);
    CHECK(head == "\x89PNG\r\n\x1a\n");
  }
}

TEST_CASE("the picture of an array has room for its title and axes and what its colours stand for", "[console]") {
  const Folder folder;
  const std::string file = folder / "picture.png";
  const Outcome o = run({"-e", "auto a = fx::Device::best().zeros<float>(64, 64);", "-e", ":plot a --out " + file});
  INFO(o.error);
  REQUIRE(o.status == 0);
  std::ifstream in(file, std::ios::binary);
  std::string head(24, '\0');
  in.read(head.data(), 24);
  const auto size = [&](std::size_t at) {
    return (static_cast<unsigned char>(head[at + 2]) << 8) | static_cast<unsigned char>(head[at + 3]);
  };
  CHECK(size(16) > 512 + 40);  // beside the array of 64 x 64 elements, 8 pixels each
  CHECK(size(20) > 512 + 40);
}
