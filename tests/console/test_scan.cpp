// Reading inputs: where they end, what they consist of.
#include <catch2/catch.hpp>

#include "captures.h"
#include "scan.h"

using namespace fluxion::console;

namespace {
/// "kind text | kind text", kinds by their first letter.
std::string items(std::string_view text) {
  std::string out;
  for (const Item& i : scan(text).items) {
    constexpr const char* kKinds[] = {"decl", "outer", "stat", "expr", "directive", "command"};
    out += (out.empty() ? "" : " | ") + std::string(kKinds[static_cast<int>(i.kind)]) + " " + i.text;
  }
  return out;
}
std::string open(std::string_view text) { return scan(text).open; }
}  // namespace

TEST_CASE("an input goes on while a bracket, a comment or an operator is open", "[console]") {
  CHECK(open("f(1,") == "(");
  CHECK(open("auto k = fx::kernel([] {") == "{");
  CHECK(open("a[") == "[");
  CHECK(open("/* x") == "/*");
  CHECK(open("R\"(a\nb") == "R\"");
  CHECK(open("a +") == "...");
  CHECK(open("auto x =") == "...");
  CHECK(open("template <class T>") == "...");
  CHECK(open("if (a)") == "...");
  CHECK(open("#define F(x) \\") == "\\");
  CHECK(open(":time k(x,") == "(");
  for (const char* text : {"f(1)", "\"(\"", "'('", "R\"(()\"", "// (", "/* ( */", "i++", "a < b", "", "1.", "1'000", "if (a) b;",
                           "auto x = 3", ":ir k --stage"}) {
    INFO(text);
    CHECK(open(text).empty());
  }
}

TEST_CASE("an input falls into declarations and statements and expressions", "[console]") {
  CHECK(items("1 + 1") == "expr 1 + 1");
  CHECK(items("auto a = 1; a; a") == "decl auto a = 1; | stat a; | expr a");
  CHECK(items("int f(int a) { return a; } f(2)") == "decl int f(int a) { return a; } | expr f(2)");
  CHECK(items("struct P { int x; }; P{3}.x") == "decl struct P { int x; }; | expr P{3}.x");
  CHECK(items("if (a) { b; } else { c; } d") == "stat if (a) { b; } else { c; } | expr d");
  CHECK(items("if (a) b; else c;") == "stat if (a) b; else c;");
  CHECK(items("do { x; } while (a); y") == "stat do { x; } while (a); | expr y");
  CHECK(items("try { x; } catch (int) { } y") == "stat try { x; } catch (int) { } | expr y");
  CHECK(items("[] { return 3; }()") == "expr [] { return 3; }()");
  CHECK(items("std::vector<int> v{1, 2}; v") == "decl std::vector<int> v{1, 2}; | expr v");
  CHECK(items("auto k = fx::kernel([](fx::In<float> x) { a; b; });\nk") ==
        "decl auto k = fx::kernel([](fx::In<float> x) { a; b; }); | expr k");
  CHECK(items("a < b") == "expr a < b");
  CHECK(items("a * b") == "expr a * b");
  CHECK(items("std::cout << a << b;") == "stat std::cout << a << b;");
  CHECK(items("k.over(3)(x, y);") == "stat k.over(3)(x, y);");
  CHECK(items("// nothing").empty());
}

TEST_CASE("a declaration whose semicolon was forgotten is one", "[console]") {
  for (const char* text : {"auto x = 3", "fx::Buffer<float> x = y", "float x = 2"}) {
    CHECK(items(text) == "decl " + std::string(text));
    CHECK(!scan(text).items[0].closed);
  }
  CHECK(items("float(x) + y") == "expr float(x) + y");
}

TEST_CASE("types of pointers declare and products do not", "[console]") {
  CHECK(items("std::vector<int*> v;") == "decl std::vector<int*> v;");
  CHECK(items("std::map<int, const char*> m") == "decl std::map<int, const char*> m");
  CHECK(items("std::vector<int>* p = nullptr;") == "decl std::vector<int>* p = nullptr;");
  CHECK(items("a * b") == "expr a * b");
  CHECK(items("5\n-2\n*&n\n  + 1") == "expr 5 | expr -2 | expr *&n\n  + 1");
  CHECK(items(":") == "command :");
  CHECK(items("throw 3;") == "stat throw 3;");
  CHECK(items("new int(3)") == "expr new int(3)");
  CHECK(items("delete p;") == "stat delete p;");
  CHECK(items("::f(1)") == "expr ::f(1)");
}

TEST_CASE("what cannot stand in a namespace of its own is told apart", "[console]") {
  for (const char* text :
       {"namespace a { int b; }", "using namespace std;", "template <> struct A<int> {};", "int P::f(int a) { return a; }", "P::P() { }"}) {
    INFO(text);
    CHECK(items(text) == "outer " + std::string(text));
  }
  CHECK(items("using A = int;") == "decl using A = int;");
  CHECK(items("fx::Buffer<float> f(int a);") == "decl fx::Buffer<float> f(int a);");
}

TEST_CASE("a line ends an expression unless the next one goes on with it", "[console]") {
  CHECK(items("a\nb") == "expr a | expr b");
  CHECK(items("a\n  + b") == "expr a\n  + b");
  CHECK(items("std::cout << a\n  << b;") == "stat std::cout << a\n  << b;");
  CHECK(items("x.f()\n  .g()") == "expr x.f()\n  .g()");
  CHECK(items("a\n:vars\nb") == "expr a | command :vars | expr b");
  CHECK(items("auto x =\n  3;") == "decl auto x =\n  3;");
}

TEST_CASE("items know their line and column", "[console]") {
  const Scan s = scan("a;  b;\n\n  c", 7);
  REQUIRE(s.items.size() == 3);
  CHECK((s.items[0].line == 7 && s.items[0].column == 1));
  CHECK((s.items[1].line == 7 && s.items[1].column == 5));
  CHECK((s.items[2].line == 9 && s.items[2].column == 3));
}

TEST_CASE("a call is split at its last brackets", "[console]") {
  const auto call = split_call("k.over(n)(x, f(y), \")\")");
  REQUIRE(call);
  CHECK(call->first == "k.over(n)");
  CHECK(call->second == "x, f(y), \")\"");
  CHECK(!split_call("(a + b)"));
  CHECK(!split_call("a + (b)"));
  CHECK(!split_call("a"));
}

TEST_CASE("captures of outermost lambdas are blanked and nothing moves", "[console]") {
  CHECK(without_captures("auto f = [=](int a) { return [=] { return a; }(); };") == "auto f = [ ](int a) { return [=] { return a; }(); };");
  CHECK(without_captures("k([&x, y, z = 3]() {})") == "k([       z = 3]() {})");
  CHECK(without_captures("k([z = f(1, 2), &]() {})") == "k([z = f(1, 2)   ]() {})");
  for (const char* copies : {"k([=](int a) {})", "k([x] { return x; })", "k([&, x] {})", "k([&x, y]() {})"}) CHECK(captures_copies(copies));
  for (const char* none : {"k([&](int a) {})", "k([&x] {})", "k([x = x] {})", "k([] {})", "{ k([=] {}); }"}) CHECK(!captures_copies(none));
  CHECK(without_captures("auto [a, b] = p;") == "auto [a, b] = p;");
  CHECK(without_captures("x[i](3)") == "x[i](3)");
  CHECK(without_captures("f(\"[&](\")") == "f(\"[&](\")");
}
