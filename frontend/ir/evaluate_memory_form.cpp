// The evaluator for programs in memory form: what the buffer plan is checked with, and what the reference
// backend runs. Memory that nobody has written holds a pattern that reads as NaN, so that a plan which uses a
// buffer too early or too late shows.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "fluxion/error.h"
#include "fluxion/evaluate.h"

namespace fluxion {
namespace {

constexpr std::byte kUnwritten{0xff};

struct Buffer {
  std::vector<std::byte> own;
  std::byte* data = nullptr;
  std::int64_t bytes = 0;  // of one array
  std::int64_t count = 0;  // records in use
};

class Evaluator {
 public:
  Evaluator(const Function& f, std::span<const EvalMemory> arrays, std::span<const std::uint64_t> scalars, const EvalOptions& options)
      : f_(f), options_(options), bits_(f.values.size()), buffers_(f.memories.size()), scopes_(f.regions.size()) {
    for (std::size_t v = 0; v < f.values.size(); ++v) bits_[v] = f.values[v].bits;
    for (std::uint32_t m = 0; m < f.memories.size(); ++m) {
      const Memory& memory = f.memories[m];
      Buffer& b = buffers_[m];
      b.bytes = layout_of(memory.element).size * memory.shape[0] * memory.shape[1] * memory.shape[2];
      if (memory.records) scopes_[memory.scope.index].push_back(m);
      if (memory.records || memory.space == Memory::Space::parameter) continue;
      b.own.assign(static_cast<std::size_t>(b.bytes), kUnwritten);
      b.data = b.own.data();
    }
    std::size_t array = 0, scalar = 0;
    for (const Parameter& p : f.parameters) {
      if (p.kind == Parameter::Kind::scalar) {
        bits_[p.value.index] = scalars[scalar++];
        continue;
      }
      const EvalMemory& given = arrays[array++];
      if (given.extent != f[p.memory].shape)
        throw ShapeError(f.loc, fmt::format("program \"{}\": \"{}\" was planned for another shape", f.name, p.name));
      buffers_[p.memory.index].data = given.data;
      if (p.role == Role::out)
        std::memset(given.data, static_cast<int>(kUnwritten), static_cast<std::size_t>(buffers_[p.memory.index].bytes));
    }
  }
  void run() { region(f_.body); }

 private:
  std::uint64_t bits(ValueId v) const { return bits_[v.index]; }
  std::int32_t i32(ValueId v) const { return static_cast<std::int32_t>(bits(v)); }

  void region(RegionId r) {
    for (std::uint32_t m : scopes_[r.index]) buffers_[m].count = 0;
    for (OpId id : f_[r].ops)
      if (f_[id].code != Opcode::yield) op(f_[id]);
  }
  std::byte* record(const Op& at, MemoryId m, std::size_t& operand) {
    Buffer& b = buffers_[m.index];
    if (!f_[m].records) return b.data;
    const std::int32_t n = i32(at.operands[operand++]);
    if (n < 0 || n >= b.count) throw KernelError(at.loc, fmt::format("record {} of \"{}\", which has {}", n, f_[m].name, b.count));
    return b.own.data() + n * b.bytes;
  }
  std::byte* element(const Op& at, std::size_t& operand) {
    const Memory& m = f_[at.memory];
    std::byte* data = record(at, at.memory, operand);
    std::int64_t index = 0;
    for (int axis = 0; axis < m.rank; ++axis) {
      const std::int32_t k = i32(at.operands[operand++]);
      if (k < 0 || k >= m.shape[axis]) throw KernelError(at.loc, fmt::format("index {} of \"{}\", which has {}", k, m.name, m.shape[axis]));
      index = index * m.shape[axis] + k;
    }
    const Layout& layout = layout_of(m.element);
    return data + index * layout.size + layout.leaves[at.leaf].offset;
  }
  void assign(const Values& to, const std::vector<std::uint64_t>& from, std::size_t first) {
    for (std::size_t k = 0; k < from.size(); ++k) bits_[to[first + k].index] = from[k];
  }
  std::vector<std::uint64_t> read(const Values& from, std::size_t first) const {
    std::vector<std::uint64_t> out;
    for (std::size_t k = first; k < from.size(); ++k) out.push_back(bits(from[k]));
    return out;
  }

  void op(const Op& op);
  void run_kernel(const Op& op);

  const Function& f_;
  const EvalOptions& options_;
  std::vector<std::uint64_t> bits_;
  std::vector<Buffer> buffers_;
  std::vector<std::vector<std::uint32_t>> scopes_;  // by region: the stacks that its entry empties
};

void Evaluator::op(const Op& op) {
  std::size_t operand = 0;
  switch (op.code) {
    case Opcode::if_:
      region(op.regions[bits(op.operands[0]) ? 0 : 1]);
      assign(op.results, read(f_.terminator(op.regions[bits(op.operands[0]) ? 0 : 1]).operands, 0), 0);
      return;
    case Opcode::for_: {
      const Values& arguments = f_[op.regions[0]].arguments;
      std::vector<std::uint64_t> carry = read(op.operands, 2);
      const std::int64_t lo = i32(op.operands[0]), hi = i32(op.operands[1]);
      for (std::int64_t t = 0; t < hi - lo; ++t) {
        bits_[arguments[0].index] = static_cast<std::uint32_t>(op.down ? hi - 1 - t : lo + t);
        assign(arguments, carry, 1);
        region(op.regions[0]);
        carry = read(f_.terminator(op.regions[0]).operands, 0);
      }
      assign(op.results, carry, 0);
      return;
    }
    case Opcode::while_: {
      std::vector<std::uint64_t> carry = read(op.operands, 0);
      for (std::uint32_t trips = 0;; ++trips) {
        assign(f_[op.regions[0]].arguments, carry, 0);
        region(op.regions[0]);
        const Values& test = f_.terminator(op.regions[0]).operands;
        carry = read(test, 1);
        if (!bits(test[0])) {
          assign(op.results, carry, 0);
          bits_[op.results.back().index] = trips;
          return;
        }
        assign(f_[op.regions[1]].arguments, carry, 0);
        region(op.regions[1]);
        carry = read(f_.terminator(op.regions[1]).operands, 0);
      }
    }
    case Opcode::call: return assign(op.results, evaluate_fn(*f_.callees[op.ref], read(op.operands, 0), op.loc), 0);
    case Opcode::load: {
      const std::byte* from = element(op, operand);
      std::uint64_t& to = bits_[op.results[0].index] = 0;
      std::memcpy(&to, from, static_cast<std::size_t>(size_of(f_.type(op.results[0]).dtype())));
      return;
    }
    case Opcode::store: {
      std::byte* to = element(op, operand);
      std::memcpy(to, &bits_[op.operands.back().index], static_cast<std::size_t>(size_of(f_.type(op.operands.back()).dtype())));
      return;
    }
    case Opcode::buffer_alloc: {
      Buffer& b = buffers_[op.buffers[0].index];
      bits_[op.results[0].index] = static_cast<std::uint64_t>(b.count);
      b.own.resize(static_cast<std::size_t>((b.count + i32(op.operands[0])) * b.bytes));
      std::memset(b.own.data() + b.count * b.bytes, static_cast<int>(kUnwritten), static_cast<std::size_t>(i32(op.operands[0]) * b.bytes));
      b.count += i32(op.operands[0]);
      return;
    }
    case Opcode::buffer_copy: {
      std::byte* to = record(op, op.buffers[0], operand);
      const std::byte* from = record(op, op.buffers[1], operand);
      std::memmove(to, from, static_cast<std::size_t>(buffers_[op.buffers[0].index].bytes));
      return;
    }
    case Opcode::buffer_zero: {
      const Buffer& b = buffers_[op.buffers[0].index];
      const std::int64_t n = f_[op.buffers[0]].records ? i32(op.operands[1]) : 1;
      if (n > 0) std::memset(record(op, op.buffers[0], operand), 0, static_cast<std::size_t>(n * b.bytes));
      return;
    }
    case Opcode::run: return run_kernel(op);
    case Opcode::print:
    case Opcode::check: {
      const std::size_t first = op.code == Opcode::check;
      if (first && bits(op.operands[0])) return;
      std::vector<DType> types;
      for (std::size_t k = first; k < op.operands.size(); ++k) types.push_back(f_.type(op.operands[k]).dtype());
      const std::string text = format_text(f_.texts[op.ref], types, read(op.operands, first));
      if (first) throw KernelError(op.loc, text);
      if (options_.print) options_.print(text);
      return;
    }
    default: {
      if (!is_elementwise(op.code) && op.code != Opcode::convert && op.code != Opcode::bitcast)
        throw Bug(op.loc, fmt::format("{} in memory form", name_of(op.code)));
      const DType type = f_.type(op.operands[op.code == Opcode::select ? 1 : 0]).dtype();
      bits_[op.results[0].index] = evaluate_op(op.code, f_.type(op.results[0]).dtype(), type, read(op.operands, 0));
    }
  }
}

void Evaluator::run_kernel(const Op& op) {
  const Function& k = *f_.callees[op.ref];
  std::array<std::int64_t, 3> domain{1, 1, 1};
  std::size_t operand = 0, buffer = 0;
  for (; operand < static_cast<std::size_t>(k.domain_rank); ++operand) domain[operand] = i32(op.operands[operand]);
  std::vector<EvalMemory> memories;
  std::vector<std::uint64_t> scalars;
  for (const Parameter& p : k.parameters) {
    if (p.kind == Parameter::Kind::scalar) {
      scalars.push_back(bits(op.operands[operand++]));
    } else {
      const MemoryId m = op.buffers[buffer++];
      std::byte* data = record(op, m, operand);
      memories.push_back({data, f_[m].shape});
    }
  }
  evaluate_kernel(k, domain, memories, scalars, options_);
}

}  // namespace

void evaluate_memory_form(const Function& f, std::span<const EvalMemory> arrays, std::span<const std::uint64_t> scalars,
                          const EvalOptions& options) {
  Evaluator(f, arrays, scalars, options).run();
}

}  // namespace fluxion
