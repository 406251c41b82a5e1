// What C++ may be typed: nothing that is valid is taken for something else, nothing has another value than in a program.
#include <fstream>

#include "scan.h"
#include "talk.h"

using namespace console_test;

TEST_CASE("static variables are one in all inputs", "[console]") {
  check_steps({{"static int cnt = 7;", ""},
               {"++cnt", "8"},
               {"cnt", "8"},
               {"++cnt", "9"},
               {"static std::vector<int> sv;", ""},
               {"sv.push_back(1);", ""},
               {"sv.push_back(2);", ""},
               {"sv", "{1, 2}"},
               {"static int twice(int a) { static int calls = 0; ++calls; return a * calls; }", ""},
               {"twice(5)", "5"},
               {"twice(5)", "10"},
               {"static auto dev = fx::Device::best(); static auto sb = dev.zeros<float>(3);", ""},
               {"fx::kernel([](fx::Out<float> x) { x[fx::index()] = 1.f; }).over(3)(sb)", ""},
               {"sb.host()", "{1, 1, 1}"},
               {"static int cnt = 3; cnt", "3"}});
}

TEST_CASE("variables of unnamed namespaces and unnamed types and local types are one in all inputs", "[console]") {
  check_steps({{"namespace { int hidden = 3; int next() { return ++hidden; } }", ""},
               {"++hidden", "4"},
               {"next()", "5"},
               {"hidden", "5"},
               {"struct { int x; } us;", ""},
               {"us.x = 3;", ""},
               {"us.x", "3"},
               {"auto make() { struct Local { int v; }; return Local{3}; }", ""},
               {"auto l = make();", ""},
               {"l.v = 5;", ""},
               {"l.v", "5"},
               {"namespace named { namespace { int inner = 1; } }", ""},
               {"++named::inner", "2"},
               {"named::inner", "2"},
               {"namespace { int hidden = 30; }", ""},
               {"hidden", "30"}});
}

TEST_CASE("lambdas keep what they count in all inputs", "[console]") {
  check_steps({{"auto sum = [](int a) { static int all = 0; return all += a; };", ""},
               {"sum(2)", "2"},
               {"sum(2)", "4"},
               {"int q = 1; auto next = [n = q]() mutable { return ++n; }; q = 5;", ""},
               {"next()", "2"},
               {"next()", "3"},
               {"auto make() { return [](int a) { static int n = 0; return n += a; }; }", ""},
               {"auto made = make();", ""},
               {"made(2)", "2"},
               {"made(2)", "4"},
               {"std::pair both{[](int a) { static int n = 0; return n += a; }, 3};", ""},
               {"both.first(2)", "2"},
               {"both.first(2)", "4"}});
}

TEST_CASE("variables are initialised once and by the input that defines them", "[console]") {
  check_steps(
      {{"int a = 1, made = 0; int count() { return ++made; }", ""},
       {"static int late = a; static int counted = count(); const int fixed = a; static const int fixed_too = a; inline int in_line = a;",
        ""},
       {"a = 5;", ""},
       {"late", "1"},
       {"fixed + fixed_too + in_line", "3"},
       {"counted", "1"},
       {"static int second = counted + late; second", "2"},
       {"counted + made", "2"},
       {"struct Loud { Loud() { ++made; } ~Loud() { made += 100; } }; static Loud loud;", ""},
       {"Loud* p = &loud; static Loud* again = &loud;", ""},
       {"made", "2"}});
}

TEST_CASE("thread_local variables work or are refused with words", "[console]") {
  check_steps({{"thread_local int tl = 3;", ""},
               {"++tl", "4"},
               {"tl", "4"},
               {"int other = 0; std::thread([] { other = tl; }).join(); other", "3"}});
  const auto a = talk({"std::once_flag once; std::call_once(once, [] { });", "int n = 1; n"});
  CHECK(wrong(a[0]) == "a thread_local variable of a library cannot be used from here: std::__once_callable");
  CHECK(a[0]["error"]["line"] == 1);
  CHECK(value(a[1]) == "1");
}

TEST_CASE("using-directives of any number stand side by side", "[console]") {
  check_steps({{"namespace one { int of_one = 1; } namespace two { int of_two = 2; }", ""},
               {"using namespace one;", ""},
               {"using namespace two;", ""},
               {"using namespace std;", ""},
               {"using namespace fx;", ""},
               {"using namespace std::literals; using namespace std::chrono_literals;", ""},
               {"of_one + of_two", "3"},
               {"string(\"a\") + \"b\"s", "\"ab\""}});
}

TEST_CASE("expressions that begin with words are expressions", "[console]") {
  check_steps({{"int a = 2, b = 3, c = 5, d = 4; auto* p = new int(3);", ""},
               {"sizeof a", "4"},
               {"not a", "false"},
               {"compl a", "-3"},
               {"a and b", "true"},
               {"a < b and c > d", "true"},
               {"a < b || (c > d)", "true"},
               {"a<b, c>d", "true"},
               {"a * b", "6"},
               {"a & b", "2"},
               {"delete p", ""},
               {"*new int(3)", "3"},
               {"(new int[3])[0] = 7", "7"},
               {"static_cast<float>(a) / 4", "0.5"},
               {"alignof(double)", "8"},
               {"a bitand b", "2"},
               {"int(2.5)", "2"},
               {"a < 3 ? b : c", "3"}});
  const auto thrown = talk({"throw 3;", "int e = 3; throw e;", "struct E { int code; }; throw E{3};", "throw 3", "e + 1"});
  for (int k = 0; k < 4; ++k) CHECK(thrown[static_cast<std::size_t>(k)]["error"]["kind"] == "exception");
  CHECK(value(thrown[4]) == "4");
}

TEST_CASE("declarations that look like expressions are declarations", "[console]") {
  check_steps({{"int sq(int a) { return a * a; } int a = 2; int array[3] = {1, 2, 3};", ""},
               {"int (*fp)(int) = sq;", ""},
               {"fp(3)", "9"},
               {"int (&ref)[3] = array;", ""},
               {"ref[1]", "2"},
               {"[[maybe_unused]] int mu = 3;", ""},
               {"mu", "3"},
               {"decltype(a) a5 = 3;", ""},
               {"a5", "3"},
               {"int tried(int a) try { if (a) throw 1; return 2; } catch (...) { return 3; }", ""},
               {"tried(1)", "3"},
               {"std::vector<int> v(3, 1)", ""},
               {"v", "{1, 1, 1}"},
               {"int *star = &a;", ""},
               {"*star", "2"},
               {"unsigned long long big = 1", ""},
               {"big", "1"},
               {"enum Colour { red, green };", ""},
               {"enum Fruit { green, blue }; static_cast<int>(green)", "0"},
               {"extern \"C\" { static int in_c = 3; }", ""},
               {"++in_c", "4"},
               {"extern \"C\" { static int in_c = 30; } in_c", "30"},
               {"if (a) a = 9", ""},
               {"a", "9"}});
}

TEST_CASE("templates are specialised in later inputs", "[console]") {
  check_steps({{"template <class T> struct Trait { static constexpr int v = 1; };", ""},
               {"template <> struct Trait<int> { static constexpr int v = 2; };", ""},
               {"template <class T> struct Trait<T*> { static constexpr int v = 3; };", ""},
               {"Trait<int>::v + 10 * Trait<float>::v + 100 * Trait<char*>::v", "312"},
               {"template <class T> int f(T) { return 1; }", ""},
               {"template <> int f(char) { return 2; }", ""},
               {"f('a') + 10 * f(1)", "12"},
               {"template <class T> constexpr int value = 1;", ""},
               {"template <> constexpr int value<int> = 2;", ""},
               {"value<int> + 10 * value<char>", "12"},
               {"struct P { int g(int); }; int g(int a) { return 100; }", ""},
               {"int P::g(int a) { return a + 1; }", ""},
               {"P().g(1) + g(1)", "102"}});
}

TEST_CASE("the standard library and threads are at hand", "[console]") {
  check_steps({{"int n = 0; std::thread th([] { n = 5; }); th.join();", ""},
               {"n", "5"},
               {"std::async(std::launch::async, [] { return 7; }).get()", "7"},
               {"std::atomic<int> at{3}; at.load()", "3"},
               {"std::deque<int>{1, 2}", "{1, 2}"},
               {"std::list<int>{1, 2}", "{1, 2}"},
               {"std::variant<int, float> v = 3; std::get<int>(v)", "3"},
               {"std::any_cast<int>(std::any(3))", "3"},
               {"std::bitset<4>(5).count()", "2"},
               {"std::filesystem::path(\"/a/b\").filename().string()", "\"b\""},
               {"assert(n == 5);", ""},
               {"std::source_location::current().line() > 0", "true"},
               {"std::mutex m; std::lock_guard hold(m);", ""},
               {"std::promise<int> pr; pr.set_value(3); pr.get_future().get()", "3"}});
}

TEST_CASE("every included header leaves values printable", "[console]") {
  check_steps({{"#include <iomanip>\n#include <filesystem>\nstd::string(\"a\")", "\"a\""}, {"\"b\"", "\"b\""}});
}

TEST_CASE("pointers and lambdas and arrays of arrays print as what they are", "[console]") {
  const auto a = talk({"int z = 3; int* p = &z; p", "(void*)p", "[](int a) { return a; }", "int m[2][2] = {{1, 2}, {3, 4}}; m", "nullptr",
                       "(int*)nullptr", "&std::abs<int>", "u8\"text\"", "bool yes = true; yes"});
  CHECK(value(a[0]).starts_with("0x"));
  CHECK(value(a[1]).starts_with("0x"));
  CHECK(value(a[2]).find("lambda") != std::string::npos);
  CHECK(value(a[3]) == "{{1, 2}, {3, 4}}");
  CHECK(value(a[4]) == "nullptr");
  CHECK(value(a[5]) == "nullptr");
  CHECK(value(a[7]) == "\"text\"");
  CHECK(value(a[8]) == "true");
}

TEST_CASE("classes and enumerations and what the library has print by their contents", "[console]") {
  const auto a = talk(
      {"struct S { int a; S(int x) : a(x) {} private: float b = 1.5f; }; S(3)", "enum class Colour { red, green = 5 }; Colour::green",
       "enum Plain { one = 1, two }; two", "Colour(7)",
       "struct Base { int k = 1; virtual ~Base() = default; }; struct Derived : Base { std::string name = \"d\"; S s{4}; }; Derived()",
       "std::vector<S>{S(1), S(2)}", "template <class T> struct Box { T t; Box(T v) : t(v) {} }; Box(2.5)", "std::runtime_error(\"oops\")",
       "std::function<int(int)> f = [](int b) { return b; }; f", "1 <=> 2", "std::chrono::milliseconds(5)", "std::optional<int>()",
       "std::make_unique<int>(3)", "S s(3); s.a = 9; s", "struct Empty { Empty() {} }; Empty()", "std::variant<int, S>(S(2))",
       "struct Inner { struct { int a = 1, b = 2; }; Inner() {} }; Inner()",
       "struct Node { Node() {} Node* next = nullptr; std::vector<Node> kids; }; Node()"});
  const std::vector<std::string> expected = {"{a: 3, b: 1.5}",
                                             "green",
                                             "two",
                                             "Colour(7)",
                                             "{k: 1, name: \"d\", s: {a: 4, b: 1.5}}",
                                             "{{a: 1, b: 1.5}, {a: 2, b: 1.5}}",
                                             "{t: 2.5}",
                                             "oops",
                                             "a function",
                                             "less",
                                             "5 ms",
                                             "nothing",
                                             "3",
                                             "{a: 9, b: 1.5}",
                                             "{}",
                                             "{a: 2, b: 1.5}",
                                             "{a: 1, b: 2}",
                                             "{next: nullptr, kids: {}}"};
  REQUIRE(a.size() == expected.size());
  for (std::size_t k = 0; k < expected.size(); ++k) {
    INFO(a[k].dump(1));
    CHECK(value(a[k]) == expected[k]);
  }
}

TEST_CASE("a type alone and a name without a meaning are told with the line", "[console]") {
  const auto a = talk({"Foo", "int", "  fx::Float", "fx::In<float>", "std::endl", "fx::sin", "int nowhere(); nowhere()"});
  for (const auto& each : a) {
    INFO(each.dump(1));
    CHECK(each["ok"] == false);
    CHECK(each["error"]["line"] == 1);
    CHECK(each["error"]["report"].get<std::string>().find("<console>") == std::string::npos);
    CHECK(each["error"]["report"].get<std::string>().find("input_line") == std::string::npos);
    CHECK(each["error"]["report"].get<std::string>().find("error: ") == each["error"]["report"].get<std::string>().rfind("error: "));
  }
  CHECK(wrong(a[1]) == "this is a type, not a value");
  CHECK(a[2]["error"]["column"] == 3);
  CHECK(wrong(a[3]) == "this is a type, not a value");
  const auto b = talk({"return 3;", "break;", "}", "int n = 1; asm(\"nop\"); n"});
  CHECK(wrong(b[0]) == "what stands outside of functions should not return a value");
  CHECK(wrong(b[1]) == "'break' statement not in loop or switch statement");
  CHECK(b[2]["ok"] == false);
  CHECK(value(b[3]) == "1");
}

TEST_CASE("taking back passes over values that were looked at", "[console]") {
  check_steps({{"int n = 1;", ""},
               {"int n = 2;", ""},
               {"n", "2"},
               {"n + 1", "3"},
               {":undo", "undone: int n = 2;\nthe next :undo takes back: int n = 1;"},
               {"n", "1"},
               {"++n", "2"},
               {":undo", "undone: ++n\nthe next :undo takes back: int n = 1;"},
               {"n", "1"}});
}

TEST_CASE("lines that could go on with each other are saved apart", "[console]") {
  const Folder folder;
  const std::string file = folder / "saved.cpp";
  std::string in;
  const std::vector<std::string> inputs = {"int n = 3; int* p = &n",
                                           "n",
                                           "*p",
                                           "5",
                                           "-2",
                                           "n",
                                           "+n",
                                           "n",
                                           "&n == p",
                                           "(n)",
                                           "[] { return 4; }()",
                                           "n",
                                           "(n + 1)",
                                           "int f(int a)\n{\n  return a; }",
                                           "f(2) // two",
                                           "- f(2)",
                                           "if (n) n = 4",
                                           "n"};
  for (const std::string& each : inputs) in += nlohmann::json{{"code", each}}.dump() + "\n";
  const Outcome typed = run({"--json"}, in + nlohmann::json{{"code", ":save " + file}}.dump() + "\n");
  std::string expected;
  for (std::size_t at = 0, end; at < typed.out.size(); at = end + 1) {
    end = typed.out.find('\n', at);
    const auto j = nlohmann::json::parse(typed.out.substr(at, end - at));
    INFO(j.dump(1));
    CHECK(j["ok"] == true);
    if (end + 1 < typed.out.size())
      for (const auto& v : j["values"]) expected += v["text"].get<std::string>() + "\n";
  }
  const Outcome loaded = run({file});
  INFO(loaded.error);
  CHECK(loaded.status == 0);
  CHECK(loaded.out == expected);
}

TEST_CASE("braces may stand on the next line at the prompt", "[console]") {
  set_environment("FLUXION_HISTORY", "off");
  Typed t;
  REQUIRE(t.wait_for(">>> "));
  for (const char* line : {"int fa(int a)", "{", "  return a + 1;"}) CHECK(t.line(line).empty());
  CHECK(t.line("}").empty());
  CHECK(t.line("fa(1)") == "2\n");
  for (const char* line : {"struct Pq : std::vector<int>", "{", "  int x = 7;"}) t.line(line);
  CHECK(t.line("};").empty());
  CHECK(t.line("Pq().x") == "7\n");
  for (const char* line : {"auto lam = [](int a)", "{", "  return a + 2;"}) t.line(line);
  CHECK(t.line("};").empty());
  CHECK(t.line("lam(1)") == "3\n");
  // a promise, ended by an empty line
  t.line("int later(int a)");
  CHECK(t.line("").empty());
  for (const char* line : {"try", "{", "  throw 1;", "}", "catch (int)", "{"}) t.line(line);
  CHECK(t.line("}").empty());
  CHECK(t.line("if (fa(1)) { }").empty());
  CHECK(t.line("else { }").find("nothing is open that this \"else\" could belong to") != std::string::npos);
  t.type("\004");
  CHECK(t.end() == 0);
}

TEST_CASE("a head waits for its body and nothing else does", "[console]") {
  using fluxion::console::scan;
  for (const char* text : {"int fa(int a)", "auto f(fx::Float x)", "auto f(int a) -> int", "void g()", "template <class T> T f(const T& x)",
                           "struct Pq", "struct Pq : Base<int>", "enum class E : int", "namespace a", "P::P(int a)", "int P::f() const",
                           "extern \"C\"", "try { f(); }", "do { f(); }", "auto l = [](int a)", "[x]", "int f(int a) try"}) {
    INFO(text);
    CHECK(scan(text).open == "...");
  }
  for (const char* text : {"int a(3)", "P p(x)", "f(x)", "a::f()", "x[3](4)", "struct P p", "auto [a, b] = f()", "fx::Buffer<float> b(x)",
                           "f(int(3))", "a && f(b)", "sizeof(int)", "int fa(int a);", "throw E(3)", "int fa(int a)\n"}) {
    INFO(text);
    CHECK(scan(text).open == "");
  }
}
