// The text form, canonical in everything but the order of ops (passes/canonical.cpp sees to that): values
// are numbered as they are printed, parameters and memories go by name, a launched kernel stands before its
// program. Every op has one shape, which parse.cpp reads back:
//
//   results = opcode [down] [@memory[idx...].leaf | @callee | "text"] operands (arguments) { ops } : types
//
// A yield of nothing is not written. Broken functions print too (%? for a value that is not in scope): the
// verifier shows them.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>

#include "fluxion/error.h"
#include "fluxion/external_code.h"
#include "text.h"

namespace fluxion {
namespace {

template <class T, class Bits> std::string float_literal(std::uint64_t bits) {
  const T x = std::bit_cast<T>(static_cast<Bits>(bits));
  if (std::isnan(x)) {
    const auto quiet = std::bit_cast<Bits>(std::numeric_limits<T>::quiet_NaN());
    return bits == quiet ? "nan" : fmt::format("{:#x}", bits);
  }
  std::string s = fmt::format("{}", x);
  if (s.find_first_of(".enf") == std::string::npos) s += ".0";
  return s;
}

std::int64_t sign_extend(std::uint64_t bits, int bytes) {
  const int shift = 64 - 8 * bytes;
  return static_cast<std::int64_t>(bits << shift) >> shift;
}

void quote(std::string& out, std::string_view s) {
  out += '"';
  for (char c : s) {
    if (c == '"' || c == '\\') out += '\\', out += c;
    else if (c == '\n') out += "\\n";
    else if (c == '\t') out += "\\t";
    else out += c;
  }
  out += '"';
}

/// A name that the parser takes, and that is not in `taken` yet.
std::string unique_name(std::string_view wish, const char* fallback, std::vector<std::string>& taken) {
  std::string name;
  for (char c : wish) name += is_name_char(c) ? c : '_';
  if (name.empty()) name = fallback;
  if (!is_name_start(name[0])) name.insert(name.begin(), '_');
  const std::string base = name;
  for (int i = 1; std::find(taken.begin(), taken.end(), name) != taken.end(); ++i) name = fmt::format("{}_{}", base, i);
  taken.push_back(name);
  return name;
}

struct Callee {
  const Function* f;
  std::string name;
  std::size_t self = 0;  // in the text: which of the programs that others stand for
};

class Printer {
 public:
  Printer(const Function& f, PrintOptions options, std::string& out, const std::vector<Callee>& callees, std::vector<std::size_t>* op_at)
      : f_(f), options_(options), out_(out), callees_(callees), op_at_(op_at), number_(f.values.size(), kUnset) {
    std::vector<std::string> taken;
    memory_names_.resize(f.memories.size());
    for (const Parameter& p : f.parameters)
      if (p.memory.index < f.memories.size()) memory_names_[p.memory.index] = unique_name(p.name, "m", taken);
    for (std::size_t m = 0; m < f.memories.size(); ++m)
      if (memory_names_[m].empty()) memory_names_[m] = unique_name(f.memories[m].name, "local", taken);
    taken.clear();
    for (const Parameter& p : f.parameters)
      parameter_names_.push_back(p.kind == Parameter::Kind::memory ? "" : unique_name(p.name, "p", taken));
    locals_.resize(f.regions.size());
    for (std::uint32_t m = 0; m < f.memories.size(); ++m)
      if (f.memories[m].space != Memory::Space::parameter && f.memories[m].scope.index < f.regions.size())
        locals_[f.memories[m].scope.index].push_back({m});
  }

  void function(std::string_view name) {
    constexpr const char* kKinds[] = {"fn", "kernel", "program"};
    put("{} @{}(", kKinds[static_cast<int>(f_.kind)], name);
    for (std::size_t i = 0; i < f_.parameters.size(); ++i) {
      if (i) out_ += ", ";
      parameter(i);
    }
    out_ += ')';
    const bool has_body = f_.body.index < f_.regions.size();
    if (f_.kind == Function::Kind::kernel) {
      out_ += " over (";
      for (int i = 0; i < f_.domain_rank; ++i) {
        if (has_body && static_cast<std::size_t>(i) < f_[f_.body].arguments.size()) define(f_[f_.body].arguments[i]);
        else ++next_;  // an index that nobody uses still has a number, so that the text says the same
        put("{}%{}", i ? ", " : "", next_ - 1);
      }
      out_ += ')';
      if (f_.has_groups()) {
        put(" in groups ({}", f_.group[0]);
        for (int i = 1; i < f_.domain_rank; ++i) put(", {}", f_.group[static_cast<std::size_t>(i)]);
        out_ += ')';
      }
    } else if (has_body && !f_[f_.body].ops.empty()) {
      const Op& yield = f_.terminator(f_.body);
      for (std::size_t i = 0; i < yield.operands.size(); ++i) {
        out_ += i ? ", " : " -> ";
        out_ += type_of(yield.operands[i]);
      }
    }
    if (f_.rules.vjp) put(" vjp @{}", callee_name(f_.rules.vjp.get()));
    if (f_.rules.jvp) put(" jvp @{}", callee_name(f_.rules.jvp.get()));
    if (f_.external) put(" external {}{}", f_.external->impure ? "impure " : "", f_.external->number);
    if (const std::size_t n = self_number()) put(" self {}", n);
    if (f_.loc && options_.locations) put(" {{  # {}\n", to_string(f_.loc));
    else out_ += " {\n";
    if (has_body) block(f_.body, 1);
    out_ += "}\n";
  }

 private:
  static constexpr std::uint32_t kUnset = ~0u;
  const Function& f_;
  PrintOptions options_;
  std::string& out_;
  const std::vector<Callee>& callees_;
  std::vector<std::size_t>* op_at_;
  std::vector<std::uint32_t> number_;
  std::vector<std::string> memory_names_, parameter_names_;
  std::vector<std::vector<MemoryId>> locals_;
  std::uint32_t next_ = 0;

  template <class... A> void put(fmt::format_string<A...> s, A&&... a) {
    fmt::format_to(std::back_inserter(out_), s, std::forward<A>(a)...);
  }
  std::size_t self_number() const {
    for (const Callee& c : callees_)
      if (f_.self && c.f->self == f_.self && c.self) return c.self;
    return 0;
  }
  std::string_view callee_name(const Function* callee) const {
    const auto it = std::find_if(callees_.begin(), callees_.end(), [&](const Callee& c) { return c.f == callee; });
    return it == callees_.end() ? std::string_view("?") : std::string_view(it->name);
  }
  void define(ValueId v) {
    if (v.index < number_.size()) number_[v.index] = next_;
    ++next_;
  }
  std::string type_of(ValueId v) const { return v.index < f_.values.size() ? to_string(f_.type(v)) : std::string("?"); }
  void value(ValueId v) {
    if (v.index >= f_.values.size()) {
      out_ += "%?";
      return;
    }
    const Value& x = f_[v];
    if (x.kind == Value::Kind::constant) {
      out_ += x.type.is_scalar() && x.type.element.is_scalar() ? literal(x.type.dtype(), x.bits) : "?";
    } else if (x.kind == Value::Kind::parameter && x.owner < parameter_names_.size()) {
      out_ += '%';
      out_ += parameter_names_[x.owner];
    } else if (number_[v.index] == kUnset) {
      put("%?{}", v.index);
    } else {
      put("%{}", number_[v.index]);
    }
  }
  void values(std::span<const ValueId> vs) {
    for (std::size_t i = 0; i < vs.size(); ++i) {
      if (i) out_ += ", ";
      value(vs[i]);
    }
  }
  void memory(MemoryId m) {
    out_ += '@';
    if (m.index < memory_names_.size()) out_ += memory_names_[m.index];
    else out_ += '?';
  }
  void parameter(std::size_t i) {
    const Parameter& p = f_.parameters[i];
    switch (p.kind) {
      case Parameter::Kind::scalar: put("%{}: {}", parameter_names_[i], type_of(p.value)); break;
      case Parameter::Kind::array: put("%{}: {} {}", parameter_names_[i], name_of(p.role), type_of(p.value)); break;
      case Parameter::Kind::memory: {
        memory(p.memory);
        put(": {} ", name_of(p.role));
        if (p.memory.index >= f_.memories.size()) break;
        const Memory& m = f_[p.memory];
        out_ += to_string(m.element);
        if (f_.kind == Function::Kind::program) {
          shape(m);
        } else {
          for (int a = 0; a < m.rank; ++a) out_ += a ? ", ?" : "[?";
          out_ += ']';
        }
        if (m.scratch && m.like >= 0 && static_cast<std::size_t>(m.like) < f_.parameters.size()) {
          out_ += " like ";
          memory(f_.parameters[m.like].memory);
          if (m.zeros) out_ += " zeros";
          if (m.into >= 0 && static_cast<std::size_t>(m.into) < f_.parameters.size()) {
            out_ += " into ";
            memory(f_.parameters[m.into].memory);
          }
        }
      }
    }
  }
  void shape(const Memory& m) {
    for (int a = 0; a < m.rank; ++a) put("{}{}", a ? ", " : "[", m.shape[a]);
    if (m.rank > 0) out_ += ']';
  }
  void block(RegionId r, int depth) {
    for (MemoryId m : locals_[r.index]) {
      out_.append(static_cast<std::size_t>(2 * depth), ' ');
      const bool is_local = f_[m].space != Memory::Space::buffer;
      out_ += f_[m].space == Memory::Space::local ? "local " : is_local ? "shared " : f_[m].records ? "records " : "buffer ";
      memory(m);
      out_ += ": " + to_string(f_[m].element);
      if (is_local) put("[{}]", f_[m].length);
      else shape(f_[m]);
      out_ += '\n';
    }
    for (OpId o : f_[r].ops) {
      if (o.index >= f_.ops.size()) continue;
      if (op_at_) (*op_at_)[o.index] = out_.size();
      const Op& op = f_[o];
      if (op.code == Opcode::yield && op.operands.empty() && o == f_[r].ops.back()) continue;
      operation(op, depth);
    }
  }
  void attributes(const Op& op, std::span<const ValueId>& rest) {
    switch (op.code) {
      case Opcode::load:
      case Opcode::store:
      case Opcode::accumulate:
      case Opcode::atomic: {
        if (op.code == Opcode::atomic) put(" {}", op.kind < kAtomicCount ? name_of(static_cast<Atomic>(op.kind)) : "?");
        out_ += ' ';
        memory(op.memory);
        const std::size_t stored = op.code == Opcode::load                                                              ? 0
                                   : op.code == Opcode::atomic && op.kind == static_cast<int>(Atomic::compare_exchange) ? 2
                                                                                                                        : 1;
        const std::size_t n = rest.size() < stored ? 0 : rest.size() - stored;
        out_ += '[';
        values(rest.first(n));
        out_ += ']';
        if (op.leaf) put(".{}", op.leaf);
        rest = rest.subspan(n);
        if (!rest.empty()) out_ += ',';
        return;
      }
      case Opcode::extent:
        out_ += ' ';
        memory(op.memory);
        put("[{}]", op.leaf);
        return;
      case Opcode::domain:
      case Opcode::group_index: put(" [{}]", op.leaf); return;
      case Opcode::subgroup: put(" {}", op.kind < kSubgroupCount ? name_of(static_cast<Subgroup>(op.kind)) : "?"); return;
      case Opcode::launch:
      case Opcode::call:
      case Opcode::run: {
        const Function* callee = op.ref < f_.callees.size() ? f_.callees[op.ref].get() : nullptr;
        put(" @{}", callee_name(callee));
        break;
      }
      case Opcode::print:
      case Opcode::check:
        out_ += ' ';
        quote(out_, op.ref < f_.texts.size() ? f_.texts[op.ref] : "?");
        return;
      default:
        if (op.ref != ~0u) put(" &{}", op.ref);
    }
    for (MemoryId m : op.buffers) out_ += ' ', memory(m);
    if (op.memory.valid()) out_ += ' ', memory(op.memory);
    if (op.leaf) put(" !{}", op.leaf);
  }
  void operation(const Op& op, int depth) {
    out_.append(static_cast<std::size_t>(2 * depth), ' ');
    for (std::size_t i = 0; i < op.results.size(); ++i) {
      define(op.results[i]);
      put("{}%{}", i ? ", " : "", next_ - 1);
    }
    if (!op.results.empty()) out_ += " = ";
    out_ += name_of(op.code);
    if (op.down) out_ += " down";
    if (op.code == Opcode::for_ && op.kind) out_ += op.kind == static_cast<std::uint8_t>(Keep::starts) ? " starts" : " once";
    std::span<const ValueId> rest = op.operands;
    attributes(op, rest);
    if (!rest.empty()) out_ += ' ';
    values(rest);
    for (std::size_t i = 0; i < op.regions.size(); ++i) {
      if (i == 1) out_ += op.code == Opcode::while_ ? " do" : " else";
      if (op.regions[i].index < f_.regions.size()) region(op.regions[i], depth, i == 0 ? op.loc : Loc{});
    }
    for (std::size_t i = 0; i < op.results.size(); ++i) {
      out_ += i ? ", " : " : ";
      out_ += type_of(op.results[i]);
    }
    if (op.regions.empty()) comment(op.loc);
    out_ += '\n';
  }
  void region(RegionId r, int depth, Loc loc) {
    const Values& arguments = f_[r].arguments;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      define(arguments[i]);
      put("{}%{}: {}", i ? ", " : " (", next_ - 1, type_of(arguments[i]));
    }
    if (!arguments.empty()) out_ += ')';
    out_ += " {";
    comment(loc);
    out_ += '\n';
    block(r, depth + 1);
    out_.append(static_cast<std::size_t>(2 * depth), ' ');
    out_ += '}';
  }
  void comment(Loc loc) {
    if (options_.locations && loc) put("  # {}", to_string(loc));
  }
};

void collect(const Function& f, std::vector<Callee>& order) {
  std::vector<std::shared_ptr<const Function>> all = f.callees;
  all.push_back(f.rules.vjp);
  all.push_back(f.rules.jvp);
  for (const auto& callee : all) {
    if (!callee) continue;
    const auto known = [&](const Callee& c) { return c.f == callee.get(); };
    if (std::any_of(order.begin(), order.end(), known)) continue;
    collect(*callee, order);
    order.push_back({callee.get(), ""});
  }
}

std::string print_with(const Function& f, PrintOptions options, std::vector<std::size_t>* op_at) {
  std::string out;
  out.reserve(64 * f.ops.size() + 256);
  std::vector<Callee> callees;
  collect(f, callees);
  std::vector<std::string> taken;
  for (Callee& c : callees) c.name = unique_name(c.f->name, "f", taken);
  std::size_t selves = 0;
  for (Callee& c : callees) {
    const auto same = [&](const Callee& d) { return d.self && d.f->self == c.f->self; };
    if (c.f->stands_in() && std::none_of(callees.begin(), callees.end(), same)) c.self = ++selves;
  }
  for (const Callee& c : callees) Printer(*c.f, options, out, callees, nullptr).function(c.name);
  if (op_at) op_at->assign(f.ops.size(), std::string::npos);
  Printer(f, options, out, callees, op_at).function(unique_name(f.name, "f", taken));
  return out;
}

}  // namespace

std::string literal(DType t, std::uint64_t bits) {
  std::string s;
  switch (t) {
    case DType::boolean: return bits == 0 ? "false" : "true";
    case DType::f32: s = float_literal<float, std::uint32_t>(bits); break;
    case DType::f64: s = float_literal<double, std::uint64_t>(bits); break;
    case DType::f16:
    case DType::bf16: s = fmt::format("{:#x}", bits); break;
    case DType::i8:
    case DType::i16:
    case DType::i32:
    case DType::i64: s = fmt::format("{}", sign_extend(bits, size_of(t))); break;
    case DType::u8:
    case DType::u16:
    case DType::u32:
    case DType::u64: s = fmt::format("{}", bits); break;
  }
  const bool bare = t == DType::i32 || (t == DType::f32 && s.find('x') == std::string::npos);
  return bare ? s : s + ":" + name_of(t);
}

std::string print_mapped(const Function& f, PrintOptions options, std::vector<std::size_t>& op_at) {
  return print_with(f, options, &op_at);
}
std::string print(const Function& f, PrintOptions options) { return print_with(f, options, nullptr); }

}  // namespace fluxion
