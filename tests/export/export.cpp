// Kernels written as files and used without this library: by a C program, on this machine and on an emulated one, and from Python. Their
// numbers are those of a launch, bit for bit.
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "fluxion/fluxion.h"

namespace fx = fluxion;
namespace fs = std::filesystem;
using Catch::Matchers::Contains;

namespace {

constexpr int kPoints = 37, kRows = 9, kColumns = 21;

struct Folder {
  fs::path path = fs::temp_directory_path() / ("fluxion_export_" + std::to_string(::getpid()));
  Folder() { fs::remove_all(path), fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return (path / name).string(); }
};

/// What a command prints, errors too.
std::string run(const std::string& command, int* status = nullptr) {
  std::string text;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe);
  std::array<char, 4096> block;
  for (std::size_t n; (n = std::fread(block.data(), 1, block.size(), pipe)) > 0;) text.append(block.data(), n);
  const int code = ::pclose(pipe);
  if (status) *status = code;
  return text;
}
bool has(const std::string& program) {
  int status = 1;
  run("command -v " + program, &status);
  return status == 0;
}
void skip(const std::string& why) {
  WARN("skipped: " << why);
  std::printf("skipped: %s\n", why.c_str());
}

std::string text_of(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

auto relax_kernel() {
  return fx::kernel("relax", [](fx::In<float> x, fx::InOut<float> y, fx::Float a, fx::Accum<double> e, fx::In<int> trips) {
    auto i = fx::index();
    fx::Float v = y[i];
    for ([[maybe_unused]] auto t : fx::range(trips[i])) v = fx::sin(v) * x[i] + a;
    fx::check(v < 100.f, "v is {} at {}", v, i);
    y[i] = v;
    e[0] += fx::Double(v * v);
  });
}
constexpr int kCheckLine = __LINE__ - 5;

auto blur_kernel() {
  return fx::kernel("blur", [](fx::In<float, 2> u, fx::Out<float, 2> out) {
    auto [i, j] = fx::index<2>();
    fx::Float sum = u(i, j);
    fx::if_(i > 0, [&] { sum += 0.5f * u(i - 1, j); });
    fx::if_(j + 1 < u.extent(1), [&] { sum += 0.25f * u(i, j + 1) * u(i, j); });
    out(i, j) = sum;
  });
}

const fx::ExportOptions kRelax{.parameters = {"x", "y", "a", "e", "trips"}, .vjp = true, .jvp = true};
const fx::ExportOptions kBlur{.parameters = {"u", "out"}, .vjp = true};

struct Numbers {
  std::vector<float> y, y_bar, x_bar, a_bar, out, u_bar;
  std::vector<double> e;
};

/// What launches make of the inputs of call.c.
Numbers launched() {
  const fx::Device dev = fx::Device::cpu();
  std::vector<float> x, y, y_bar, u, out_bar;
  std::vector<int> trips;
  for (int i = 0; i < kPoints; ++i) {
    x.push_back(0.5f + 0.03125f * static_cast<float>(i % 64));
    y.push_back(1.0f - 0.0625f * static_cast<float>(i % 32));
    y_bar.push_back(1.0f + 0.25f * static_cast<float>(i % 4));
    trips.push_back(i % 7);
  }
  for (int i = 0; i < kRows * kColumns; ++i) {
    u.push_back(0.015625f * static_cast<float>(i * 7 % 64));
    out_bar.push_back(1.0f - 0.03125f * static_cast<float>(i % 48));
  }
  auto relax = relax_kernel();
  auto dx = dev.upload(x), dy = dev.upload(y);
  auto dt = dev.upload(trips);
  auto e = dev.full(0.25, 1);
  relax(dx, dy, 0.125f, e, dt);
  Numbers n;
  n.y = dy.host();
  n.e = e.host();
  auto gy = dev.upload(y_bar), gx = dev.zeros<float>(kPoints), ga = dev.zeros<float>(1);
  fx::vjp(relax).over(kPoints)(dx, dev.upload(y), 0.125f, dt, gy, dev.full(0.5, 1), gx, ga);
  n.y_bar = gy.host();
  n.x_bar = gx.host();
  n.a_bar = ga.host();
  auto blur = blur_kernel();
  auto du = dev.upload(u, kRows, kColumns), out = dev.zeros<float>(kRows, kColumns), gu = dev.zeros<float>(kRows, kColumns);
  blur(du, out);
  fx::vjp(blur).over(kRows, kColumns)(du, dev.upload(out_bar, kRows, kColumns), gu);
  n.out = out.host();
  n.u_bar = gu.host();
  return n;
}

void show(std::string& text, const char* name, const std::vector<float>& v) {
  char line[128];
  for (std::size_t i = 0; i < v.size(); ++i) {
    std::snprintf(line, sizeof line, "%s[%zu] %a\n", name, i, static_cast<double>(v[i]));
    text += line;
  }
}
/// The lines of call.c that hold numbers.
std::string numbers_text(const Numbers& n) {
  std::string text;
  show(text, "y", n.y);
  char line[64];
  std::snprintf(line, sizeof line, "e %a\n", n.e[0]);
  text += line;
  show(text, "y_bar", n.y_bar);
  show(text, "x_bar", n.x_bar);
  show(text, "a_bar", n.a_bar);
  show(text, "out", n.out);
  show(text, "u_bar", n.u_bar);
  return text;
}
std::string numbers_of(const std::string& output) {
  std::istringstream in(output);
  std::string text;
  for (std::string line; std::getline(in, line);)
    if (line.find("0x") != std::string::npos && line.find(':') == std::string::npos) text += line + "\n";
  return text;
}

void check_output(const std::string& output) {
  INFO(output);
  CHECK(numbers_of(output) == numbers_text(launched()));
  CHECK_THAT(output, Contains("parts: 5 units, equal, equal sums\n"));
  CHECK_THAT(output, Contains("too far: 2 export.cpp:") && Contains("a range from 0 to 6 is asked for; there are 5 units\n"));
  CHECK_THAT(output, Contains("no phase: 2 ") && Contains("phase 1 is asked for; there are 1\n"));
  CHECK_THAT(output, Contains("short: 2 export.cpp:") &&
                         Contains("kernel \"relax\": index 36 along axis 0 of \"y\" is reached at export.cpp:") &&
                         Contains("but there are 36; pass an array that is large enough"));
  CHECK_THAT(output, Contains("overlap: 2 ") && Contains("\"y\", which is written, and \"x\" overlap; pass a copy\n"));
  CHECK_THAT(output, Contains("null: 2 ") && Contains("\"x\" is null\n"));
  CHECK_THAT(output, Contains("check: 1 export.cpp:" + std::to_string(kCheckLine) + ": v is ") && Contains(" at 20\n"));
  CHECK_THAT(output, Contains("silent: 1\n"));
  CHECK_THAT(output, Contains("none: 0\n"));
}

const std::string kCall = std::string(FLUXION_SOURCE_DIR) + "/tests/export/call.c";

}  // namespace

TEST_CASE("a C program calls exported kernels and gradients with the bits of a launch", "[export]") {
  const Folder folder;
  const std::vector<std::string> targets = {"native", "x86-64", "x86-64-v3"};
  relax_kernel().export_to(folder.path.string(), targets, kRelax);
  const auto files = blur_kernel().export_to(folder.path.string(), targets, kBlur);
  CHECK(files == std::vector<std::string>{folder / "blur.native.o", folder / "blur.x86-64.o", folder / "blur.x86-64-v3.o",
                                          folder / "blur.h", folder / "blur.json"});
  for (const std::string& target : targets) {
    INFO(target);
    int status = 1;
    const std::string program = folder / ("call_" + target);
    const std::string said =
        run("cc -std=c99 -Wall -Wextra -Werror -I '" + folder.path.string() + "' '" + kCall + "' '" +
                (folder / ("relax." + target + ".o")) + "' '" + (folder / ("blur." + target + ".o")) + "' -lm -o '" + program + "'",
            &status);
    INFO(said);
    REQUIRE(status == 0);
    const std::string output = run("'" + program + "'", &status);
    INFO(output);
    CHECK(status == 0);
    check_output(output);
  }
}

TEST_CASE("the same on an emulated AArch64", "[export]") {
  const std::string compiler = "aarch64-linux-gnu-gcc";
  if (!has(compiler) || !has("qemu-aarch64")) return skip("exported objects on AArch64 (needs gcc-aarch64-linux-gnu and qemu-user)");
  const Folder folder;
  relax_kernel().export_to(folder.path.string(), {"aarch64"}, kRelax);
  blur_kernel().export_to(folder.path.string(), {"aarch64"}, kBlur);
  int status = 1;
  const std::string said =
      run(compiler + " -static -std=c99 -Wall -Wextra -Werror -I '" + folder.path.string() + "' '" + kCall + "' '" +
              (folder / "relax.aarch64.o") + "' '" + (folder / "blur.aarch64.o") + "' -lm -o '" + (folder / "call") + "'",
          &status);
  INFO(said);
  REQUIRE(status == 0);
  const std::string output = run("qemu-aarch64 '" + (folder / "call") + "'", &status);
  CHECK(status == 0);
  check_output(output);
}

TEST_CASE("an exported object asks for nothing but libc and libm", "[export]") {
  const Folder folder;
  relax_kernel().export_to(folder.path.string(), {"x86-64", "aarch64"}, kRelax);
  static const std::set<std::string> known = {"snprintf", "printf",  "_setjmp", "longjmp", "mmap",   "munmap",    "malloc",    "free",
                                              "memcpy",   "memmove", "memset",  "fma",     "fmaf",   "fmod",      "fmodf",     "floor",
                                              "floorf",   "ceil",    "ceilf",   "trunc",   "truncf", "roundeven", "roundevenf"};
  for (const char* target : {"x86-64", "aarch64"}) {
    std::istringstream in(run("nm -u '" + (folder / (std::string("relax.") + target + ".o")) + "'"));
    int symbols = 0;
    for (std::string word; in >> word;) {
      if (word == "U") continue;
      INFO(target << " " << word);
      CHECK(known.contains(word));
      ++symbols;
    }
    CHECK(symbols > 0);
  }
}

TEST_CASE("Python calls exported kernels and gradients on NumPy arrays", "[export]") {
  std::string python;
  for (const char* candidate : {"python3", "/usr/bin/python3"}) {
    int status = 1;
    run(std::string(candidate) + " -c 'import numpy'", &status);
    if (status == 0) python = candidate;
    if (status == 0) break;
  }
  if (python.empty()) return skip("exported kernels in Python (needs python3-numpy)");
  const Folder folder;
  relax_kernel().export_to(folder.path.string(), {"python", "x86-64"}, kRelax);
  blur_kernel().export_to(folder.path.string(), {"python"}, kBlur);
  auto numbers = fx::kernel("the '''numbers'''", [](fx::Out<float> y, fx::Bool b, fx::Int i, fx::BFloat h) {
    y[fx::index()] = fx::select(b, 1000.f, 0.f) + fx::Float(i) + h;
  });
  numbers.export_to(folder.path.string(), {"python"}, {.name = "plain", .parameters = {"y", "b", "i", "h"}});
  const Numbers n = launched();
  const auto raw = [&](const char* name, const auto& v) {
    std::ofstream out(folder / (std::string(name) + ".raw"), std::ios::binary);
    out.write(reinterpret_cast<const char*>(v.data()), static_cast<std::streamsize>(v.size() * sizeof v[0]));
  };
  raw("y", n.y), raw("e", n.e), raw("y_bar", n.y_bar), raw("x_bar", n.x_bar), raw("a_bar", n.a_bar), raw("out", n.out),
      raw("u_bar", n.u_bar);
  int status = 1;
  const std::string output = run(python + " '" FLUXION_SOURCE_DIR "/tests/export/call.py' '" + folder.path.string() + "'", &status);
  INFO(output);
  CHECK(status == 0);
  CHECK_THAT(output, Contains("ok"));
  std::istringstream in(output);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("skipped: ")) std::printf("%s\n", line.c_str());
}

TEST_CASE("what cannot be exported is refused with the line and nothing is written", "[export]") {
  const Folder folder;
  const std::string to = folder / "nothing";
  auto k = relax_kernel();
  CHECK_THROWS_WITH(k.export_to(to, {"z80"}), Contains("no target is named \"z80\"") && Contains("aarch64"));
  CHECK_THROWS_WITH(k.export_to(to, {}), Contains("no target is given"));
  CHECK_THROWS_WITH(k.export_to(to, {"native"}, {.name = "2nd"}), Contains("\"2nd\" is no identifier of C"));
  CHECK_THROWS_WITH(k.export_to(to, {"native"}, {.parameters = {"x", "x", "a", "e", "trips"}}),
                    Contains("two parameters are called \"x\""));
  for (const char* word : {"for", "class", "bool"})
    CHECK_THROWS_WITH(k.export_to(to, {"native"}, {.parameters = {word}}),
                      Contains("no parameter can be called \"" + std::string(word) + "\""));
  CHECK_THROWS_WITH(k.export_to(to, {"native"}, {.parameters = {"x", "y", "a", "e", "trips", "more"}}),
                    Contains("6 parameters are named, and the kernel has 5"));
  CHECK_THROWS_WITH(k.export_to(to, {"native"}, {.parameters = {"x", "y"}}),
                    Contains("2 parameters are named, and the kernel has 5; name all of them, or none"));
  auto whole = fx::kernel("whole", [](fx::In<int> n, fx::Out<int> m) { m[fx::index()] = n[fx::index()] + 1; });
  CHECK_NOTHROW(whole.export_to(folder / "whole", {"native"}, {.parameters = {"n", "m"}, .vjp = true, .jvp = true}));
  CHECK_THROWS_WITH(k.export_to(to, {"native"}, {.tape_bytes = 0}), Contains("tape_bytes is 0"));
  for (const char* word : {"int", "new", "main", "malloc", "exp"})
    CHECK_THROWS_WITH(k.export_to(to, {"native"}, {.name = word}),
                      Contains("no function of C can be called \"" + std::string(word) + "\""));
  for (const char* word : {"lambda", "np", "zip", "_array"})
    CHECK_THROWS_WITH(k.export_to(to, {"python"}, {.name = word}),
                      Contains("no function of the Python module can be called \"" + std::string(word) + "\""));
  auto host = fx::external("table", [](double x) { return 2 * x; });
  auto calls = fx::kernel("calls", [=](fx::In<double> x, fx::Out<double> y) { y[fx::index()] = host(x[fx::index()]); });
  CHECK_THROWS_WITH(calls.export_to(to), Contains("calls a host function, \"table\""));
  auto program = fx::program("program", [](fx::Buffer<float> x) { return fx::sum(x); });
  CHECK_THROWS_WITH(program.export_to(to), Contains("export the kernels that it launches"));
  CHECK_FALSE(fs::exists(to));
  std::ofstream(folder / "file") << "x";
  CHECK_THROWS_AS(k.export_to(folder / "file"), fx::IoError);
}

TEST_CASE("headers of kernels of any name compile as C and C++ without a warning", "[export]") {
  const Folder folder;
  auto k = fx::kernel("a */ b /* c", [](fx::In<fx::half> x, fx::Out<bool> y) { y[fx::index()] = x[fx::index()] > 0.f; });
  k.export_to(folder.path.string(), {"native"}, {.name = "odd", .vjp = true});
  for (const char* compiler : {"cc -std=c99 -x c", "c++ -std=c++11 -x c++"}) {
    int status = 1;
    const std::string said = run(std::string(compiler) + " -Wall -Wextra -pedantic -Werror -fsyntax-only '" + (folder / "odd.h") +
                                     "' -include '" + (folder / "odd.h") + "'",
                                 &status);
    INFO(said);
    CHECK(status == 0);
  }
}

TEST_CASE("the signature describes every function of the files", "[export]") {
  const Folder folder;
  auto k = fx::kernel("odd name!", [](fx::In<fx::float3, 2> p, fx::Accum<fx::half> h, fx::Bool b, fx::Double d, fx::Float2 q) {
    auto [i, j] = fx::index<2>();
    fx::Float3 v = p(i, j);
    h[0] += fx::select(b, v.x * fx::Float(d), q.x + q.y);
  });
  k.export_to(folder.path.string(), {"x86-64-v3"}, {.parameters = {"points", "p1", "p2", "p3", "p4"}});
  const std::string json = text_of(folder / "odd_name_.json"), header = text_of(folder / "odd_name_.h");
  INFO(json << header);
  CHECK_THAT(json, Contains("\"kernel\": \"odd name!\"") && Contains("\"name\": \"odd_name_\""));
  CHECK_THAT(json, Contains("\"role\": \"in\", \"rank\": 2, \"element_bytes\": 12") && Contains("\"components\": 3"));
  CHECK_THAT(json, Contains("\"added\": [1]") && Contains("\"needs\": [\"avx2\""));
  CHECK_THAT(header, Contains("const float* points;  /* read; elements of 3 */") && Contains("int64_t points_extent[2];"));
  CHECK_THAT(header, Contains("uint16_t* p1;  /* added to; the bits of f16 */") && Contains("uint8_t p2;") && Contains("double p3;"));
  CHECK_THAT(header, Contains("float p4_0;") && Contains("zeroed arrays of its own for p1"));
}
