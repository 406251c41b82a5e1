// The caches of compiled code: what is found again, and what is not trusted.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "fluxion/buffer.h"
#include "fluxion/builder.h"
#include "fluxion/cache.h"
#include "fluxion/fluxion.h"
#include "fluxion/kernel_handle.h"

using namespace fluxion;
namespace fs = std::filesystem;

namespace {

// An empty cache directory for the length of a test.
struct CacheDirectory {
  fs::path path;
  CacheDirectory() {
    std::string name = (fs::temp_directory_path() / "fluxion_cache_XXXXXX").string();
    path = fs::path(::mkdtemp(name.data())) / "deep" / "cache";
    ::setenv("FLUXION_CACHE_DIR", path.c_str(), 1);
    clear_memory_cache();
  }
  ~CacheDirectory() {
    ::unsetenv("FLUXION_CACHE_DIR");
    fs::remove_all(path.parent_path().parent_path());
  }
  fs::path only_file() const {
    std::vector<fs::path> all;
    for (const auto& e : fs::directory_iterator(path)) all.push_back(e.path());
    REQUIRE(all.size() == 1);
    return all[0];
  }
};

// y[i] = a chain of `ops` multiplications and additions of x[i].
Function chain(int ops, std::uint32_t line = 1) {
  Function f;
  f.kind = Function::Kind::kernel;
  f.name = "chain";
  f.domain_rank = 1;
  Builder b(f);
  b.loc = Loc{"chain.cpp", line};
  const MemoryId x = b.memory_parameter(DType::f32, 1, Role::in, "x"), y = b.memory_parameter(DType::f32, 1, Role::out, "y");
  const Values i = {b.index(0)};
  const ValueId v = b.load(x, i);
  ValueId r = v;
  for (int k = 0; k < ops; ++k) r = k % 2 ? b.mul(r, v) : b.add(r, b.constant_float(DType::f32, k + 1));
  b.store(y, i, r);
  b.finish();
  return f;
}

struct Counts {
  CacheCounts before = cache_counts();
  std::array<std::uint64_t, 3> operator()() const {
    const CacheCounts now = cache_counts();
    return {now.memory - before.memory, now.disk - before.disk, now.compiled - before.compiled};
  }
};
using Three = std::array<std::uint64_t, 3>;

float run(const Function& f) {
  const auto x = Device::best().upload({2.f}), y = Device::best().zeros<float>(1);
  detail::Argument args[2];
  args[0].array = x.array().shared();
  args[1].array = y.array().shared();
  detail::KernelHandle(std::make_shared<const Function>(f)).launch({1, 1, 1}, 1, args, {});
  return y.item();
}

}  // namespace

TEST_CASE("equal kernels share their code in memory and other ones do not", "[jit][cache]") {
  CacheDirectory dir;
  Counts counts;
  const float first = run(chain(4));
  CHECK(counts() == Three{0, 0, 1});
  CHECK(run(chain(4)) == first);
  CHECK(counts() == Three{1, 0, 1});
  CHECK(run(chain(5)) != first);
  CHECK(counts() == Three{1, 0, 2});
}

TEST_CASE("code is found on disk in files of the owner alone and lines are no part of the key", "[jit][cache]") {
  CacheDirectory dir;
  const float first = run(chain(6, 10));
  struct stat s;
  REQUIRE(::stat(dir.only_file().c_str(), &s) == 0);
  CHECK((s.st_mode & 0777) == 0600);
  REQUIRE(::stat(dir.path.c_str(), &s) == 0);
  CHECK((s.st_mode & 0777) == 0700);
  clear_memory_cache();
  Counts counts;
  CHECK(run(chain(6, 20)) == first);
  CHECK(counts() == Three{0, 1, 0});
}

TEST_CASE("programs are found on disk on every device that compiles them", "[jit][cache]") {
  for (const Device& device : Device::list()) {
    if (device.name() == "reference") continue;
    INFO(device.name());
    CacheDirectory dir;
    auto step = kernel("step", [](InOut<float> y, Float a) { y[index()] *= a; });
    const auto run_twice = [&] {
      auto p = program("twice", [&](Buffer<float> y) {
        step(y, 3.f);
        step(y, 3.f);
      });
      auto y = device.upload({1.f, 2.f});
      p(y);
      return y.host();
    };
    CHECK(run_twice() == std::vector<float>{9, 18});
    clear_memory_cache();
    Counts counts;
    CHECK(run_twice() == std::vector<float>{9, 18});
    CHECK(counts() == Three{0, 1, 0});
  }
}

TEST_CASE("a damaged entry is compiled again and replaced", "[jit][cache]") {
  CacheDirectory dir;
  const float first = run(chain(7));
  const fs::path file = dir.only_file();
  const auto size = fs::file_size(file);
  const int damage = GENERATE(0, 1, 2, 3);
  INFO("damage " << damage);
  if (damage == 0) fs::resize_file(file, size / 2);
  if (damage == 1) fs::resize_file(file, 0);
  if (damage > 1) {
    std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
    const auto at = static_cast<std::streamoff>(damage == 2 ? size - 100 : 20);
    f.seekg(at);
    const char c = static_cast<char>(f.get() ^ 0x10);
    f.seekp(at);
    f.put(c);
  }
  clear_memory_cache();
  Counts counts;
  CHECK(run(chain(7)) == first);
  CHECK(counts() == Three{0, 0, 1});
  clear_memory_cache();
  CHECK(run(chain(7)) == first);
  CHECK(counts() == Three{0, 1, 1});
}

TEST_CASE("an entry or a directory that others may write is not trusted", "[jit][cache]") {
  CacheDirectory dir;
  run(chain(8));
  ::chmod(dir.only_file().c_str(), 0666);
  clear_memory_cache();
  Counts counts;
  run(chain(8));
  CHECK(counts() == Three{0, 0, 1});
  ::chmod(dir.path.c_str(), 0777);
  clear_memory_cache();
  run(chain(8));
  CHECK(counts() == Three{0, 0, 2});
}

TEST_CASE("a link in the place of an entry is not followed", "[jit][cache]") {
  CacheDirectory dir;
  run(chain(9));
  const fs::path file = dir.only_file(), moved = dir.path.parent_path() / "moved";
  fs::rename(file, moved);
  fs::create_symlink(moved, file);
  clear_memory_cache();
  Counts counts;
  run(chain(9));
  CHECK(counts() == Three{0, 0, 1});
}

TEST_CASE("the disk cache can be switched off", "[jit][cache]") {
  CacheDirectory dir;
  ::setenv("FLUXION_CACHE", "off", 1);
  run(chain(10));
  ::unsetenv("FLUXION_CACHE");
  CHECK_FALSE(fs::exists(dir.path));
}

TEST_CASE("a directory that cannot be made only costs compiling", "[jit][cache]") {
  CacheDirectory dir;
  ::setenv("FLUXION_CACHE_DIR", "/proc/none/fluxion", 1);
  Counts counts;
  run(chain(11));
  CHECK(counts() == Three{0, 0, 1});
}

TEST_CASE("a directory that grows too large loses what was used longest ago", "[jit][cache]") {
  const CacheDirectory directory;
  const auto files = [&] { return std::distance(fs::directory_iterator(directory.path), fs::directory_iterator()); };
  run(chain(3));
  const fs::path first = directory.only_file();
  const auto hour = std::chrono::hours(1);
  fs::last_write_time(first, fs::last_write_time(first) - 2 * hour);
  run(chain(4));
  for (const auto& e : fs::directory_iterator(directory.path))
    if (e.path() != first) fs::last_write_time(e.path(), fs::last_write_time(e.path()) - hour);
  clear_memory_cache();
  run(chain(3));  // from disk: used just now
  CHECK(files() == 2);
  ::setenv("FLUXION_CACHE_BYTES", std::to_string(fs::file_size(first) * 57 / 20).c_str(), 1);
  run(chain(5));  // three of 2.85
  ::unsetenv("FLUXION_CACHE_BYTES");
  CHECK(files() == 2);
  CHECK(fs::exists(first));
}
