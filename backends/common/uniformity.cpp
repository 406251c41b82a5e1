// A fixed point over the lattice launch < uniform < affine < varying; classes only ever rise.
#include "uniformity.h"

#include <algorithm>

#include "fluxion/external_code.h"

namespace fluxion {
namespace {
using Class = Uniformity::Class;

struct Analysis {
  const Function& f;
  Uniformity& u;
  bool changed = false;

  Class at(ValueId v) const { return u.of[v.index]; }
  void raise(ValueId v, Class c, std::int32_t stride = 0) {
    Class& now = u.of[v.index];
    std::int32_t& step = u.stride[v.index];
    if (now == Class::affine && c == Class::affine && step != stride) c = Class::varying;
    // A uniform value that turns out affine: lanes differ on one of two ways in.
    if (now == Class::uniform && c == Class::affine && seen[v.index]) c = Class::varying;
    if (now == Class::affine && c < Class::affine) c = seen[v.index] ? Class::varying : Class::affine;
    seen[v.index] = 1;
    if (c > now) {
      now = c;
      step = c == Class::affine ? stride : 0;
      changed = true;
    }
  }
  void raise_length(ValueId v, Class c) {
    if (c == Class::affine) c = Class::varying;
    if (c > u.length[v.index]) {
      u.length[v.index] = c;
      changed = true;
    }
  }
  void diverge(OpId o) {
    if (!u.divergent[o.index]) {
      u.divergent[o.index] = 1;
      changed = true;
    }
  }
  std::vector<char> seen;

  /// `to` may be `from`: along a yield, a carry. At least uniform, since it may change from trip to trip.
  void flow(ValueId to, ValueId from, bool parts) {
    if (f.type(to).is_seq()) {
      const bool one_place = u.sequences.single_source(to);
      raise(to, parts && !one_place ? Class::varying : std::max(at(from), Class::uniform));
      raise_length(to, parts && !one_place ? Class::varying : std::max(u.length[from.index], Class::uniform));
      return;
    }
    if (parts) return raise(to, Class::varying);
    raise(to, std::max(at(from), Class::uniform), u.stride[from.index]);
  }

  std::int64_t constant(ValueId v) const { return static_cast<std::int32_t>(f[v].bits); }

  void elementwise(const Op& op) {
    const ValueId r = op.results[0];
    if (f.type(r).is_seq()) {
      if (op.code == Opcode::select) {
        const bool parts = at(op.operands[0]) > Class::uniform;
        flow(r, op.operands[1], parts);
        flow(r, op.operands[2], parts);
        return;
      }
      raise(r, Class::uniform);
      for (ValueId v : op.operands)
        if (f.type(v).is_seq()) raise_length(r, u.length[v.index]);
      return;
    }
    Class c = Class::launch;
    for (ValueId v : op.operands) c = std::max(c, at(v));
    if (c != Class::affine) return raise(r, c);
    const auto step = [&](std::size_t k) { return u.stride[op.operands[k].index]; };
    std::int64_t s = 0;
    switch (op.code) {
      case Opcode::add: s = std::int64_t{step(0)} + step(1); break;
      case Opcode::sub: s = std::int64_t{step(0)} - step(1); break;
      case Opcode::neg: s = -std::int64_t{step(0)}; break;
      case Opcode::stop_grad: s = step(0); break;
      case Opcode::mul:
        if (f.is_constant(op.operands[1])) s = step(0) * constant(op.operands[1]);
        else if (f.is_constant(op.operands[0])) s = step(1) * constant(op.operands[0]);
        break;
      case Opcode::shl:
        if (f.is_constant(op.operands[1])) s = std::int64_t{step(0)} << (constant(op.operands[1]) & 31);
        break;
      default: break;
    }
    const bool fits = f.type(r) == Type(DType::i32) && s > -(1 << 20) && s < (1 << 20) && s != 0;
    raise(r, fits ? Class::affine : Class::varying, static_cast<std::int32_t>(s));
  }

  void region(RegionId r) {
    for (OpId o : f[r].ops) visit(o);
  }

  void visit(OpId o) {
    const Op& op = f[o];
    if (is_elementwise(op.code) || op.code == Opcode::convert || op.code == Opcode::bitcast) return elementwise(op);
    switch (op.code) {
      case Opcode::load: {
        Class c = Class::uniform;
        for (ValueId v : op.operands)
          if (at(v) > Class::uniform) c = Class::varying;
        if (f[op.memory].space == Memory::Space::local) c = Class::varying;
        return raise(op.results[0], c);
      }
      case Opcode::extent:
      case Opcode::domain: return;  // launch
      case Opcode::group_index: return raise(op.results[0], Class::uniform);
      case Opcode::atomic:
      case Opcode::subgroup: return raise(op.results[0], Class::varying);
      case Opcode::call: {
        // What counts its calls is called for each thread, whatever it is given.
        Class c = f.kind != Function::Kind::program && is_impure(*f.callees[op.ref]) ? Class::varying : Class::uniform;
        for (ValueId v : op.operands)
          if (at(v) > Class::uniform) c = Class::varying;
        for (ValueId v : op.results) raise(v, c);
        return;
      }
      case Opcode::if_: {
        const bool parts = at(op.operands[0]) > Class::uniform;
        if (parts) diverge(o);
        for (RegionId arm : op.regions) region(arm);
        for (RegionId arm : op.regions)
          for (std::size_t k = 0; k < op.results.size(); ++k) flow(op.results[k], f.terminator(arm).operands[k], parts);
        return;
      }
      case Opcode::for_: {
        const RegionId body = op.regions[0];
        const bool parts = at(op.operands[0]) > Class::uniform || at(op.operands[1]) > Class::uniform;
        if (parts) diverge(o);
        const auto& args = f[body].arguments;
        raise(args[0], std::max(at(op.operands[0]), Class::uniform), u.stride[op.operands[0].index]);
        const std::size_t n = f.carries(op);
        // Counting down, lanes with fewer trips join late: their carries are still what they were before.
        for (std::size_t k = 0; k < n; ++k) flow(args[1 + k], op.operands[2 + k], parts && op.down);
        region(body);
        const Op& end = f.terminator(body);
        for (std::size_t k = 0; k < n; ++k) {
          flow(args[1 + k], end.operands[k], parts && op.down);
          flow(op.results[k], args[1 + k], parts);
        }
        for (std::size_t k = n; k < op.results.size(); ++k) {
          raise(op.results[k], Class::uniform);
          raise_length(op.results[k], parts ? Class::varying : Class::uniform);
        }
        return;
      }
      case Opcode::while_: {
        const std::size_t n = f.carries(op);
        const auto& before = f[op.regions[0]].arguments;
        const auto& args = f[op.regions[1]].arguments;
        for (std::size_t k = 0; k < n; ++k) flow(before[k], op.operands[k], false);
        region(op.regions[0]);
        const Op& test = f.terminator(op.regions[0]);
        const bool parts = at(test.operands[0]) > Class::uniform;
        if (parts) diverge(o);
        for (std::size_t k = 0; k < n; ++k) flow(args[k], test.operands[1 + k], false);
        region(op.regions[1]);
        const Op& end = f.terminator(op.regions[1]);
        for (std::size_t k = 0; k < n; ++k) {
          flow(before[k], end.operands[k], false);
          flow(op.results[k], test.operands[1 + k], parts);
        }
        for (std::size_t k = n; k + 1 < op.results.size(); ++k) {
          raise(op.results[k], Class::uniform);
          raise_length(op.results[k], parts ? Class::varying : Class::uniform);
        }
        raise(op.results.back(), parts ? Class::varying : Class::uniform);
        return;
      }
      case Opcode::seq_get: {
        const ValueId r = op.results[0];
        raise(r, Class::varying);
        if (f.type(r).is_seq()) raise_length(r, Class::varying);
        return;
      }
      case Opcode::seq_set:
      case Opcode::seq_add_at:
        raise(op.results[0], u.sequences.in_place(op.results[0]) ? at(op.operands[0]) : Class::uniform);
        raise_length(op.results[0], u.length[op.operands[0].index]);
        return;
      case Opcode::seq_len: return raise(op.results[0], u.length[op.operands[0].index]);
      case Opcode::zeros:
        raise(op.results[0], Class::uniform);
        if (f.type(op.results[0]).is_seq() && !op.operands.empty()) raise_length(op.results[0], at(op.operands[0]));
        return;
      default: return;
    }
  }
};

}  // namespace

int group_threads(const Function& f) {
  int n = f.has_groups() ? 1 : 0;
  for (int k = 0; k < f.domain_rank; ++k) n *= f.group[static_cast<std::size_t>(k)];
  return n;
}

Uniformity::Uniformity(const Function& kernel, bool varying)
    : nesting(kernel),
      sequences(kernel, nesting),
      of(kernel.values.size(), Class::launch),
      stride(kernel.values.size()),
      length(kernel.values.size(), Class::launch),
      divergent(kernel.ops.size()) {
  Analysis a{kernel, *this, false, std::vector<char>(kernel.values.size())};
  const auto& indices = kernel[kernel.body].arguments;
  const int threads = group_threads(kernel);
  for (std::size_t k = 0; k < indices.size(); ++k) {
    // The lanes of a group are its threads: its last axis is the fastest, but only when it is the one axis with
    // more than one thread do they lie in a line.
    const bool line = k + 1 == static_cast<std::size_t>(kernel.domain_rank);
    if (kernel.has_groups())
      a.raise(indices[k], kernel.group[k] == 1 ? Class::uniform : threads == kernel.group[k] ? Class::affine : Class::varying, 1);
    else a.raise(indices[k], line ? Class::affine : Class::uniform, 1);
  }
  if (varying)
    for (const Parameter& p : kernel.parameters) a.raise(p.value, Class::varying);
  do {
    a.changed = false;
    a.region(kernel.body);
  } while (a.changed);
}

}  // namespace fluxion
