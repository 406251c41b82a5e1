// What a session needs of the system runs out: memory, address space, files. It says so and goes on.
#include <catch2/catch.hpp>

#include "talk.h"

using namespace console_test;

TEST_CASE("a session goes on after its code has mapped all the memory it gets", "[console]") {
  const auto a = talk({"int keep = 41;", "std::vector<char*> all; for (;;) all.push_back(new char[1 << 28]);", "keep",
                       "std::vector<char> much(std::size_t(1) << 44);", "keep + 1", "std::vector<char> some(1 << 20); some.size()"});
  CHECK(has(wrong(a[1]), "out of memory"));
  CHECK(value(a[2]) == "41");
  CHECK(has(wrong(a[3]), "out of memory"));
  CHECK(value(a[4]) == "42");
  CHECK(value(a[5]) == "1048576");
}

TEST_CASE("a session goes on where no input can be tried because files have run out", "[console]") {
  const auto a = talk({"int keep = 41;", "while (::dup(0) >= 0) {}", "keep", "keep + 1"});
  CHECK(a[1]["ok"] == true);
  CHECK(value(a[2]) == "41");
  CHECK(value(a[3]) == "42");
}

TEST_CASE("a script ends with a message where no input can be tried", "[console]") {
  const Outcome o = run({"-e", "while (::dup(0) >= 0) {}", "-e", "1 + 1"});
  CHECK(o.status == 1);
  CHECK(has(o.error, "no copy of the process to try the input in"));
  CHECK(o.out.empty());
}

TEST_CASE("at a terminal the prompt comes back after memory has run out", "[console]") {
  set_environment("FLUXION_HISTORY", "off");
  Typed t;
  REQUIRE(t.wait_for(">>> "));
  t.line("int keep = 41;");
  CHECK(has(t.line("std::vector<char*> all; for (;;) all.push_back(new char[1 << 28]);"), "out of memory"));
  CHECK(has(t.line("keep"), "41\n"));
  CHECK(t.line("keep + 1") == "42\n");
}
