// What talks to NVIDIA's driver, on a driver without a GPU (tests/fake_cuda): devices, memory, launches, errors.
#include <dlfcn.h>

#include <cstdlib>

#include "cuda/backend.h"
#include "fluxion/fluxion.h"
#include "fluxion/pipeline.h"
#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;
using Catch::Contains;

namespace {

/// An environment variable for as long as this lives.
class Setting {
 public:
  Setting(const char* name, const std::string& value) : name_(name) { ::setenv(name, value.c_str(), 1); }
  ~Setting() { ::unsetenv(name_); }
  Setting(const Setting&) = delete;

 private:
  const char* name_;
};

struct Fake {
  Setting library{"FLUXION_CUDA_LIBRARY", FLUXION_FAKE_CUDA};
};

int left(const char* what) {
  static void* const library = dlopen(FLUXION_FAKE_CUDA, RTLD_NOW);
  return reinterpret_cast<int (*)()>(dlsym(library, what))();
}

/// What a launch of `f` over `domain` is called with: blocks, threads, first, end, report.
std::vector<std::int64_t> launched(Backend& on, Executable& code, std::array<std::int64_t, 3> domain, std::int64_t elements) {
  void* at = on.allocate(64);
  const ArrayArgument array{at, {elements, 1, 1}};
  FailureSlot failure;
  code.run({domain, std::span(&array, 1), {}}, failure);
  failure.rethrow();
  std::vector<std::int64_t> out(5);
  on.read(out.data(), at, 40);
  on.free(at, 64);
  return out;
}

Function writes(int rank, std::array<int, 3> group = {}) {
  Function f = testing::kernel("writes", rank);
  f.group = group;
  Builder b(f);
  const ValueId at[] = {b.index(0)};
  b.store(b.memory_parameter(DType::i64, 1, Role::out, "y"), at, b.constant(DType::i64, 1));
  b.finish();
  return f;
}

}  // namespace

TEST_CASE("the newest GPU is taken unless one is asked for", "[backends][cuda][fake_cuda]") {
  const Fake fake;
  const auto on = cuda::open_backend();
  CHECK_THAT(on->description(), Contains("Fake New") && Contains("capability 9.0") && Contains("CUDA 12.4") && Contains("1024 MB"));
  CHECK_THAT(on->fingerprint({}), Contains("sm_90"));
  CHECK(on->memory() == std::uint64_t{1} << 30);
  for (const char* name : {"0", "old"}) {
    const Setting asked("FLUXION_CUDA_DEVICE", name);
    CHECK_THAT(cuda::open_backend()->fingerprint({}), Contains("sm_75"));
  }
  const Setting asked("FLUXION_CUDA_DEVICE", "abacus");
  CHECK_THROWS_WITH(cuda::open_backend(), Contains("\"abacus\"") && Contains("Fake Old") && Contains("Fake New"));
}

TEST_CASE("a driver that is missing or too old or finds nothing is a clear error", "[backends][cuda][fake_cuda]") {
  {
    const Setting library("FLUXION_CUDA_LIBRARY", "libno_such_cuda.so.1");
    CHECK_THROWS_WITH(cuda::open_backend(),
                      Contains("libno_such_cuda.so.1: cannot open shared object file") && Contains("install NVIDIA's driver"));
  }
  {
    const Setting library("FLUXION_CUDA_LIBRARY", "libm.so.6");
    CHECK_THROWS_WITH(cuda::open_backend(), Contains("libm.so.6 has no cu") && Contains("update NVIDIA's driver"));
  }
  const Fake fake;
  {
    const Setting old("FAKE_CUDA_DRIVER", "10020");
    CHECK_THROWS_WITH(cuda::open_backend(), Contains("for CUDA 10.2 and 11.0 is needed"));
  }
  {
    const Setting older("FAKE_CUDA_DRIVER", "11020");  // knows nothing of sm_90
    CHECK_THAT(cuda::open_backend()->fingerprint({}), Contains("sm_80"));
  }
  const Setting none("FAKE_CUDA_FAIL", "cuInit");
  CHECK_THROWS_WITH(cuda::open_backend(), Contains("found no GPU"));
}

TEST_CASE("arrays go to a CUDA device and come back with and without pinned memory", "[backends][cuda][fake_cuda]") {
  const Fake fake;
  for (const char* failing : {"", "cuMemHostAlloc"}) {
    const Setting fail("FAKE_CUDA_FAIL", failing);
    const auto on = cuda::open_backend();
    for (const std::size_t n : {1u, 3u, 64u, 1000u, 2097152u, 20000001u}) {
      const std::size_t size = (n + 63) / 64 * 64;
      std::vector<std::byte> mine(n), back(n);
      for (std::size_t k = 0; k < n; ++k) mine[k] = static_cast<std::byte>(k * 7 + k / 251);
      void *a = on->allocate(size), *b = on->allocate(size);
      on->write(a, mine.data(), n);
      on->copy(b, a, n);
      on->read(back.data(), b, n);
      CHECK((back == mine));
      for (const std::size_t element : {1u, 2u, 3u, 4u, 8u}) {
        if (n % element) continue;
        std::vector<std::byte> e(element);
        for (std::size_t k = 0; k < element; ++k) e[k] = std::byte(k + 1);
        on->fill(a, e.data(), element, n);
        on->read(back.data(), a, n);
        for (std::size_t k = 0; k < n; ++k) mine[k] = e[k % element];
        CHECK((back == mine));
      }
      on->free(a, size);
      on->free(b, size);
    }
    on->wait();
  }
  CHECK(left("fakeBlocks") == 0);
}

TEST_CASE("launches on a CUDA device have blocks that fill it and reach every point", "[backends][cuda][fake_cuda]") {
  const Fake fake;
  const auto on = cuda::open_backend();
  const auto one = on->compile(writes(1), {}), three = on->compile(writes(3), {}), groups = on->compile(writes(1, {64, 0, 0}), {});
  CHECK(left("fakeModules") == 3);
  CHECK(launched(*on, *one, {1, 1, 1}, 8) == std::vector<std::int64_t>{1, 32, 0, 1, 0});
  CHECK(launched(*on, *one, {200, 1, 1}, 8) == std::vector<std::int64_t>{4, 64, 0, 200, 0});  // each of 4 multiprocessors has one
  CHECK(launched(*on, *one, {100000, 1, 1}, 8) == std::vector<std::int64_t>{521, 192, 0, 100000, 0});
  CHECK(launched(*on, *groups, {640, 1, 1}, 8) == std::vector<std::int64_t>{10, 64, 0, 10, 0});
  CHECK(left("fakeModules") == 3);
  const std::int64_t many = std::int64_t{1} << 33;
  CHECK(launched(*on, *three, {1 << 20, 1 << 10, 1 << 3}, 8) == std::vector<std::int64_t>{(many + 191) / 192, 192, 0, many, 0});
  // More groups of one thread than a grid has blocks: in pieces, of which this is the last.
  const auto single = on->compile(writes(2, {1, 1, 0}), {});
  CHECK(launched(*on, *single, {65537, 65536, 1}, 8) ==
        std::vector<std::int64_t>{3 * 65536, 1, std::int64_t{65534} * 65536, std::int64_t{65537} * 65536, 0});
  CHECK(left("fakeModules") == 6);  // with indices of 64 bits, as beyond 2^31 threads and elements
  CHECK(launched(*on, *one, {10, 1, 1}, std::int64_t{1} << 31) == std::vector<std::int64_t>{1, 32, 0, 10, 0});
  CHECK(left("fakeModules") == 7);
}

TEST_CASE("memory that runs out on a CUDA device is said with sizes and nothing is left behind", "[backends][cuda][fake_cuda]") {
  const Fake fake;
  const Setting bytes("FAKE_CUDA_BYTES", "1000000");
  const auto on = cuda::open_backend();
  CHECK(on->allocate(2000000) == nullptr);
  Function f = testing::kernel("sums");
  Builder b(f);
  const MemoryId y = b.memory_parameter(DType::f64, 1, Role::accum, "y");
  const ValueId zero[] = {b.emit(Opcode::rem, {b.index(0), b.i32(3)})};
  b.accumulate(y, zero, b.constant_float(DType::f64, 1));
  b.finish();
  const auto code = on->compile(f, {});
  void* at = on->allocate(8000);
  const ArrayArgument array{at, {1000, 1, 1}};
  FailureSlot failure;
  code->run({{10, 1, 1}, std::span(&array, 1), {}}, failure);  // exact sums take 69 times the room
  CHECK_NOTHROW(failure.rethrow());
  on->free(at, 8000);
  at = on->allocate(990016);
  const Function reports = [] {
    Function g = testing::kernel("reports");
    Builder c(g);
    const ValueId i = c.index(0), fine[] = {c.emit(Opcode::lt, {i, c.i32(5)}), i};
    c.store(c.memory_parameter(DType::i64, 1, Role::out, "y"), std::span(&i, 1), c.constant(DType::i64, 1));
    c.effect(Opcode::check, "i is {}", fine);
    c.effect(Opcode::print, "i is {}", std::span(&i, 1));
    c.finish();
    return g;
  }();
  const ArrayArgument whole{at, {100, 1, 1}};
  on->compile(reports, {})->run({{10, 1, 1}, std::span(&whole, 1), {}}, failure);
  CHECK_THROWS_WITH(failure.rethrow(), Contains("no 2 MB of device memory for reports") && Contains("0 of 0 MB are in use"));
  on->free(at, 990016);
  CHECK(left("fakeBlocks") == 0);
}

TEST_CASE("what the driver says of code that it does not compile is told", "[backends][cuda][fake_cuda]") {
  const Fake fake;
  const auto on = cuda::open_backend();
  const Setting fail("FAKE_CUDA_FAIL", "cuModuleLoadDataEx");
  CHECK_THROWS_WITH(on->compile(writes(1), {}), Contains("does not compile kernel \"writes\" for sm_90") && Contains("no such register"));
  const Setting works("FAKE_CUDA_FAIL", "");
  CHECK(launched(*on, *on->compile(writes(1), {}), {1, 1, 1}, 8).size() == 5);
}

TEST_CASE("work that does not end or fails on a CUDA device ends the device and not the process", "[backends][cuda][fake_cuda]") {
  const Fake fake;
  {
    const auto on = cuda::open_backend();
    const Setting hang("FAKE_CUDA_HANG", "1"), timeout("FLUXION_TIMEOUT", "1");
    CHECK_THROWS_WITH(on->wait(), Contains("has not ended in 1 s; set FLUXION_TIMEOUT"));
    CHECK_THROWS_WITH(on->wait(), Contains("the device is lost; start the program again"));
  }
  {
    // Before the driver's queue is full, so that it is not the driver that waits.
    const auto on = cuda::open_backend();
    const auto one = on->compile(writes(1), {});
    void* at = on->allocate(64);
    const ArrayArgument array{at, {8, 1, 1}};
    const Setting hang("FAKE_CUDA_HANG", "1"), timeout("FLUXION_TIMEOUT", "1");
    int launches = 0;
    FailureSlot failure;
    for (; launches < 1000 && failure.empty(); ++launches) one->run({{8, 1, 1}, std::span(&array, 1), {}}, failure);
    CHECK(launches < 800);
    CHECK_THROWS_WITH(failure.rethrow(), Contains("has not ended in 1 s"));
  }
  const auto on = cuda::open_backend();
  void* at = on->allocate(64);
  {
    const Setting fail("FAKE_CUDA_FAIL", "cuStreamQuery");
    CHECK_THROWS_WITH(on->wait(), Contains("an illegal memory access") && Contains("the device is lost"));
  }
  CHECK_THROWS_WITH(on->allocate(64), Contains("the device is lost"));
  on->free(at, 64);  // says nothing
}

TEST_CASE("a CUDA device that is closed or cannot be opened leaves nothing behind and no context", "[backends][cuda][fake_cuda]") {
  const Fake fake;
  const int before = left("fakeHeld");
  {
    const auto on = cuda::open_backend();
    CHECK(left("fakeHeld") > before);
    const auto code = on->compile(writes(1), {});
    for (int k = 0; k < 1000; ++k) launched(*on, *code, {8, 1, 1}, 8);
    CHECK(left("fakeContexts") == 0);
  }
  CHECK(left("fakeHeld") == before);
  {
    const Setting fail("FAKE_CUDA_FAIL", "cuEventCreate");
    CHECK_THROWS_WITH(cuda::open_backend(), Contains("no event"));
  }
  CHECK(left("fakeHeld") == before);
  CHECK(left("fakeContexts") == 0);
}
