// Runs a kernel in the evaluator and through a backend on equal data, and compares what they leave behind.
#pragma once
#include <catch2/catch.hpp>

#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "cuda/emulate.h"
#include "fluxion/backend.h"
#include "fluxion/builder.h"
#include "fluxion/evaluate.h"
#include "ptxas.h"

namespace fluxion::testing {

/// One array: bytes with a layout and extents.
struct Data {
  LayoutId element;
  std::array<std::int64_t, 3> extent{1, 1, 1};
  std::vector<std::byte> bytes;

  Data(LayoutId e, std::initializer_list<std::int64_t> shape) : element(e) {
    std::copy(shape.begin(), shape.end(), extent.begin());
    bytes.resize(static_cast<std::size_t>(count()) * layout_of(e).size);
  }
  std::int64_t count() const { return extent[0] * extent[1] * extent[2]; }
  template <class T> T* as() { return reinterpret_cast<T*>(bytes.data()); }
  template <class T> const T* as() const { return reinterpret_cast<const T*>(bytes.data()); }
  /// Values that differ everywhere, repeat never and are exact in every type of 4 bytes and more.
  Data& fill(std::uint32_t seed = 1) {
    std::uint32_t s = seed * 2654435761u + 12345;
    const Layout& layout = layout_of(element);
    for (std::int64_t i = 0; i < count(); ++i)
      for (const Leaf& leaf : layout.leaves) {
        s = s * 1664525u + 1013904223u;
        const double v = static_cast<double>(static_cast<std::int32_t>(s >> 20) - 2048) / 256;
        std::byte* p = bytes.data() + static_cast<std::size_t>(i) * layout.size + leaf.offset;
        if (leaf.dtype == DType::f32) {
          const auto x = static_cast<float>(v);
          std::memcpy(p, &x, 4);
        } else if (leaf.dtype == DType::f64) std::memcpy(p, &v, 8);
        else if (leaf.dtype == DType::f16) {
          const half x(static_cast<float>(v));
          std::memcpy(p, &x, 2);
        } else if (leaf.dtype == DType::bf16) {
          const bfloat16 x(static_cast<float>(v));
          std::memcpy(p, &x, 2);
        } else if (is_bool(leaf.dtype)) *p = std::byte(s >> 31);
        else {
          const auto x = static_cast<std::int64_t>(v * 16);
          std::memcpy(p, &x, static_cast<std::size_t>(size_of(leaf.dtype)));
        }
      }
    return *this;
  }
};

/// Half a ulp is 0.5; equal values and two NaNs are 0; numbers that may be flushed are equal to each other.
template <class T> double ulps(T a, T b) {
  if (a == b || (a != a && b != b)) return 0;
  const T tiny = std::numeric_limits<T>::min();
  if (std::fabs(a) < tiny && std::fabs(b) < tiny) return 0;
  if (a != a || b != b || std::isinf(a) || std::isinf(b)) return 1e30;
  int e = 0;
  std::frexp(std::max(std::fabs(a), std::fabs(b)), &e);
  return std::fabs(static_cast<double>(a) - static_cast<double>(b)) / std::ldexp(1.0, e - std::numeric_limits<T>::digits);
}

/// The largest difference in ulps between leaves of two arrays; integers differ by 0 or 1e30.
inline double difference(const Data& a, const Data& b) {
  double worst = 0;
  const Layout& layout = layout_of(a.element);
  for (std::int64_t i = 0; i < a.count(); ++i)
    for (const Leaf& leaf : layout.leaves) {
      const std::size_t at = static_cast<std::size_t>(i) * layout.size + leaf.offset;
      const auto get = [&](const Data& d, auto v) {
        std::memcpy(&v, d.bytes.data() + at, sizeof v);
        return v;
      };
      double u = 0;
      if (leaf.dtype == DType::f32) u = ulps(get(a, 0.f), get(b, 0.f));
      else if (leaf.dtype == DType::f64) u = ulps(get(a, 0.), get(b, 0.));
      else if (leaf.dtype == DType::f16)
        u = float(get(a, half())) != float(get(a, half())) ? 0 : ulps(float(get(a, half())), float(get(b, half())));
      else if (leaf.dtype == DType::bf16) u = ulps(float(get(a, bfloat16())), float(get(b, bfloat16())));
      else u = std::memcmp(&a.bytes[at], &b.bytes[at], static_cast<std::size_t>(size_of(leaf.dtype))) ? 1e30 : 0;
      worst = std::max(worst, u);
    }
  return worst;
}

/// The backends that have memory of their own and are present; in the place of a GPU of NVIDIA's the emulated one. Where FLUXION_DEVICE
/// names one of them, that one alone, and it must be there.
inline const std::vector<std::shared_ptr<Backend>>& devices() {
  static const auto list = [] {
    const char* text = std::getenv("FLUXION_DEVICE");
    const std::string_view asked = text ? text : "";
    if (asked == "vulkan") return std::vector{vulkan_backend()};
    if (asked == "cuda") return std::vector{cuda_backend()};
    std::vector<std::shared_ptr<Backend>> found;
    const auto open = [&](auto backend) {
      try {
        found.push_back(backend());
        return true;
      } catch (const DeviceError& e) {
        std::printf("\nskipped: %s\n", e.what());
        return false;
      }
    };
    open(vulkan_backend);
    if (!open(cuda_backend)) open(cuda::emulated_backend);
    return found;
  }();
  return list;
}

/// The Vulkan device among them, or null.
inline Backend* vulkan_device() {
  for (const auto& d : devices())
    if (d->name() == "vulkan") return d.get();
  return nullptr;
}

/// The same on a backend with memory of its own.
inline void run(Backend& on, Executable& code, std::array<std::int64_t, 3> domain, std::vector<Data>& data,
                const std::vector<std::uint64_t>& scalars) {
  std::vector<ArrayArgument> arrays;
  std::vector<std::size_t> sizes;
  for (Data& d : data) {
    sizes.push_back((d.bytes.size() + 64) / 64 * 64);
    arrays.push_back({on.allocate(sizes.back()), d.extent});
    on.write(arrays.back().data, d.bytes.data(), d.bytes.size());
  }
  FailureSlot failure;
  code.run({domain, arrays, scalars}, failure);
  for (std::size_t k = 0; k < data.size(); ++k) {
    if (!data[k].bytes.empty()) on.read(data[k].bytes.data(), arrays[k].data, data[k].bytes.size());
    on.free(arrays[k].data, sizes[k]);
  }
  failure.rethrow();
}

inline void run(Executable& code, std::array<std::int64_t, 3> domain, std::vector<Data>& data, const std::vector<std::uint64_t>& scalars) {
  std::vector<ArrayArgument> arrays;
  for (Data& d : data) arrays.push_back({d.bytes.data(), d.extent});
  FailureSlot failure;
  code.run({domain, arrays, scalars}, failure);
  failure.rethrow();
}

inline std::vector<Data> evaluated(const Function& f, std::array<std::int64_t, 3> domain, std::vector<Data> data,
                                   const std::vector<std::uint64_t>& scalars) {
  std::vector<EvalMemory> memories;
  for (Data& d : data) memories.push_back({d.bytes.data(), d.extent});
  evaluate_kernel(f, domain, memories, scalars);
  return data;
}

struct Variant {
  int width;
  const char* features;
  bool bounds = false;
};
/// The widths and instruction sets that this machine can run.
inline std::vector<Variant> variants() {
  std::vector<Variant> v = {{16, ""}, {4, ""}, {1, ""}, {8, "sse2"}};
  try {
    (void)cpu_backend()->fingerprint({.features = "avx2"});
    v.push_back({16, "avx2"});
  } catch (const DeviceError&) { WARN("skipped: no AVX2 here"); }
  return v;
}

/// Compares on every variant, for every domain; `bound` in ulps.
inline void agrees(const Function& f, const std::vector<std::array<std::int64_t, 3>>& domains, const std::vector<Data>& data,
                   const std::vector<std::uint64_t>& scalars = {}, double bound = 0, const std::vector<Variant>& on = variants()) {
  verify(f);
  assemble_later(f, {.bounds = on.front().bounds});
  std::vector<std::vector<Data>> expected;
  for (const auto& domain : domains) expected.push_back(evaluated(f, domain, data, scalars));
  for (const Variant& v : on) {
    const auto code = cpu_backend()->compile(f, {.width = v.width, .bounds = v.bounds, .features = v.features});
    for (std::size_t d = 0; d < domains.size(); ++d) {
      INFO("kernel " << f.name << ", width " << v.width << ", features " << v.features << ", domain " << domains[d][0]);
      std::vector<Data> mine = data;
      run(*code, domains[d], mine, scalars);
      for (std::size_t k = 0; k < mine.size(); ++k) {
        INFO("array " << k);
        CHECK(difference(expected[d][k], mine[k]) <= bound);
      }
    }
  }
  for (const auto& device : devices()) {
    const auto code = device->compile(f, {.bounds = on.front().bounds});
    for (std::size_t d = 0; d < domains.size(); ++d) {
      INFO("kernel " << f.name << " on " << device->name() << ", domain " << domains[d][0]);
      std::vector<Data> mine = data;
      run(*device, *code, domains[d], mine, scalars);
      for (std::size_t k = 0; k < mine.size(); ++k) {
        INFO("array " << k);
        CHECK(difference(expected[d][k], mine[k]) <= bound);
      }
    }
  }
}

inline Function kernel(std::string name, int rank = 1) {
  Function f;
  f.kind = Function::Kind::kernel;
  f.name = std::move(name);
  f.domain_rank = rank;
  return f;
}

}  // namespace fluxion::testing
