// The interpreter of a program's host part; what each op means is docs/ir.md's memory form.
#include <fmt/format.h>

#include <algorithm>

#include "fluxion/cancel.h"
#include "fluxion/memory_form.h"

namespace fluxion {
namespace {

constexpr std::int64_t kAlign = 64;  // records start on such addresses, as arrays do

struct Buffer {
  std::byte* data = nullptr;
  std::int64_t bytes = 0;   // of one array
  std::int64_t stride = 0;  // from one record to the next
  std::int64_t count = 0;   // records in use
  std::int64_t room = 0;    // records that fit; of one that is no stack: 1
  bool own = false;
};

class Interpreter {
 public:
  Interpreter(const Function& f, std::span<const EvalMemory> arrays, std::span<const std::uint64_t> scalars, ProgramMachine& machine)
      : f_(f), machine_(machine), bits_(f.values.size()), buffers_(f.memories.size()), scopes_(f.regions.size()) {
    for (std::size_t v = 0; v < f.values.size(); ++v) bits_[v] = f.values[v].bits;
    std::size_t array = 0, scalar = 0;
    for (const Parameter& p : f.parameters) {
      if (p.kind == Parameter::Kind::scalar) {
        bits_[p.value.index] = scalars[scalar++];
        continue;
      }
      if (array >= arrays.size() || arrays[array].extent != f[p.memory].shape)
        throw ShapeError(f.loc, fmt::format("program \"{}\": \"{}\" has another shape than it was compiled for", f.name, p.name));
      buffers_[p.memory.index].data = arrays[array++].data;
    }
    for (std::uint32_t m = 0; m < f.memories.size(); ++m) {
      const Memory& memory = f.memories[m];
      Buffer& b = buffers_[m];
      b.bytes = static_cast<std::int64_t>(layout_of(memory.element).size) * memory.shape[0] * memory.shape[1] * memory.shape[2];
      b.stride = std::max<std::int64_t>(kAlign, (b.bytes + kAlign - 1) / kAlign * kAlign);
      b.own = memory.space == Memory::Space::buffer;
      if (memory.records) scopes_[memory.scope.index].push_back(m);
      else if (b.own) grow(memory, b, 1), use(b.bytes);
      if (b.own && b.data) machine.fresh(b.data, static_cast<std::size_t>(b.bytes));
    }
    for (const Parameter& p : f.parameters)
      if (p.kind == Parameter::Kind::memory && p.role == Role::out)
        machine.fresh(buffers_[p.memory.index].data, static_cast<std::size_t>(buffers_[p.memory.index].bytes));
  }
  ~Interpreter() {
    for (Buffer& b : buffers_)
      if (b.own && b.data) machine_.free(b.data, static_cast<std::size_t>(b.room * b.stride));
  }
  Interpreter(const Interpreter&) = delete;
  void run() { region(f_.body); }
  std::int64_t most() const { return most_; }

 private:
  const Function& f_;
  ProgramMachine& machine_;
  std::vector<std::uint64_t> bits_;
  std::vector<Buffer> buffers_;
  std::vector<std::vector<std::uint32_t>> scopes_;  // by region: the stacks that its entry empties
  std::int64_t total_ = 0, most_ = 0;
  bool stop_ = false;

  std::uint64_t bits(ValueId v) const { return bits_[v.index]; }
  std::int32_t i32(ValueId v) const { return static_cast<std::int32_t>(bits(v)); }

  void grow(const Memory& m, Buffer& b, std::int64_t room) {
    if (room <= b.room) return;
    auto* data = static_cast<std::byte*>(machine_.allocate(static_cast<std::size_t>(room * b.stride)));
    if (!data)
      throw DeviceError(f_.loc, fmt::format("program \"{}\": {} MB for \"{}\" cannot be allocated, beside {} MB that its other arrays take",
                                            f_.name, room * b.stride >> 20, m.name, total_ >> 20));
    if (b.data) {
      if (b.count > 0) machine_.copy(data, b.data, static_cast<std::size_t>(b.count * b.stride));
      machine_.free(b.data, static_cast<std::size_t>(b.room * b.stride));
    }
    b.data = data;
    b.room = room;
  }
  /// `bytes` more, or less, are in use.
  void use(std::int64_t bytes) {
    total_ += bytes;
    most_ = std::max(most_, total_);
  }
  void region(RegionId r) {
    for (const std::uint32_t m : scopes_[r.index]) {
      use(-buffers_[m].count * buffers_[m].bytes);
      buffers_[m].count = 0;
    }
    for (OpId id : f_[r].ops) {
      if (stop_) return;
      if (cancelled()) throw Cancelled(f_[id].loc, fmt::format("program \"{}\" was cancelled here", f_.name));
      if (f_[id].code != Opcode::yield) op(f_[id]);
    }
  }
  std::byte* record(const Op& at, MemoryId m, std::size_t& operand) {
    const Buffer& b = buffers_[m.index];
    if (!f_[m].records) return b.data;
    const std::int32_t n = i32(at.operands[operand++]);
    if (n < 0 || n >= b.count) throw KernelError(at.loc, fmt::format("record {} of \"{}\", which has {}", n, f_[m].name, b.count));
    return b.data + n * b.stride;
  }
  std::byte* element(const Op& at, std::size_t& operand) {
    const Memory& m = f_[at.memory];
    std::byte* data = record(at, at.memory, operand);
    std::int64_t index = 0;
    for (int axis = 0; axis < m.rank; ++axis) {
      const std::int32_t k = i32(at.operands[operand++]);
      const std::int64_t n = m.shape[static_cast<std::size_t>(axis)];
      if (k < 0 || k >= n) throw KernelError(at.loc, fmt::format("index {} of \"{}\", which has {}", k, m.name, n));
      index = index * n + k;
    }
    const Layout& layout = layout_of(m.element);
    return data + index * layout.size + layout.leaves[at.leaf].offset;
  }
  void assign(const Values& to, const std::vector<std::uint64_t>& from, std::size_t first) {
    for (std::size_t k = 0; k < from.size(); ++k) bits_[to[first + k].index] = from[k];
  }
  std::vector<std::uint64_t> values(const Values& from, std::size_t first) const {
    std::vector<std::uint64_t> out;
    for (std::size_t k = first; k < from.size(); ++k) out.push_back(bits(from[k]));
    return out;
  }

  void op(const Op& op);
  void loop_for(const Op& op);
  void loop_while(const Op& op);
  void launch(const Op& op);
};

void Interpreter::op(const Op& op) {
  std::size_t operand = 0;
  switch (op.code) {
    case Opcode::if_: {
      const RegionId arm = op.regions[bits(op.operands[0]) ? 0 : 1];
      region(arm);
      if (!stop_) assign(op.results, values(f_.terminator(arm).operands, 0), 0);
      return;
    }
    case Opcode::for_: return loop_for(op);
    case Opcode::while_: return loop_while(op);
    case Opcode::call: return assign(op.results, evaluate_fn(*f_.callees[op.ref], values(op.operands, 0), op.loc), 0);
    case Opcode::load: {
      const std::byte* from = element(op, operand);
      std::uint64_t& to = bits_[op.results[0].index] = 0;
      return machine_.read(&to, from, static_cast<std::size_t>(size_of(f_.type(op.results[0]).dtype())));
    }
    case Opcode::store: {
      std::byte* to = element(op, operand);
      return machine_.write(to, &bits_[op.operands.back().index], static_cast<std::size_t>(size_of(f_.type(op.operands.back()).dtype())));
    }
    case Opcode::buffer_alloc: {
      Buffer& b = buffers_[op.buffers[0].index];
      const std::int64_t n = i32(op.operands[0]);
      bits_[op.results[0].index] = static_cast<std::uint64_t>(b.count);
      if (b.count + n > b.room) grow(f_[op.buffers[0]], b, std::max(b.count + n, 2 * b.room));
      if (n > 0) machine_.fresh(b.data + b.count * b.stride, static_cast<std::size_t>(n * b.stride));
      b.count += n;
      return use(n * b.bytes);
    }
    case Opcode::buffer_copy: {
      std::byte* to = record(op, op.buffers[0], operand);
      const std::byte* from = record(op, op.buffers[1], operand);
      const auto n = static_cast<std::size_t>(buffers_[op.buffers[0].index].bytes);
      if (n > 0) machine_.copy(to, from, n);
      return;
    }
    case Opcode::buffer_zero: {
      const Buffer& b = buffers_[op.buffers[0].index];
      const bool records = f_[op.buffers[0]].records;
      const std::int64_t n = records ? i32(op.operands[1]) : 1;
      if (n > 0 && b.bytes > 0)
        machine_.zero(record(op, op.buffers[0], operand), static_cast<std::size_t>(records ? n * b.stride : b.bytes));
      return;
    }
    case Opcode::run: return launch(op);
    case Opcode::print:
    case Opcode::check: {
      const std::size_t first = op.code == Opcode::check;
      if (first && bits(op.operands[0])) return;
      std::vector<DType> types;
      for (std::size_t k = first; k < op.operands.size(); ++k) types.push_back(f_.type(op.operands[k]).dtype());
      const std::string text = format_text(f_.texts[op.ref], types, values(op.operands, first));
      if (first) throw KernelError(op.loc, text);
      return machine_.print(text);
    }
    default: {
      if (!is_elementwise(op.code) && op.code != Opcode::convert && op.code != Opcode::bitcast)
        throw Bug(op.loc, fmt::format("{} in memory form", name_of(op.code)));
      const DType type = f_.type(op.operands[op.code == Opcode::select ? 1 : 0]).dtype();
      bits_[op.results[0].index] = evaluate_op(op.code, f_.type(op.results[0]).dtype(), type, values(op.operands, 0));
    }
  }
}

void Interpreter::loop_for(const Op& op) {
  const Values& arguments = f_[op.regions[0]].arguments;
  std::vector<std::uint64_t> carry = values(op.operands, 2);
  const std::int64_t lo = i32(op.operands[0]), hi = i32(op.operands[1]);
  for (std::int64_t t = 0; t < hi - lo && !stop_; ++t) {
    bits_[arguments[0].index] = static_cast<std::uint32_t>(op.down ? hi - 1 - t : lo + t);
    assign(arguments, carry, 1);
    region(op.regions[0]);
    carry = values(f_.terminator(op.regions[0]).operands, 0);
  }
  assign(op.results, carry, 0);
}

void Interpreter::loop_while(const Op& op) {
  std::vector<std::uint64_t> carry = values(op.operands, 0);
  for (std::uint32_t trips = 0; !stop_; ++trips) {
    assign(f_[op.regions[0]].arguments, carry, 0);
    region(op.regions[0]);
    const Values& test = f_.terminator(op.regions[0]).operands;
    carry = values(test, 1);
    if (!bits(test[0])) {
      assign(op.results, carry, 0);
      bits_[op.results.back().index] = trips;
      return;
    }
    assign(f_[op.regions[1]].arguments, carry, 0);
    region(op.regions[1]);
    carry = values(f_.terminator(op.regions[1]).operands, 0);
  }
}

void Interpreter::launch(const Op& op) {
  const Function& k = *f_.callees[op.ref];
  std::array<std::int64_t, 3> domain{1, 1, 1};
  std::size_t operand = 0, buffer = 0;
  for (; operand < static_cast<std::size_t>(k.domain_rank); ++operand) domain[operand] = i32(op.operands[operand]);
  std::vector<EvalMemory> arrays;
  std::vector<std::uint64_t> scalars;
  for (const Parameter& p : k.parameters) {
    if (p.kind == Parameter::Kind::scalar) {
      scalars.push_back(bits(op.operands[operand++]));
      continue;
    }
    const MemoryId m = op.buffers[buffer++];
    std::byte* data = record(op, m, operand);
    arrays.push_back({data, f_[m].shape});
  }
  stop_ = !machine_.launch(op.ref, domain, arrays, scalars);
}

}  // namespace

std::int64_t run_memory_form(const Function& f, std::span<const EvalMemory> arrays, std::span<const std::uint64_t> scalars,
                             ProgramMachine& machine) {
  Interpreter i(f, arrays, scalars, machine);
  i.run();
  return i.most();
}

}  // namespace fluxion
