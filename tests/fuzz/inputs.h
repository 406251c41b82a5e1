// The arguments of a random program, for direct execution and for the evaluator.
#pragma once
#include "gradient_check.h"
#include "host.h"

namespace fluxion::fuzz {

using testing::Arguments;
using testing::Data;

/// The parameters in order; those that a kernel leaves changed, in order, are y z q w g s.
enum ParameterIndex { kPX, kPP, kPY, kPZ, kPQ, kPW, kPG, kPS, kPH, kPA, kPM };

/// Inputs for `threads` points. The same seed gives the same numbers for every element type.
inline Arrays<double> inputs(const Program& p, int threads) {
  std::mt19937_64 random(p.seed + 77);
  std::uniform_real_distribution<double> u(-1.5, 1.5);
  Arrays<double> in;
  const auto floats = [&](std::vector<double>& v, int n) {
    for (int i = 0; i < n; ++i) v.push_back(static_cast<float>(u(random)));
  };
  const auto ints = [&](std::vector<std::int32_t>& v, int n) {
    for (int i = 0; i < n; ++i)
      v.push_back(random() % 4 ? static_cast<std::int32_t>(random() % 16) - 6 : static_cast<std::int32_t>(random()));
  };
  floats(in.x, kReadLength);
  ints(in.p, kReadLength);
  in.y.assign(static_cast<std::size_t>(threads), 0);
  floats(in.z, 2 * threads);
  ints(in.q, 2 * threads);
  floats(in.w, kSharedLength);
  floats(in.g, kSums);
  in.a = static_cast<float>(u(random));
  in.m = static_cast<std::int32_t>(random() % 12) - 3;
  floats(in.s, 2 * threads);
  for (int i = 0; i < kHalves; ++i) in.h.push_back(static_cast<float>(half(static_cast<float>(u(random)))));
  return in;
}

template <class To, class From>
Arrays<To> converted(const Arrays<From>& in) {
  Arrays<To> out;
  const auto floats = [](const std::vector<From>& from, std::vector<To>& to) {
    for (const From& v : from) to.push_back(static_cast<To>(v));
  };
  floats(in.x, out.x), floats(in.y, out.y), floats(in.z, out.z), floats(in.w, out.w), floats(in.g, out.g), floats(in.s, out.s),
      floats(in.h, out.h);
  out.p = in.p, out.q = in.q, out.a = static_cast<To>(in.a), out.m = in.m;
  return out;
}

template <class T>
Data packed_data(const std::vector<T>& v, LayoutId element = dtype_of<T>) {
  Data d;
  d.element = element;
  d.extent[0] = static_cast<std::int64_t>(v.size() * sizeof(T) / layout_of(element).size);
  d.resize();
  std::memcpy(d.bytes.data(), v.data(), d.bytes.size());
  return d;
}
template <class T>
Data scalar_data(T v) {
  Data d = packed_data(std::vector<T>{v});
  d.scalar = true;
  return d;
}
template <class T>
Data halves_data(const std::vector<T>& v) {
  std::vector<half> h;
  for (T x : v) h.emplace_back(static_cast<float>(x));
  return packed_data(h);
}
/// In the order of the parameters.
template <class T>
Arguments arguments(const Arrays<T>& in) {
  return {packed_data(in.x), packed_data(in.p), packed_data(in.y), packed_data(in.z),
          packed_data(in.q), packed_data(in.w), packed_data(in.g), packed_data(in.s, packed(dtype_of<T>, 2)),
          halves_data(in.h), scalar_data(in.a), scalar_data(in.m)};
}
/// What a kernel leaves behind, in the order in which run() gives it.
template <class T>
Arguments results(const Arrays<T>& out) {
  return {packed_data(out.y), packed_data(out.z), packed_data(out.q),
          packed_data(out.w), packed_data(out.g), packed_data(out.s, packed(dtype_of<T>, 2))};
}

}  // namespace fluxion::fuzz
