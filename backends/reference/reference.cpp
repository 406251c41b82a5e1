// The evaluator as a backend: slow, always there, with bounds and race checks. What it says is right by
// definition; the other backends are compared with it.
#include <cstring>

#include "fluxion/backend.h"
#include "fluxion/cancel.h"
#include "fluxion/evaluate.h"

namespace fluxion {
namespace {

class Interpreted final : public Executable {
 public:
  Interpreted(const Function& f, const CompileOptions& options) : f_(f), nan_(options.nan || options.inf), inf_(options.inf) {}

  void run(const Launch& launch, FailureSlot& failure) override {
    // Error::what() has the place in front already; the slot adds it again when it throws.
    const auto text = [](const Error& e) {
      const std::string what = e.what(), at = to_string(e.where());
      return at.empty() ? what : what.substr(at.size() + 2);
    };
    try {
      if (f_.kind == Function::Kind::kernel) run_kernel(launch);
      else if (memory_form()) evaluate_memory_form(f_, memories(launch), launch.scalars, options());
      else run_program(launch);
    } catch (const KernelError& e) { failure.set(FailureSlot::Kind::kernel, e.where(), text(e)); } catch (const ShapeError& e) {
      failure.set(FailureSlot::Kind::shape, e.where(), text(e));
    } catch (const Cancelled& e) { failure.set(FailureSlot::Kind::cancelled, e.where(), text(e)); }
  }
  std::string dump(std::string_view what) const override { return what == "ir" ? print(f_) : std::string(); }

 private:
  const Function f_;
  const bool nan_, inf_;

  EvalOptions options() const {
    EvalOptions o;
    o.nan = nan_;
    o.inf = inf_;
    o.print = [](std::string_view line) { print_line(line); };
    return o;
  }
  void run_kernel(const Launch& launch) const { evaluate_kernel(f_, launch.domain, memories(launch), launch.scalars, options()); }
  bool memory_form() const {
    for (const Parameter& p : f_.parameters)
      if (p.kind == Parameter::Kind::array) return false;
    return !f_.memories.empty();
  }
  static std::vector<EvalMemory> memories(const Launch& launch) {
    std::vector<EvalMemory> out;
    for (const ArrayArgument& a : launch.arrays) out.push_back({static_cast<std::byte*>(a.data), a.extent});
    return out;
  }
  void run_program(const Launch& launch) const {
    std::vector<EvalValue> arguments;
    std::size_t next_array = 0, next_scalar = 0;
    std::vector<std::size_t> updated;  // which arrays the first results go to
    for (const Parameter& p : f_.parameters) {
      EvalValue v;
      if (p.kind == Parameter::Kind::scalar) {
        if (next_scalar == launch.scalars.size()) throw ShapeError(f_.loc, "\"" + f_.name + "\": too few scalars");
        v.bits = launch.scalars[next_scalar++];
      } else {
        if (next_array == launch.arrays.size()) throw ShapeError(f_.loc, "\"" + f_.name + "\": too few arrays");
        if (p.role != Role::out) v.array = fetch(launch.arrays[next_array], f_.type(p.value), p.name);
        if (p.role != Role::in) updated.push_back(next_array);
        ++next_array;
      }
      arguments.push_back(std::move(v));
    }
    const std::vector<EvalValue> out = evaluate_program(f_, std::move(arguments), options());
    if (next_array + out.size() - updated.size() != launch.arrays.size())
      throw ShapeError(f_.loc, "\"" + f_.name + "\": an array is needed for each parameter and each returned value");
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::size_t to = i < updated.size() ? updated[i] : next_array + i - updated.size();
      if (out[i].array) std::memcpy(launch.arrays[to].data, out[i].array->data(), out[i].array->size());
      else std::memcpy(launch.arrays[to].data, &out[i].bits, static_cast<std::size_t>(size_of(returned(i).dtype())));
    }
  }
  const Type& returned(std::size_t i) const { return f_.type(f_.terminator(f_.body).operands[i]); }
  std::shared_ptr<std::vector<std::byte>> fetch(const ArrayArgument& a, const Type& t, const std::string& name) const {
    const std::int64_t count = a.extent[0] * a.extent[1] * a.extent[2];
    if (count != t.count())
      throw ShapeError(f_.loc, "\"" + f_.name + "\": " + name + " is " + to_string(t) + ", got " + std::to_string(count) + " elements");
    const auto* p = static_cast<const std::byte*>(a.data);
    return std::make_shared<std::vector<std::byte>>(p, p + count * layout_of(t.element).size);
  }
};

class Reference final : public Backend {
 public:
  std::string name() const override { return "reference"; }
  std::string description() const override { return "the evaluator, one op at a time, with bounds and race checks"; }
  std::uint64_t memory() const override { return cpu_backend()->memory(); }
  std::vector<std::string> features() const override { return {"every index", "every race"}; }
  std::string fingerprint(const CompileOptions&) const override { return "reference"; }
  std::shared_ptr<Executable> compile(const Function& f, const CompileOptions& options) override {
    if (f.kind == Function::Kind::fn) throw KernelError(f.loc, "\"" + f.name + "\" is a fn; call it from a kernel");
    return std::make_shared<Interpreted>(f, options);
  }
};

}  // namespace

std::shared_ptr<Backend> reference_backend() {
  static const auto backend = std::make_shared<Reference>();
  return backend;
}

}  // namespace fluxion
