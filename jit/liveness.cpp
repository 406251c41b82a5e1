// See liveness.h. A value made outside a loop and used in it lives through the whole loop; one that is used in
// one arm of an `if` is dead in the other, so both arms may work in place.
#include "liveness.h"

#include <algorithm>

#include "pointwise.h"

namespace fluxion {

bool meet(const Life& a, const Life& b) {
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i].from <= b[j].to && b[j].from <= a[i].to) return true;
    a[i].to < b[j].to ? ++i : ++j;
  }
  return false;
}

Life join(const Life& a, const Life& b) {
  Life all;
  std::merge(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(all), [](const Span& x, const Span& y) { return x.from < y.from; });
  Life out;
  for (const Span& s : all) {
    if (!out.empty() && s.from <= out.back().to) out.back().to = std::max(out.back().to, s.to);
    else out.push_back(s);
  }
  return out;
}

std::vector<char> shared_inputs(const Function& f, const Op& launch) {
  const Function& k = *f.callees[launch.ref];
  const std::vector<char> none(k.parameters.size());
  if (!is_pointwise(k)) return none;
  const auto same_shape = [&](ValueId v) {
    for (int axis = 0; axis < k.domain_rank; ++axis) {
      const Value& extent = f[launch.operands[axis]];
      if (extent.kind != Value::Kind::constant || static_cast<std::int64_t>(extent.bits) != f.type(v).shape[axis]) return false;
    }
    return true;
  };
  for (std::size_t i = k.domain_rank; i < launch.operands.size(); ++i)
    if (f.type(launch.operands[i]).is_array() && !same_shape(launch.operands[i])) return none;
  return std::all_of(launch.results.begin(), launch.results.end(), same_shape) ? taken_over(k) : none;
}

Liveness::Liveness(const Function& f)
    : f_(f), place_(f.ops.size()), start_(f.regions.size()), owner_(f.regions.size()), sites_(f.values.size()) {
  std::uint32_t next = 4;
  number(f.body, OpId{}, next);
}

void Liveness::note(ValueId v, OpId op, Use use) {
  if (!f_.type(v).is_scalar()) sites_[v.index].push_back({op, use});
}

void Liveness::number(RegionId r, OpId owner, std::uint32_t& next) {
  owner_[r.index] = owner;
  start_[r.index] = next;
  next += 4;
  for (OpId id : f_[r].ops) {
    const Op& op = f_[id];
    Place& place = place_[id.index];
    place.region = r;
    place.before = next;
    next += 4;
    for (RegionId inner : op.regions) number(inner, id, next);
    if (!op.regions.empty()) next += 4;
    place.after = next - 4;

    switch (op.code) {
      case Opcode::launch: {
        const Function& k = *f_.callees[op.ref];
        const std::vector<char> shares = shared_inputs(f_, op);
        std::size_t operand = static_cast<std::size_t>(k.domain_rank);
        for (std::size_t i = 0; i < k.parameters.size(); ++i) {
          const Parameter& p = k.parameters[i];
          if (p.kind == Parameter::Kind::memory && p.role == Role::out) continue;
          const bool in = p.kind != Parameter::Kind::memory || p.role == Role::in;
          note(op.operands[operand++], id, !in ? Use::take : shares[i] ? Use::share : Use::read);
        }
        break;
      }
      case Opcode::for_:
      case Opcode::while_:
      case Opcode::seq_set:
      case Opcode::seq_add_at: {
        const bool seq = op.code == Opcode::seq_set || op.code == Opcode::seq_add_at;
        for (std::size_t i = 0; i < op.operands.size(); ++i) note(op.operands[i], id, seq && i > 0 ? Use::read : Use::take);
        break;
      }
      case Opcode::yield: {
        const bool body =
            owner.valid() && (f_[owner].code == Opcode::for_ || f_[owner].code == Opcode::while_) && f_[owner].regions.back() == r;
        const std::size_t carries = body ? f_.carries(f_[owner]) : op.operands.size();
        for (std::size_t i = 0; i < op.operands.size(); ++i) {
          // A sequence is collected as a handle, at the end of the turn: it must still hold its items then.
          const Use use = f_.type(op.operands[i]).is_seq() ? Use::read : Use::collect;
          note(op.operands[i], id, i < carries ? Use::take : use);
        }
        break;
      }
      default:
        for (ValueId v : op.operands) note(v, id, Use::read);
    }
  }
}

RegionId Liveness::region(ValueId v) const {
  const Value& value = f_[v];
  switch (value.kind) {
    case Value::Kind::result: return place_[value.owner].region;
    case Value::Kind::argument: return RegionId{value.owner};
    case Value::Kind::constant:
    case Value::Kind::parameter: break;
  }
  return f_.body;
}

int Liveness::depth(RegionId r) const {
  int loops = 0;
  for (OpId o = owner(r); o.valid(); o = owner(region(o))) loops += f_[o].code != Opcode::if_;
  return loops;
}

bool Liveness::within(RegionId inner, RegionId outer) const { return common(inner, outer) == outer; }

RegionId Liveness::common(RegionId a, RegionId b) const {
  std::vector<RegionId> path = {a};
  for (OpId o = owner(a); o.valid(); o = owner(path.back())) path.push_back(region(o));
  for (;; b = region(owner(b)))
    if (std::find(path.begin(), path.end(), b) != path.end()) return b;
}

std::uint32_t Liveness::made(ValueId v) const {
  const Value& value = f_[v];
  switch (value.kind) {
    case Value::Kind::result: return place_[value.owner].after + 1;
    case Value::Kind::argument: return start_[value.owner] + 1;
    case Value::Kind::constant:
    case Value::Kind::parameter: break;
  }
  return 1;
}

bool Liveness::read(ValueId v) const {
  const RegionId home = region(v);
  return std::any_of(sites_[v.index].begin(), sites_[v.index].end(), [&](const Site& s) {
    return s.use == Use::read || s.use == Use::share || (s.use == Use::collect && region(s.op) != home);
  });
}

Life Liveness::life(ValueId v) const {
  Life out;
  const std::uint32_t from = made(v);
  walk(region(v), from, sites_[v.index], out);
  return join(out, {{from, from + 1}});
}

Life Liveness::life_of_reads(ValueId v) const {
  Life out;
  const std::uint32_t from = made(v);
  std::vector<Site> sites = sites_[v.index];
  std::erase_if(sites, [](const Site& s) { return s.use == Use::take; });
  walk(region(v), from, std::move(sites), out);
  return join(out, {{from, from + 1}});
}

void Liveness::walk(RegionId r, std::uint32_t from, std::vector<Site> sites, Life& out) const {
  // What each use is to the ops of `r`: one of them, or something inside one of them.
  const auto in_r = [&](OpId o) {
    while (region(o) != r) o = owner(region(o));
    return o;
  };
  std::erase_if(sites, [&](const Site& s) { return s.use == Use::collect && region(s.op) == r; });
  if (sites.empty()) return;
  OpId last = in_r(sites[0].op);
  for (const Site& s : sites)
    if (const OpId o = in_r(s.op); before(o) > before(last)) last = o;
  std::uint32_t end = before(last);
  std::vector<Site> nested;
  for (const Site& s : sites) {
    if (in_r(s.op) != last) continue;
    if (s.op != last) nested.push_back(s);
    else if (s.use == Use::read) end = std::max(end, before(last) + 2);
  }
  if (nested.empty()) {
    out = join(out, {{from, end}});
  } else if (f_[last].code != Opcode::if_) {
    out = join(out, {{from, after(last)}});
  } else {
    out = join(out, {{from, before(last) + 2}});
    for (RegionId arm : f_[last].regions) {
      std::vector<Site> inside;
      for (const Site& s : nested)
        if (within(region(s.op), arm)) inside.push_back(s);
      if (!inside.empty()) walk(arm, start(arm), std::move(inside), out);
    }
  }
}

}  // namespace fluxion
