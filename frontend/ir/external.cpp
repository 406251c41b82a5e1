// Host functions as Functions, with the bodies that stand in for them, and their calls.
#include "fluxion/external_code.h"

#include <fmt/format.h>

#include <map>
#include <mutex>
#include <set>

#include "fluxion/builder.h"
#include "fluxion/error.h"

namespace fluxion {
namespace {

struct Numbers {
  std::mutex mutex;
  std::uint64_t last = 0;
  std::map<std::uint64_t, std::weak_ptr<const External>> of;
};
Numbers& numbers() {
  static Numbers n;
  return n;
}

thread_local int t_inside = 0;

void describe(std::string& error, const External& e, const char* what) noexcept {
  try {
    error = what ? fmt::format("external \"{}\" threw: {}", e.name, what)
                 : fmt::format("external \"{}\" threw something that is no std::exception", e.name);
  } catch (...) {  // no memory for the text
  }
}

ValueId wide(Builder& b, ValueId v) {
  const DType t = b.function().type(v).dtype();
  return b.convert(is_half(t) ? b.convert(v, DType::f32) : v, DType::f64);
}
ValueId narrow(Builder& b, ValueId v, DType to) { return b.convert(is_half(to) ? b.convert(v, DType::f32) : v, to); }
void never(Builder& b, const External& e) {
  const ValueId no = b.constant(DType::boolean, 0);
  b.effect(Opcode::check, fmt::format("the body of external \"{}\" ran", e.name), {&no, 1});
}

// Every result depends on every argument; and should the body ever run, it says so.
void stand_in(Function& f, const External& e) {
  Builder b(f);
  b.loc = f.loc;
  Values in, out;
  for (std::size_t k = 0; k < e.takes.size(); ++k) in.push_back(b.scalar_parameter(e.takes[k], fmt::format("p{}", k)));
  never(b, e);
  ValueId sum = b.constant_float(DType::f64, 0);
  for (ValueId v : in) sum = b.add(sum, wide(b, v));
  for (DType t : e.gives) out.push_back(b.convert(sum, t));
  b.finish(out);
}

// The same for a kernel: a thread touches elements that are nobody's own, after it has read what it writes.
void stand_in(Function& f, External& e, std::span<const ExternalParameter> parameters) {
  Builder b(f);
  b.loc = f.loc;
  Values numbers;
  std::vector<MemoryId> arrays;
  for (std::size_t k = 0; k < parameters.size(); ++k) {
    const ExternalParameter& p = parameters[k];
    const std::string name = fmt::format("p{}", k);
    if (p.rank > 0) {
      arrays.push_back(b.memory_parameter(p.element, p.rank, p.role, name));
      continue;
    }
    numbers.push_back(b.scalar_parameter(p.element.scalar(), name));
    e.takes.push_back(p.element.scalar());
  }
  never(b, e);
  const ValueId somewhere = b.emit(Opcode::rem, {b.emit(Opcode::mul, {b.index(0), b.index(0)}), b.i32(3)});
  ValueId sum = b.constant_float(DType::f64, 0);
  for (ValueId v : numbers) sum = b.add(sum, wide(b, v));
  const auto each_leaf = [&](MemoryId m, const auto& body) {
    const Values at(static_cast<std::size_t>(f[m].rank), somewhere);
    const Layout& layout = layout_of(f[m].element);
    for (std::size_t l = 0; l < layout.leaves.size(); ++l) body(at, static_cast<int>(l), layout.leaves[l].dtype);
  };
  for (MemoryId m : arrays)
    if (f[m].role == Role::in || f[m].role == Role::inout)
      each_leaf(m, [&](const Values& at, int leaf, DType) { sum = b.add(sum, wide(b, b.load(m, at, leaf))); });
  for (MemoryId m : arrays)
    if (f[m].role != Role::in)
      each_leaf(m, [&](const Values& at, int leaf, DType t) {
        if (f[m].role == Role::accum) b.accumulate(m, at, narrow(b, sum, t), leaf);
        else b.store(m, at, narrow(b, sum, t), leaf);
      });
  b.finish();
}

std::shared_ptr<const External> numbered(External e) {
  std::lock_guard lock(numbers().mutex);
  e.number = ++numbers().last;
  const auto made = std::make_shared<const External>(std::move(e));
  std::erase_if(numbers().of, [](const auto& entry) { return entry.second.expired(); });
  numbers().of[made->number] = made;
  return made;
}

template <class F> bool guarded(const External& e, std::string& error, const F& call) noexcept {
  struct Inside {
    Inside() { ++t_inside; }
    ~Inside() { --t_inside; }
  } inside;
  try {
    call();
    return true;
  } catch (const std::exception& x) { describe(error, e, x.what()); } catch (...) {
    describe(error, e, nullptr);
  }
  return false;
}

bool any(const Function& f, std::set<const Function*>& seen, bool (*yes)(const External&)) {
  if (f.external) return yes(*f.external);
  for (const auto& callee : f.callees)
    if (seen.insert(callee.get()).second && any(*callee, seen, yes)) return true;
  return false;
}

}  // namespace

std::shared_ptr<const Function> external_function(External e, Loc loc) {
  auto f = std::make_shared<Function>();
  f->kind = Function::Kind::fn;
  f->name = e.name;
  f->loc = loc;
  stand_in(*f, e);
  f->external = numbered(std::move(e));
  return f;
}

std::shared_ptr<const Function> external_kernel(External e, std::span<const ExternalParameter> parameters, Loc loc) {
  auto f = std::make_shared<Function>();
  f->kind = Function::Kind::kernel;
  f->name = e.name;
  f->loc = loc;
  f->domain_rank = 1;
  stand_in(*f, e, parameters);
  f->external = numbered(std::move(e));
  return f;
}

std::shared_ptr<const External> external_numbered(std::uint64_t number) {
  std::lock_guard lock(numbers().mutex);
  const auto at = numbers().of.find(number);
  return at == numbers().of.end() ? nullptr : at->second.lock();
}

bool try_external(const External& e, const std::uint64_t* in, std::uint64_t* out, std::string& error) noexcept {
  return guarded(e, error, [&] { e.call(in, out); });
}
bool try_external(const External& e, const ExternalArray* arrays, const std::uint64_t* scalars, std::string& error) noexcept {
  return guarded(e, error, [&] { e.launch(arrays, scalars); });
}

bool inside_external() { return t_inside > 0; }

bool is_impure(const Function& f) {
  std::set<const Function*> seen;
  return any(f, seen, [](const External& e) { return e.impure; });
}
bool has_external(const Function& f) {
  std::set<const Function*> seen;
  return any(f, seen, [](const External&) { return true; });
}

void refuse_external(const Function& f, Loc at) {
  throw KernelError(
      at ? at : f.loc,
      fmt::format("external \"{}\" is called with numbers that depend on what is differentiated, and what a host function computes "
                  "has no derivative of its own; give it a rule, .vjp(...) or .jvp(...), or pass it {} of its arguments",
                  f.name, f.kind == Function::Kind::fn ? "stop_grad" : "stop_gradient"));
}

}  // namespace fluxion
