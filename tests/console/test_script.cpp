// The console without a person: files, -e, standard input, and the mode for programs.
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "talk.h"
#include "tour.h"

using namespace console_test;

namespace {
const char* const kKernel = R"(auto square = fx::kernel("square", [](fx::In<float> x, fx::Out<float> y) {
    auto i = fx::index();
    y[i] = x[i] * x[i];
});
auto dev = fx::Device::best();
auto x = dev.upload({1.f, 2.f, 3.f}), y = dev.zeros<float>(3);
square.over(3)(x, y);
)";

void skip(const std::string& why) {
  WARN("skipped: " << why);
  std::printf("skipped: %s\n", why.c_str());
}
}  // namespace

TEST_CASE("code on the command line prints the values of expressions and nothing else", "[console]") {
  const Outcome o = run({"-e", "auto a = 20; a + 1", "-e", "a + 2;", "-e", "a + 3"});
  CHECK(o.out == "21\n23\n");
  CHECK(o.status == 0);
  CHECK(o.error.find('\033') == std::string::npos);
}

TEST_CASE("a script runs from a file and from standard input alike", "[console]") {
  const Folder folder;
  const std::string file = folder / "script.cpp", text = std::string(kKernel) + "y.host()\n:ir square\n";
  std::ofstream(file) << "#!/usr/bin/env fluxion-console\n" << text;
  const Outcome a = run({file}), b = run({"-"}, text), c = run({}, text);
  INFO(a.error);
  CHECK(a.out.starts_with("{1, 4, 9}\nkernel @square("));
  CHECK(a.status == 0);
  CHECK(b.out == a.out);
  CHECK(c.out == a.out);
}

TEST_CASE("a script ends at its first error with status 1 and the line", "[console]") {
  const Folder folder;
  const std::string file = folder / "wrong.cpp";
  std::ofstream(file) << "1 + 1\nint b = 2;\nb + undefined_name\n3 + 3\n";
  const Outcome o = run({file});
  CHECK(o.out == "2\n");
  CHECK(o.status == 1);
  CHECK(o.error.find("wrong.cpp:3:5: error: use of undeclared identifier 'undefined_name'") != std::string::npos);
  CHECK(o.error.find("    3 | b + undefined_name\n      |     ^") != std::string::npos);
}

TEST_CASE("a script has the status that its code exits with, and that of a signal", "[console]") {
  CHECK(run({"-e", "std::exit(7);"}).status == 7);
  CHECK(run({"-e", ":quit 5", "-e", "1"}).status == 5);
  CHECK(run({"-e", "std::raise(SIGSEGV);"}).status == 128 + 11);
  CHECK(run({"--nonsense"}).status == 2);
  CHECK(run({"/no/such/file.cpp"}).status == 1);
}

TEST_CASE("an input is answered by one JSON object", "[console]") {
  const auto a = talk({"int a = 3; std::cout << \"hi\\n\"; a", "std::cerr << 1;", "a +* 1", "\"text\""});
  CHECK(a[0]["ok"] == true);
  CHECK(a[0]["values"][0] == nlohmann::json{{"text", "3"}, {"type", "int"}});
  CHECK(a[0]["output"] == "hi\n");
  CHECK(a[1]["errors"] == "1");
  CHECK(a[2]["ok"] == false);
  CHECK(a[2]["error"]["kind"] == "compile");
  CHECK(a[2]["error"]["line"] == 1);
  CHECK(value(a[3]) == "\"text\"");
  const Outcome bad = run({"--json"}, "{\"id\": 7}\n");
  CHECK(nlohmann::json::parse(bad.out)["error"]["kind"] == "request");
  CHECK(nlohmann::json::parse(bad.out)["id"] == 7);
}

TEST_CASE("no error ends the session or harms what comes after", "[console]") {
  const auto a = talk({
      "int before = 1;",                                                                                            // 0
      "auto k = fx::kernel([](fx::InOut<float> x) {\n  x[fx::index()] = undefined;\n});",                           // 1
      "int nowhere(); nowhere()",                                                                                   // 2
      "before",                                                                                                     // 3
      "throw std::runtime_error(\"oops\");",                                                                        // 4
      "auto k = fx::kernel([](fx::InOut<float> x) {\n  for (auto i : fx::range(3)) { x[i] = 1.f; break; }\n});",    // 5
      "k",                                                                                                          // 6
      "auto k = fx::kernel(\"k\", [](fx::In<float> x, fx::Out<float> y) { auto i = fx::index(); y[i] = x[i]; });",  // 7
      "auto x = fx::Device::best().zeros<float>(4);",                                                               // 8
      "k.over(20)(x, fx::zeros_like(x))",                                                                           // 9
      "auto big = new char[1ull << 60];",                                                                           // 10
      "struct S { S() { throw 1; } }; S s;",                                                                        // 11
      "k",                                                                                                          // 12
      "fx::Float v; if (v < 0) v = 1.f;",                                                                           // 13
      "before + 1",                                                                                                 // 14
  });
  CHECK(a[1]["error"]["line"] == 2);
  CHECK(a[1]["error"]["column"] == 20);
  CHECK(a[2]["error"]["kind"] == "link");
  CHECK(a[2]["error"]["message"].get<std::string>().find("nowhere()") != std::string::npos);
  CHECK(value(a[3]) == "1");
  CHECK(a[4]["error"]["message"] == "std::runtime_error: oops");
  CHECK(a[5]["error"]["kind"] == "KernelError");
  CHECK(a[5]["error"]["line"] == 2);
  CHECK(a[6]["error"]["kind"] == "compile");  // it was never made
  CHECK(a[7]["ok"] == true);
  CHECK(a[9]["error"]["kind"] == "ShapeError");
  CHECK(a[10]["error"]["message"].get<std::string>().find("out of memory") != std::string::npos);
  CHECK(a[11]["ok"] == false);
  CHECK(value(a[12]) == "kernel k(in f32[] p0, out f32[] p1) over 1 axis");
  CHECK(a[13]["error"]["message"].get<std::string>().find("used outside of its kernel") != std::string::npos);
  CHECK(value(a[14]) == "2");
}

TEST_CASE("after a crash what ran before is run again", "[console]") {
  const auto a = talk({"int a = 1;", "a += 41", "int b = 2; std::raise(SIGSEGV);", "a", "b", "std::exit(3);", "a + b"});
  CHECK(a[2]["error"]["kind"] == "crash");
  CHECK(value(a[3]) == "42");
  CHECK(value(a[4]) == "2");
  CHECK(a[5]["error"]["kind"] == "exit");
  CHECK(value(a[6]) == "44");
}

TEST_CASE("names may be defined again and code from before keeps the old ones", "[console]") {
  const auto a = talk({"int a = 1; int old() { return a; }", "int a = 2; a", "double a = 2.5; a", "old()",
                       "int f(int x) { return x; } int f(double x) { return -1; }", "f(3) + f(3.0)", "int f(int x) { return x + 1; } f(3)",
                       "struct P { int x; }; P{1}.x", "struct P { float y; }; P{1.5f}.y", "auto a = a2;", "a"});
  CHECK(value(a[1]) == "2");
  CHECK(value(a[2]) == "2.5");
  CHECK(value(a[3]) == "1");
  CHECK(value(a[5]) == "2");
  CHECK(value(a[6]) == "4");
  CHECK(value(a[7]) == "1");
  CHECK(value(a[8]) == "1.5");
  CHECK(a[9]["ok"] == false);
  CHECK(value(a[10]) == "2.5");  // a failed definition leaves the old one
}

TEST_CASE("a function may be used before the input that defines it", "[console]") {
  const auto a =
      talk({"int even(int);", "int odd(int n) { return n == 0 ? 0 : even(n - 1); }", "odd(0)", "odd(3)",
            "int even(int n) { return n == 0 ? 1 : odd(n - 1); }", "odd(3)", "even(10)", "double nowhere(int);", "nowhere(1)", "even(3)"});
  CHECK(a[1]["ok"] == true);
  CHECK(value(a[2]) == "0");
  CHECK(a[3]["error"]["message"] == "even(int) is declared, but not defined yet");
  CHECK(a[4]["ok"] == true);
  CHECK(value(a[5]) == "1");
  CHECK(value(a[6]) == "1");
  CHECK(a[8]["error"]["kind"] == "link");  // called here and now
  CHECK(value(a[9]) == "0");
}

TEST_CASE("what is printed is what it is", "[console]") {
  const auto a = talk({"enum Colour { red, green };", "green", "int n = 3; &n == &n", "&n", "[](int b) { return b; }",
                       "struct S { S(int b) : c(b) {} int c; };", "S(3)", "std::variant<int, float>(3)", "std::runtime_error(\"oh\")",
                       "using namespace std;", "std::string(\"x\")", "fx::Device::best().zeros<float>(64, 64)"});
  CHECK(value(a[1]) == "green");
  CHECK(value(a[2]) == "true");
  CHECK(value(a[3]).starts_with("0x"));
  CHECK(value(a[4]) == "a lambda");
  CHECK(value(a[6]) == "{c: 3}");
  CHECK(value(a[7]) == "3");
  CHECK(value(a[8]) == "oh");
  CHECK(value(a[10]) == "\"x\"");
  CHECK(value(a[11]).find("(63) {0, 0, 0, 0, 0, ... 0, 0, 0, 0, 0}") != std::string::npos);
}

TEST_CASE("what a person may do wrong is told and nothing is lost", "[console]") {
  const Folder folder;
  const auto a = talk({"int n = 41;", ":load " + folder / "", ":set threads foo", "auto f = fx::fn([](fx::Float x) { return x * x; });",
                       ":plot f -6", ":ir f --stage nosuch", "fork() == 0", "n + 1", "n + 2", "int g() { }", "undefined_name",
                       "std::thread t([] { n = 7; }); t.join(); n", "#include <iomanip>", "std::string(\"y\")",
                       "auto k = fx::kernel([](fx::Out<float> x) { x[fx::index()] = 1.f; });", ":plot k", ":time k(k)"});
  CHECK(a[1]["error"]["message"].get<std::string>().find("it is a folder") != std::string::npos);
  CHECK(a[2]["error"]["message"].get<std::string>().find("a number from 1 on") != std::string::npos);
  CHECK(a[4]["error"]["message"].get<std::string>().find("both ends of the interval") != std::string::npos);
  CHECK(a[5]["error"]["message"].get<std::string>().find("there are: all, captured") != std::string::npos);
  CHECK(!a[5]["error"].contains("line"));
  CHECK(value(a[6]) == "false");
  CHECK(value(a[7]) == "42");  // the process that was forked does not answer
  CHECK(value(a[8]) == "43");
  CHECK(a[9]["warnings"].get<std::string>().find("does not return a value") != std::string::npos);
  CHECK(a[10]["error"]["report"].get<std::string>().find("expected expression") == std::string::npos);
  CHECK(value(a[11]) == "7");
  CHECK(value(a[13]) == "\"y\"");
  CHECK(a[15]["error"]["message"] == ":plot takes a buffer, a std::vector of numbers, or a function of one number");
  CHECK(a[16]["error"]["message"].get<std::string>().find(":time takes a call") == 0);
}

TEST_CASE("a program is a script too", "[console]") {
  const Folder folder;
  const std::string file = folder / "program.cpp";
  std::ofstream(file) << "#include <fluxion/fluxion.h>\n#include <iostream>\nnamespace fx = fluxion;\n\nint main() {\n"
                         "  auto f = fx::fn([](fx::Float x) { return x * x; });\n  std::cout << f(3.f) << \"\\n\";\n}\n";
  const Outcome o = run({file});
  INFO(o.error);
  CHECK(o.out == "9\n");
  CHECK(o.status == 0);
  std::ofstream(file) << "int main(int count, char**) { return count + 6; }\n";
  CHECK(run({file}).status == 7);
  CHECK(run({"-e", "int main() { }", "-e", "main()"}).out == "0\n");
}

TEST_CASE("what was saved is loaded as it was typed", "[console]") {
  const Folder folder;
  const std::string file = folder / "saved.cpp";
  const std::string typed = "int n = 5;\nn\n-n\n*&n\n\"x\"\n[](int b) { return b; }(3)\n+n\n1\n    + n\n";
  const std::string expected = "5\n-5\n5\n\"x\"\n3\n5\n6\n";
  CHECK(run({"-"}, typed + ":save " + file + "\n").out.starts_with(expected));
  CHECK(run({file}).out == expected);
}

TEST_CASE("values print in readable form", "[console]") {
  const auto a =
      talk({"0.1f", "std::vector<int>{1, 2, 3}", "std::pair(1, 2.5)", "'c'", "true", "fx::float2{1, 2}",
            "std::map<std::string, double>{{\"a\", 1.5}}", "fx::Device::best().full(2.f, 2, 3)",
            "fx::fn([](fx::Float x) { return x * x; })(3.f)", "struct Q { int n; float f; }; Q{1, 2.5f}",
            "fx::Device::best().zeros<float>(1000)", "std::string(\"a\\\"b\")", "std::vector<float>(100, 1.f)", "nullptr", "(void)0"});
  const char* const expected[] = {"0.1", "{1, 2, 3}", "{1, 2.5}", "'c'", "true", "{1, 2}", "{{\"a\", 1.5}}"};
  for (std::size_t k = 0; k < std::size(expected); ++k) CHECK(value(a[k]) == expected[k]);
  CHECK(value(a[7]).starts_with("f32[2, 3] on "));
  CHECK(value(a[7]).find("min 2  max 2  mean 2  std 0\n(0) {2, 2, 2}\n(1) {2, 2, 2}") != std::string::npos);
  CHECK(value(a[8]) == "9");
  CHECK(value(a[9]) == "{1, 2.5}");
  CHECK(value(a[10]).find("... 0") != std::string::npos);
  CHECK(value(a[11]) == "\"a\\\"b\"");
  CHECK(value(a[12]).ends_with("(100 elements)"));
  CHECK(value(a[13]) == "nullptr");
  CHECK(a[14]["values"].empty());
}

TEST_CASE("commands take any expression and tell what they want", "[console]") {
  const auto a = talk({kKernel,
                       ":ir fx::vjp(square)",
                       ":grad square",
                       ":ir square --stage all",
                       ":ir square --stage nonsense",
                       ":llvm square",
                       ":asm square",
                       ":explain square",
                       ":time square.over(3)(x, y)",
                       ":check square.over(3)(x, y)",
                       ":plot y",
                       ":ir x",
                       ":nonsense",
                       ":vars",
                       "auto p = fx::program(\"p\", [](fx::Buffer<float> v) { return fx::sum(fx::square(v)); });",
                       ":ir p(x)",
                       ":grad p(x)",
                       ":time p(x)",
                       ":set debug nan,bounds",
                       ":set debug nothing",
                       ":help undo"});
  CHECK(value(a[1]).starts_with("kernel @square.vjp("));
  CHECK(value(a[2]) == value(a[1]));
  CHECK(value(a[3]).find("# dce") != std::string::npos);
  CHECK(a[4]["error"]["message"].get<std::string>().find("there are: all, captured, inline") != std::string::npos);
  CHECK(value(a[5]).find("define ") != std::string::npos);
  CHECK(value(a[6]).find("ret") != std::string::npos);
  CHECK(value(a[7]).find("reverse mode: kernel square.vjp(") != std::string::npos);
  CHECK(value(a[8]).find("over 3 points: 3 flop, at least 24B") != std::string::npos);
  CHECK(value(a[9]).find("the derivatives agree") != std::string::npos);
  CHECK(value(a[10]).find("\xE2\xA0") != std::string::npos);  // braille
  CHECK(a[11]["error"]["message"].get<std::string>().find("takes a kernel") != std::string::npos);
  CHECK(a[11]["error"]["column"] == 5);
  CHECK(a[12]["error"]["message"] == "no command :nonsense; :help lists them");
  CHECK(value(a[13]).find("square  fx::Kernel<") != std::string::npos);
  CHECK(value(a[15]).find("program @p(") != std::string::npos);
  CHECK(value(a[16]).find("launch") != std::string::npos);
  CHECK(value(a[17]).find("program p:") != std::string::npos);
  CHECK(a[18]["ok"] == true);
  CHECK(a[19]["ok"] == false);
  CHECK(value(a[20]).starts_with(":undo"));
}

TEST_CASE("a gradient that is wrong fails the script", "[console]") {
  const Outcome o = run({"-e", R"(auto f = fx::fn("f", [](fx::Float x) { return x * x; });)", "-e",
                         R"(auto wrong = fx::rule(f).vjp(fx::fn([](fx::Float x, fx::Float w) { return w * x; }));)", "-e",
                         R"(auto k = fx::kernel([=](fx::In<float> x, fx::Out<float> y) { auto i = fx::index(); y[i] = wrong(x[i]); });)",
                         "-e", "auto x = fx::Device::best().upload({1.f, 2.f}), y = fx::zeros_like(x);", "-e", ":check k(x, y)"});
  INFO(o.error);
  CHECK(o.out.find("the derivatives do NOT agree") != std::string::npos);
  CHECK(o.status == 1);
}

TEST_CASE("words are completed from the session's own names", "[console]") {
  std::string in;
  for (const char* line :
       {R"({"code": "auto sine = fx::fn([](fx::Float x) { return fx::sin(x); }); auto buf = fx::Device::best().zeros<float>(2);"})",
        R"({"complete": "si"})", R"({"complete": "fx::Devi"})", R"({"complete": "1 + buf.ho"})", R"({"complete": "fx::Device::bes"})",
        R"({"complete": ":un"})", R"({"complete": "fx::Device::best().upl"})", R"({"complete": "fx::zeros<float>(3).ho"})",
        R"({"complete": ":set de"})", R"({"complete": ":set debug nan,bo"})", R"({"complete": ":device vu"})",
        R"({"complete": ":load )" FLUXION_SOURCE_DIR R"(/docs/tou"})"})
    in += std::string(line) + "\n";
  const Outcome o = run({"--json"}, in);
  for (const char* expected : {"[\"sine\"]", "[\"Device\",\"DeviceError\"]", "[\"host\"]", "[\"best\"]", "[\":undo\"]", "[\"upload\"]",
                               "[\"debug\",\"device\"]", "[\"bounds\"]", "[\"vulkan\"]", "[\"tour.md\"]"})
    CHECK(o.out.find(expected) != std::string::npos);
}

TEST_CASE("every step of the tour shows what its page says", "[console]") {
  const std::string page = [] {
    std::ifstream in(FLUXION_SOURCE_DIR "/docs/tour.md");
    return std::string(std::istreambuf_iterator<char>(in), {});
  }();
  const auto steps = fluxion::console::tour_steps(page);
  REQUIRE(steps.size() == 10);
  std::vector<std::string> inputs(steps.size(), ":tour");
  const auto answers = talk(inputs);
  for (std::size_t k = 0; k < steps.size(); ++k) {
    std::string seen = answers[k]["output"].get<std::string>();
    for (const auto& v : answers[k]["values"]) seen += v["text"].get<std::string>() + "\n";
    INFO(steps[k].title << "\n" << answers[k].dump(1));
    CHECK(answers[k]["ok"] == true);
    CHECK(!steps[k].expected.empty());
    for (const std::string& part : steps[k].expected) CHECK(seen.find(part) != std::string::npos);
  }
}

TEST_CASE("a Jupyter kernel runs and completes and interrupts cells", "[console]") {
  if (std::system("python3 -c 'import json' 2> /dev/null") != 0) {
    skip("the Jupyter kernel (needs python3)");
    return;
  }
  const Folder folder;
  const std::string out = folder / "out";
  const std::string command = "FLUXION_CONSOLE='" FLUXION_CONSOLE "' python3 '" FLUXION_SOURCE_DIR
                              "/tests/console/jupyter.py' '" FLUXION_SOURCE_DIR "/demos/console/jupyter' > " +
                              out + " 2>&1";
  const int status = std::system(command.c_str());
  std::ifstream in(out);
  const std::string said{std::istreambuf_iterator<char>(in), {}};
  INFO(said);
  CHECK(status == 0);
  CHECK(said.ends_with("good\n"));
  if (said.find("ipykernel is not here") != said.npos) skip("Jupyter itself (needs the Python package ipykernel)");
}

TEST_CASE("PTX and SPIR-V are shown without a GPU", "[console]") {
  const auto a = talk({kKernel, ":ptx square", ":spirv square"});
  CHECK(value(a[1]).find(".visible .entry") != std::string::npos);
  // Vulkan or spirv-dis may be missing; then the message says so.
  CHECK((value(a[2]).find("OpEntryPoint") != std::string::npos || (a[2]["ok"] == false && a[2]["error"]["message"] != "")));
}

TEST_CASE("variables of headers that the prelude holds no code for are made when they are used", "[console]") {
  const auto a =
      talk({"std::vector<int> v{3, 1, 2}; std::ranges::sort(v, std::greater<>()); v",
            "for (int a : v | std::views::transform([](int b) { return b * b; })) std::cout << a << ' ';", "std::ranges::max(v)"});
  CHECK(value(a[0]) == "{3, 2, 1}");
  CHECK(a[1]["output"] == "9 4 1 ");
  CHECK(value(a[2]) == "3");
}
