// Every row of the op table, and every conversion, through the CPU backend against the evaluator.
#include "run_kernel.h"

using namespace fluxion;
using namespace fluxion::testing;

namespace {

std::vector<std::uint64_t> interesting(DType t) {
  std::vector<std::uint64_t> out;
  if (t == DType::f32 || t == DType::f64) {
    const double inf = std::numeric_limits<double>::infinity(), max = t == DType::f32 ? FLT_MAX : DBL_MAX,
                 min = t == DType::f32 ? FLT_MIN : DBL_MIN;
    for (double v : {0.0,   -0.0,     1.0,          -1.0, 0.5,  -0.5,         1.5,
                     2.5,   -2.5,     3.0,          0.1,  -0.3, 7.25,         100.0,
                     -33.3, 1e5,      2147483648.0, -3e9, 1e15, 8388609.0,    -4503599627370497.0,
                     inf,   -inf,     std::nan(""), max,  -max, min * 0x1p30, 1e-20,
                     1e20,  0.999999, 1.000001,     88.0, -87.0})
      out.push_back(t == DType::f32 ? std::bit_cast<std::uint32_t>(static_cast<float>(v)) : std::bit_cast<std::uint64_t>(v));
  } else if (is_bool(t)) {
    out = {0, 1};
  } else if (is_half(t)) {
    // Numbers below FLT_MIN may be flushed, so bf16 has none here.
    for (std::uint32_t k = 0; k < 65536; k += 37)
      if (t == DType::f16 || (k & 0x7f80) != 0 || (k & 0x7f) == 0) out.push_back(k);
  } else {
    const int bits = size_of(t) * 8;
    const std::uint64_t mask = bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
    for (std::uint64_t v : {0ull, 1ull, 2ull, 3ull, 5ull, 7ull, 31ull, 33ull, 100ull, 0x12345678ull, 0xdeadbeefcafe1234ull, ~0ull,
                            ~0ull - 1, ~0ull - 6, 0x8000000000000000ull >> (64 - bits), 0x7fffffffffffffffull >> (64 - bits), 1000003ull})
      out.push_back(v & mask);
  }
  return out;
}

void put(Data& d, std::size_t i, std::uint64_t bits) {
  const auto size = static_cast<std::size_t>(size_of(d.element.scalar()));
  std::memcpy(d.bytes.data() + i * size, &bits, size);
}

/// Three arrays with every pair of interesting values, and a third beside them.
std::vector<Data> operands(DType t) {
  const auto values = interesting(t);
  const std::size_t n = values.size() * values.size();
  std::vector<Data> data(3, Data(t, {static_cast<std::int64_t>(n)}));
  for (std::size_t i = 0; i < n; ++i) {
    put(data[0], i, values[i % values.size()]);
    put(data[1], i, values[i / values.size()]);
    put(data[2], i, values[(i * 7 + 3) % values.size()]);
  }
  return data;
}

double bound_of(Opcode op) { return info(op).flags & flag::exact || op == Opcode::select ? 0 : op == Opcode::rsqrt ? 1.5 : 4; }

}  // namespace

TEST_CASE("every elementwise op of every type agrees with the evaluator", "[backends][cpu]") {
  for (int type = 0; type < kDTypeCount; ++type) {
    const auto t = static_cast<DType>(type);
    if (is_half(t)) continue;
    std::vector<Data> data = operands(t);
    const std::int64_t n = data[0].count();
    std::vector<Opcode> ops;
    Function f = kernel(std::string("ops_") + name_of(t));
    Builder b(f);
    std::vector<MemoryId> in;
    for (const char* name : {"a", "b", "c"}) in.push_back(b.memory_parameter(t, 1, Role::in, name));
    const ValueId i[] = {b.index(0)};
    std::vector<ValueId> x;
    for (MemoryId m : in) x.push_back(b.load(m, i));
    for (Opcode op : elementwise_ops()) {
      if (op == Opcode::select || !accepts(info(op).operands, t)) continue;
      const DType r = info(op).flags & flag::predicate ? DType::boolean : t;
      ops.push_back(op);
      data.emplace_back(r, std::initializer_list<std::int64_t>{n});
      b.store(b.memory_parameter(r, 1, Role::out, name_of(op)), i, b.emit(op, std::span(x.data(), info(op).arity)));
    }
    b.finish();
    verify(f);
    const auto expected = evaluated(f, {n, 1, 1}, data, {});
    const auto compare = [&](const std::vector<Data>& mine, const std::string& where) {
      for (std::size_t k = 0; k < ops.size(); ++k) {
        INFO(name_of(ops[k]) << " of " << name_of(t) << ", " << where);
        const double worst = difference(expected[3 + k], mine[3 + k]);
        if (worst > bound_of(ops[k])) {
          for (std::int64_t e = 0; e < n; ++e) {  // say where
            Data one(expected[3 + k].element, {1}), two = one;
            const std::size_t size = one.bytes.size();
            std::memcpy(one.bytes.data(), &expected[3 + k].bytes[static_cast<std::size_t>(e) * size], size);
            std::memcpy(two.bytes.data(), &mine[3 + k].bytes[static_cast<std::size_t>(e) * size], size);
            if (difference(one, two) <= bound_of(ops[k])) continue;
            std::uint64_t bits[4] = {};
            for (int z = 0; z < 3; ++z) std::memcpy(&bits[z], &data[z].bytes[static_cast<std::size_t>(e) * size_of(t)], size_of(t));
            std::uint64_t want = 0, got = 0;
            std::memcpy(&want, one.bytes.data(), size);
            std::memcpy(&got, two.bytes.data(), size);
            const DType r = one.element.scalar();
            UNSCOPED_INFO("(" << format_value(t, bits[0]) << ", " << format_value(t, bits[1]) << ", " << format_value(t, bits[2]) << ") -> "
                              << format_value(r, got) << ", not " << format_value(r, want));
            break;
          }
        }
        CHECK(worst <= bound_of(ops[k]));
      }
    };
    for (const Variant& v : variants()) {
      std::vector<Data> mine = data;
      run(*cpu_backend()->compile(f, {.width = v.width, .features = v.features}), {n, 1, 1}, mine, {});
      compare(mine, "width " + std::to_string(v.width) + ", features " + v.features);
    }
    for (const auto& device : devices()) {
      std::vector<Data> mine = data;
      run(*device, *device->compile(f, {}), {n, 1, 1}, mine, {});
      compare(mine, device->name());
    }
  }
}

TEST_CASE("every conversion agrees with the evaluator", "[backends][cpu]") {
  for (int from = 0; from < kDTypeCount; ++from) {
    const auto t = static_cast<DType>(from);
    const auto values = interesting(t);
    const auto n = static_cast<std::int64_t>(values.size());
    std::vector<Data> data = {Data(t, {n})};
    for (std::size_t i = 0; i < values.size(); ++i) put(data[0], i, values[i]);
    Function f = kernel(std::string("from_") + name_of(t));
    Builder b(f);
    const MemoryId in = b.memory_parameter(t, 1, Role::in, "x");
    const ValueId i[] = {b.index(0)};
    const ValueId x = b.load(in, i);
    for (int to = 0; to < kDTypeCount; ++to) {
      const auto r = static_cast<DType>(to);
      data.emplace_back(r, std::initializer_list<std::int64_t>{n});
      b.store(b.memory_parameter(r, 1, Role::out, name_of(r)), i, b.convert(x, r));
    }
    b.finish();
    agrees(f, {{n, 1, 1}}, data);
  }
}

TEST_CASE("converted integers compare with constants as they are", "[backends][cpu]") {
  for (const DType from : {DType::i8, DType::i16, DType::i32, DType::u8, DType::u16, DType::u32})
    for (const DType to : {DType::i32, DType::i64, DType::u64}) {
      if (size_of(to) <= size_of(from)) continue;
      Function f = kernel(std::string("compared_") + name_of(from) + "_" + name_of(to));
      Builder b(f);
      const MemoryId x = b.memory_parameter(from, 1, Role::in, "x"), y = b.memory_parameter(DType::boolean, 2, Role::out, "y");
      const ValueId at[] = {b.index(0)};
      const ValueId v = b.convert(b.load(x, at), to);
      int column = 0;
      for (const std::int64_t k : {0, -1, 100})
        for (const Opcode op : {Opcode::lt, Opcode::le, Opcode::gt, Opcode::ge, Opcode::eq, Opcode::ne})
          for (const bool swapped : {false, true}) {
            const ValueId c = b.constant_int(to, k), place[] = {at[0], b.i32(column++)};
            b.store(y, place, swapped ? b.emit(op, {c, v}) : b.emit(op, {v, c}));
          }
      b.finish();
      const auto values = interesting(from);
      const auto n = static_cast<std::int64_t>(values.size());
      std::vector<Data> data = {Data(from, {n}), Data(DType::boolean, {n, column})};
      for (std::size_t k = 0; k < values.size(); ++k) put(data[0], k, values[k]);
      agrees(f, {{n, 1, 1}}, data, {}, 0, {{16, ""}});
    }
}

TEST_CASE("uniform operands are computed once and mean the same", "[backends][cpu]") {
  for (const DType t : {DType::i32, DType::u8, DType::i64, DType::f32, DType::f64}) {
    Function f = kernel("uniform");
    Builder b(f);
    const ValueId s = b.scalar_parameter(t, "s"), r = b.scalar_parameter(t, "r");
    const MemoryId x = b.memory_parameter(t, 1, Role::in, "x"), y = b.memory_parameter(t, 1, Role::out, "y");
    const ValueId i[] = {b.index(0)};
    const ValueId q = b.emit(Opcode::div, {s, r}), m = b.emit(Opcode::rem, {s, r});
    ValueId v = b.add(b.mul(b.load(x, i), q), m);
    v = b.select(b.emit(Opcode::lt, {s, r}), v, b.emit(Opcode::div, {v, b.constant_int(t, 3)}));
    b.store(y, i, v);
    b.finish();
    std::vector<Data> data = {Data(t, {37}).fill(), Data(t, {37})};
    const auto bits = [&](int v) {
      Function g;
      const ValueId id = Builder(g).constant_int(t, v);
      return g[id].bits;
    };
    for (int d : {0, 3, -1}) agrees(f, {{37, 1, 1}}, data, {bits(100), bits(d)}, is_float(t) ? 1 : 0);
  }
}
