// What the CUDA backend makes, assembled by ptxas without a GPU. The file comes last, so that the last test sees every kernel that
// the others have compared.
#include <cstdio>

#include "fluxion/fluxion.h"
#include "fluxion/pipeline.h"
#include "ptxas.h"
#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

bool no_ptxas() {
  if (!ptxas().empty()) return false;
  std::printf("\nskipped: ptxas is not there (set PTXAS, or install CUDA's nvcc package), so no CUDA code was assembled\n");
  return true;
}

std::string one_ptx(const Function& f, const std::string& arch = "sm_75", const CompileOptions& options = {}) {
  std::vector<std::string> modules;
  make_ptx(lower(f, "cuda"), options, arch, "k", modules);
  std::string all;
  for (const std::string& m : modules) all += m;
  return all;
}

}  // namespace

TEST_CASE("what a kernel only reads comes through the read-only cache and vectors as one access", "[backends][cuda]") {
  auto k = fluxion::kernel("norms", [](In<float4> x, Out<float> y) {
    auto i = index();
    const auto v = x[i + 1];
    y[i] = v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  });
  const std::string text = one_ptx(*k.handle().function());
  CHECK(text.find("ld.global.nc.v4.f32") != std::string::npos);
  CHECK(text.find("fma.rn.f32") != std::string::npos);
  CHECK(text.find(".maxntid 256") != std::string::npos);
  CHECK(text.find("div.u32") == std::string::npos);
}

TEST_CASE("a kernel that may write its result in the place of what it reads promises nothing of either", "[backends][cuda]") {
  auto own = fluxion::kernel("own", [](In<float4> x, Out<float> y) {
    const auto v = x[index()];
    y[index()] = v.x * v.y + v.z * v.w;
  });
  const std::string text = one_ptx(*own.function());
  CHECK(text.find("ld.global.v4.f32") != std::string::npos);
  CHECK(text.find(".nc") == std::string::npos);
}

TEST_CASE("sums and products are rounded one by one in PTX", "[backends][cuda]") {
  Function f = testing::kernel("rounds");
  Builder b(f);
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::inout, "x");
  const ValueId at[] = {b.index(0)};
  const ValueId v = b.load(x, at);
  b.store(x, at, b.emit(Opcode::sqrt, {b.emit(Opcode::div, {b.add(b.emit(Opcode::mul, {v, v}), v), v})}));
  b.finish();
  std::vector<std::string> modules;
  make_ptx(f, {}, "sm_75", "k", modules);
  REQUIRE(modules.size() == 1);
  for (const char* what : {"mul.rn.f32", "add.rn.f32", "div.rn.f32", "sqrt.rn.f32"}) CHECK(modules[0].find(what) != std::string::npos);
  for (const char* what : {"fma", ".ftz", "approx"}) CHECK(modules[0].find(what) == std::string::npos);
}

TEST_CASE("sums of floats by many threads are native atomics where they are relaxed", "[backends][cuda]") {
  auto k = fluxion::kernel("bins", [](In<double> x, In<int> to, Accum<double> y) {
    auto i = index();
    y[to[i]] += x[i];
  });
  const Function& f = *k.handle().function();
  CHECK(one_ptx(f, "sm_75", {.relaxed = true}).find("atom.global.add.f64") != std::string::npos);
  CHECK(one_ptx(f).find("atom.global.add.f64") == std::string::npos);
}

TEST_CASE("subgroup ops of whole groups are shuffles", "[backends][cuda]") {
  auto k = fluxion::kernel("groups", groups(64), [](In<float> x, Out<float> y) {
    auto i = index();
    y[i] = subgroup_add(x[i]);
  });
  const std::string text = one_ptx(*k.handle().function());
  CHECK(text.find("shfl.sync.bfly.b32") != std::string::npos);
  CHECK(text.find(".reqntid 64") != std::string::npos);
  CHECK(text.find("bar.sync") == std::string::npos);
}

TEST_CASE("a kernel that CUDA cannot have is refused with its sizes", "[backends][cuda]") {
  auto k = fluxion::kernel("large", groups(64), [](Out<float> y) {
    Shared<float, 20000> s;
    s[thread_index()] = 1.f;
    barrier();
    y[index()] = s[63 - thread_index()];
  });
  CHECK_THROWS_WITH(one_ptx(*k.handle().function()), Catch::Contains("80000 bytes of shared memory") && Catch::Contains("49152"));
  CHECK_THROWS_WITH(one_ptx(*k.handle().function(), "sm_20"), Catch::Contains("sm_20") && Catch::Contains("sm_90"));
}

TEST_CASE("ptxas takes every kernel that was compared", "[backends][cuda][ptxas]") {
  if (no_ptxas()) return;
  int kernels = 0;
  std::map<std::string, Assembled> all;
  const auto wrong = refused(kernels, all);
  if (kernels == 0) std::printf("\nskipped: no other test of this program ran, so no CUDA code was assembled\n");
  for (const std::string& text : wrong) {
    INFO(text);
    CHECK(false);
  }
  int most = 0, spilling = 0;
  std::string which;
  for (const auto& [name, a] : all) {
    spilling += a.spills > 0;
    if (std::getenv("FLUXION_SHOW_SPILLS") && a.spills)
      std::printf("%s: %d registers, %d stack, %d spills\n", name.c_str(), a.registers, a.stack, a.spills);
    if (a.registers > most) most = a.registers, which = name;
  }
  std::printf("ptxas: %d kernels, %zu entries, %d with spills, at most %d registers (%s)\n", kernels, all.size(), spilling, most,
              which.c_str());
}
