// The tracer. Every array that a program touches is a slot of the recorder, so a launch reads and sets slots,
// and what loops and branches carry follows from mem2reg as it does for scalars. An array that has memory
// becomes a parameter the first time it is met.
#include "program_trace.h"

#include <fmt/format.h>

#include <array>

#include "fluxion/builder.h"
#include "fluxion/error.h"

namespace fluxion::detail {
namespace {

// An array of one element that holds a scalar.
std::shared_ptr<const Function> one_element(DType t) {
  Function f;
  f.kind = Function::Kind::kernel;
  f.name = "scalar";
  f.domain_rank = 1;
  Builder b(f);
  const ValueId v = b.scalar_parameter(t, "v");
  const MemoryId m = b.memory_parameter(t, 1, Role::out, "result");
  const ValueId at = b.index(0);
  b.store(m, {&at, 1}, v);
  b.finish();
  return std::make_shared<const Function>(std::move(f));
}

class ProgramTracer final : public Tracer {
 public:
  ProgramTracer(Recording& recording, std::string name, Device device)
      : recording_(recording), name_(std::move(name)), device_(std::move(device)), epoch_(current_epoch()), outer_(tracer()) {
    tracer() = this;
  }
  ~ProgramTracer() override { tracer() = outer_; }

  std::shared_ptr<ArrayState> parameter(LayoutId element, int rank, std::array<std::int64_t, 3> extent, std::uint32_t value, Loc at) {
    auto a = std::make_shared<ArrayState>();
    a->element = element;
    a->rank = rank;
    a->extent = extent;
    a->device = device_;
    bind(*a, declare_as(value, at));
    return a;
  }

  /// The slot of an array.
  Handle slot(ArrayState& a, Loc at) {
    if (!a.storage) {
      if (a.trace != epoch_) throw KernelError(at, fmt::format("program \"{}\" uses an array that belongs to another capture", name_));
      return {a.value, epoch_};
    }
    for (std::size_t k = 0; k < captured.size(); ++k)
      if (captured[k].get() == &a || captured[k]->storage == a.storage) return slots_[k];
    if (!device_) device_ = a.device;
    same_device(a, at);
    captured.push_back(a.shared_from_this());
    slots_.push_back(recording_.captured_parameter(array_type(a), Role::inout, fmt::format("c{}", captured.size() - 1), at));
    return slots_.back();
  }

  void launch(const std::shared_ptr<const Function>& kernel, std::array<std::int64_t, 3> domain, std::span<const Argument> arguments,
              Loc at) override {
    std::vector<std::uint32_t> extents, operands;
    for (int axis = 0; axis < kernel->domain_rank; ++axis)
      extents.push_back(constant(DType::i32, static_cast<std::uint64_t>(domain[static_cast<std::size_t>(axis)]), at));
    const std::vector<std::uint32_t> works = run_before(*kernel, extents, arguments, at);
    std::vector<Type> outs;
    std::vector<Handle> targets;  // of each result; scratch has none, or the array that it is added to
    std::vector<char> added;
    for (std::size_t p = 0; p < kernel->parameters.size(); ++p) {
      const Parameter& parameter = kernel->parameters[p];
      if (parameter.kind == Parameter::Kind::scalar) {
        const Argument& a = arguments[p];
        operands.push_back(a.traced != ~0u ? a.traced : constant(kernel->type(parameter.value).dtype(), a.bits, at));
        continue;
      }
      const Memory& m = (*kernel)[parameter.memory];
      if (m.work >= 0) {
        operands.push_back(works[static_cast<std::size_t>(m.work)]);
        continue;
      }
      ArrayState& a = *arguments[m.scratch ? static_cast<std::size_t>(m.like) : p].array;
      const Handle h = slot(a, at);
      if (parameter.role != Role::out) operands.push_back(m.zeros ? zeros_of(a, m.element, at) : read(h, at));
      if (parameter.role == Role::in) continue;
      if (parameter.role == Role::out) {
        outs.push_back(array_type(a));
        outs.back().element = m.element;
      }
      const Handle into = m.into >= 0 ? slot(*arguments[static_cast<std::size_t>(m.into)].array, at) : Handle{};
      targets.push_back(m.scratch ? into : h);
      added.push_back(m.scratch);
    }
    const auto results = record_launch(kernel, extents, operands, outs, at);
    for (std::size_t k = 0; k < results.size(); ++k)
      if (targets[k].epoch && !added[k]) assign(targets[k], results[k], at);
    for (std::size_t k = 0; k < results.size(); ++k)
      if (targets[k].epoch && added[k]) assign(targets[k], apply(Opcode::add, read(targets[k], at), results[k], at), at);
  }

  /// What runs before a kernel (Before in ir.h); gives the work arrays.
  std::vector<std::uint32_t> run_before(const Function& kernel, const std::vector<std::uint32_t>& domain,
                                        std::span<const Argument> arguments, Loc at) {
    std::vector<std::uint32_t> works;
    for (const Before::Array& a : kernel.before.arrays)
      works.push_back(zeros_of(*arguments[static_cast<std::size_t>(a.like)].array, a.element, at));
    for (const Before::Stage& s : kernel.before.stages) {
      std::vector<std::uint32_t> operands;
      for (std::size_t p = 0; p < s.arguments.size(); ++p) {
        const int k = s.arguments[p];
        const Parameter& q = s.kernel->parameters[p];
        if (k < 0) operands.push_back(works[static_cast<std::size_t>(-1 - k)]);
        else if (const Argument& a = arguments[static_cast<std::size_t>(k)]; a.array) operands.push_back(read(slot(*a.array, at), at));
        else operands.push_back(a.traced != ~0u ? a.traced : constant(s.kernel->type(q.value).dtype(), a.bits, at));
      }
      const auto results = record_launch(s.kernel, domain, operands, {}, at);
      std::size_t next = 0;
      for (std::size_t p = 0; p < s.arguments.size(); ++p)
        if (s.kernel->parameters[p].kind == Parameter::Kind::memory && s.kernel->parameters[p].role != Role::in)
          works[static_cast<std::size_t>(-1 - s.arguments[p])] = results[next++];
    }
    return works;
  }

  std::uint32_t zeros_of(const ArrayState& like, LayoutId element, Loc at) {
    Type t = array_type(like);
    t.element = element;
    return zeros_of(t, at);
  }
  static std::uint32_t zeros_of(const Type& t, Loc at) {
    Op op;
    op.code = Opcode::zeros;
    return record_op(std::move(op), {&t, 1}, at)[0];
  }

  void create(ArrayState& a, Array::Fill fill, Loc at) override {
    if (!device_) device_ = a.device;
    same_device(a, at);
    const Type t = array_type(a);
    if (fill == Array::Fill::none) return bind(a, new_slot(t, at));
    Op op;
    op.code = Opcode::zeros;
    bind(a, declare_as(record_op(std::move(op), {&t, 1}, at)[0], at));
  }

  std::uint32_t item(const ArrayState& array, std::uint32_t index, Loc at) override {
    if (const auto& f = recorded(); f.is_constant({index}))
      if (const auto i = static_cast<std::int32_t>(f[ValueId{index}].bits); i < 0 || i >= array.extent[0])
        throw ShapeError(at, fmt::format("program \"{}\": item {} of an array of {}", name_, i, array.extent[0]));
    Op op;
    op.code = Opcode::seq_get;
    op.operands = {ValueId{read(slot(const_cast<ArrayState&>(array), at), at)}, ValueId{index}};
    const Type t = array.element.scalar();
    return record_op(std::move(op), {&t, 1}, at)[0];
  }
  std::vector<std::shared_ptr<ArrayState>> embed(const std::shared_ptr<const Function>& program, std::span<const Argument> arguments,
                                                 bool call, Loc at) override {
    const Function& f = *program;
    std::vector<std::uint32_t> values;
    for (std::size_t p = 0; p < f.parameters.size(); ++p) {
      const Type& t = f.type(f.parameters[p].value);
      if (t.is_scalar()) {
        values.push_back(arguments[p].traced != ~0u ? arguments[p].traced : constant(t.dtype(), arguments[p].bits, at));
      } else if (!arguments[p].array) {
        values.push_back(zeros_of(t, at));
      } else {
        if (array_type(*arguments[p].array) != t)
          throw ShapeError(at, fmt::format("program \"{}\": an argument is {}, expected {}", f.name,
                                           to_string(array_type(*arguments[p].array)), to_string(t)));
        values.push_back(read(slot(*arguments[p].array, at), at));
      }
    }
    const auto yields = call ? record_program_call(program, values, at) : inline_program(f, values, at);
    std::size_t next = 0;
    for (std::size_t p = 0; p < f.parameters.size(); ++p)
      if (f.parameters[p].kind == Parameter::Kind::array && f.parameters[p].role != Role::in) {
        if (!arguments[p].array) throw Bug(at, fmt::format("program \"{}\" writes an array that nobody passed", f.name));
        assign(slot(*arguments[p].array, at), yields[next++], at);
      }
    std::vector<std::shared_ptr<ArrayState>> results;
    for (; next < yields.size(); ++next)
      results.push_back(recorded().type({yields[next]}).is_scalar() ? hold(yields[next], at) : array_of(yields[next], at));
    return results;
  }
  std::shared_ptr<ArrayState> hold(std::uint32_t scalar, Loc at) override {
    const std::int64_t one[] = {1};
    const Type t = Type::array(recorded().type({scalar}).element, one);
    return array_of(record_launch(one_element(t.dtype()), std::array{constant(DType::i32, 1, at)}, std::array{scalar}, {&t, 1}, at)[0], at);
  }
  std::shared_ptr<ArrayState> array_of(std::uint32_t value, Loc at) {
    const Type t = recorded().type({value});
    auto a = std::make_shared<ArrayState>();
    a->element = t.element;
    a->rank = t.rank;
    for (int axis = 0; axis < t.rank; ++axis) a->extent[static_cast<std::size_t>(axis)] = t.shape[static_cast<std::size_t>(axis)];
    a->device = device_;
    bind(*a, declare_as(value, at));
    return a;
  }

  void copy(ArrayState& to, const ArrayState& from, Loc at) override {
    const std::uint32_t value = read(slot(const_cast<ArrayState&>(from), at), at);
    assign(slot(to, at), value, at);
  }

  void swap(ArrayState& a, ArrayState& b, Loc at) override {
    const Handle x = slot(a, at), y = slot(b, at);
    const std::uint32_t old = read(x, at), other = read(y, at);
    assign(x, other, at);
    assign(y, old, at);
  }

  bool rebind(const std::shared_ptr<ArrayState>& to, const std::shared_ptr<ArrayState>& from, bool temporary) override {
    if (to == from) return false;
    const std::uint32_t here = mark().region;
    if (to && !to->storage && to->trace == epoch_ && region_of_[to->value] == here) return false;
    if (to && to->storage)
      throw KernelError(recorded().loc, fmt::format("program \"{}\" assigns another array to a handle of an array outside of it; "
                                                    "write into the array: a.copy_from(b), a *= 2",
                                                    name_));
    if (here == recorded().body.index) return false;  // runs once: the handle is what C++ says
    if (!to && from && !from->storage && from->trace == epoch_ && region_of_[from->value] == here) return false;
    if (to && temporary && to.use_count() == 1) {
      copy(*to, *from, recorded().loc);
      return true;
    }
    throw KernelError(recorded().loc,
                      fmt::format("program \"{}\" assigns one buffer to another inside a loop or branch, which would happen once, "
                                  "at capture; write fx::swap(a, b) or a.copy_from(b)",
                                  name_));
  }

  void host_read(Loc at) override {
    throw KernelError(at, fmt::format("program \"{}\" reads an array on the host, but a program is captured before it runs; "
                                      "return the array and read what the call gives",
                                      name_));
  }
  void host_write(Loc at) override {
    throw KernelError(at,
                      fmt::format("program \"{}\" sets an array from the host, which would happen once, at capture; use fill, copy_from an "
                                  "upload, or pass the values as a parameter",
                                  name_));
  }
  Device device() const override { return device_; }

  std::vector<std::shared_ptr<ArrayState>> captured;
  const std::vector<Handle>& captured_slots() const { return slots_; }

 private:
  Recording& recording_;
  const std::string name_;
  Device device_;
  const std::uint32_t epoch_;
  Tracer* const outer_;
  std::vector<Handle> slots_;  // of `captured`
  std::map<std::uint32_t, std::uint32_t> region_of_;

  void bind(ArrayState& a, Handle h) {
    a.trace = epoch_;
    a.value = h.slot;
    region_of_[h.slot] = mark().region;
  }
  void same_device(const ArrayState& a, Loc at) const {
    if (device_ && a.device != device_)
      throw DeviceError(at, fmt::format("program \"{}\" runs on {} and uses an array on {}", name_, device_.name(), a.device.name()));
  }
};

/// Arrays that nothing wrote are In, and their unchanged versions are not yielded.
void demote_unwritten(Function& f) {
  Op& end = f[f[f.body].ops.back()];
  Values kept;
  std::size_t next = 0;
  for (Parameter& p : f.parameters) {
    if (p.kind != Parameter::Kind::array) continue;
    const ValueId last = end.operands[next++];
    if (last == p.value) p.role = Role::in;
    else kept.push_back(last);
  }
  kept.insert(kept.end(), end.operands.begin() + static_cast<std::ptrdiff_t>(next), end.operands.end());
  end.operands = std::move(kept);
}

}  // namespace

Type array_type(const ArrayState& a) { return Type::array(a.element, {a.extent.data(), static_cast<std::size_t>(a.rank)}); }

CapturedProgram capture_program(const std::string& name, std::span<const ProgramParameter> parameters, const ProgramHandle::Body& body,
                                std::span<const Argument> arguments, Device device, Loc at) {
  CapturedProgram out;
  Recording recording(Function::Kind::program, name, at);
  ProgramTracer trace(recording, name, device);
  std::vector<ProgramValue> values;
  std::vector<std::shared_ptr<ArrayState>> arrays;
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    const std::string parameter = fmt::format("p{}", p);
    out.sources.push_back({ProgramSource::Kind::argument, static_cast<int>(p)});
    if (parameters[p].rank == 0) {
      values.push_back({nullptr, recording.scalar_parameter(parameters[p].element.scalar(), parameter)});
      continue;
    }
    const ArrayState& a = *arguments[p].array;
    const std::uint32_t value = recording.array_parameter(array_type(a), Role::inout, parameter);
    arrays.push_back(trace.parameter(a.element, a.rank, a.extent, value, at));
    values.push_back({arrays.back(), ~0u});
  }
  const std::vector<ProgramValue> results = body(values);
  std::vector<std::uint32_t> returned;
  for (const ProgramValue& r : results) {
    if (!r.array) {
      returned.push_back(r.scalar);
      continue;
    }
    returned.push_back(read(trace.slot(*r.array, at), at));
  }
  std::vector<std::uint32_t> yields;
  for (const auto& a : arrays) yields.push_back(read(trace.slot(*a, at), at));
  for (const Handle h : trace.captured_slots()) yields.push_back(read(h, at));
  yields.insert(yields.end(), returned.begin(), returned.end());
  for (std::size_t k = 0; k < trace.captured.size(); ++k) out.sources.push_back({ProgramSource::Kind::captured, static_cast<int>(k)});
  out.function = *recording.finish(yields);
  demote_unwritten(out.function);
  out.captured = std::move(trace.captured);
  return out;
}

std::uint32_t item_traced(const Array& a, std::uint32_t index, Loc at) {
  if (!tracer())
    throw KernelError(at, "fx::item gives a number of an array inside a program; elsewhere read the array: a.item(), a.host()");
  return tracer()->item(a.state(), index != ~0u ? index : constant(DType::i32, 0, at), at);
}
bool tracing() { return tracer() != nullptr; }
Device tracing_device() {
  const Device d = tracer()->device();
  return d ? d : Device::best();
}
bool swap_traced(const Array& a, const Array& b, Loc at) {
  if (!tracer()) return false;
  tracer()->swap(a.state(), b.state(), at);
  return true;
}

}  // namespace fluxion::detail
