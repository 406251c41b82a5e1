// Threads in groups: a region runs for a set of threads of the group. Stretches without barriers and subgroup ops run
// thread by thread; around those the threads go through `if`s and loops together, round by round, so that "all threads of
// the group" and "the active threads of the subgroup" are known where they are asked for.
//
// A round of a `for` is the one at the same distance from `lo` in every thread, upwards from 0, downwards from the
// largest: threads with fewer rounds join late. So the reverse of a loop brings together the threads that met in it.
#pragma once
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "evaluate_plan.h"
#include "fluxion/error.h"

namespace fluxion {

/// `Machine` is the evaluator's; the state of the thread that runs is swapped into it.
template <class Machine>
class Group {
 public:
  explicit Group(Machine& m) : m_(m), f_(m.f_), plan_(m.plan_), base_(m.bits_), meets_(f_.ops.size()) { find_meets(f_.body); }

  /// All groups of a launch over `domain`, in the order in which `order` (a permutation of the threads, or empty) comes to them.
  void launch(const std::array<std::int64_t, 3>& domain, const std::vector<std::uint32_t>& order) {
    const int rank = f_.domain_rank;
    std::int64_t threads = 1, size = 1, groups = 1;
    for (int a = 0; a < rank; ++a) {
      const std::int64_t g = f_.group[static_cast<std::size_t>(a)], n = domain[static_cast<std::size_t>(a)];
      if (n % g)
        throw ShapeError(f_.loc, fmt::format("kernel \"{}\": axis {} of the launch has {} points, which groups of {} do not divide; "
                                             "launch over {} and leave out the rest with an fx::if_",
                                             f_.name, a, n, g, (n + g - 1) / g * g));
      threads *= n, size *= g, groups *= n / g;
    }
    std::vector<std::vector<Place>> members(static_cast<std::size_t>(groups));
    std::vector<std::uint32_t> sequence;
    for (std::int64_t t = 0; t < threads; ++t) {
      const std::uint32_t thread = order.empty() ? static_cast<std::uint32_t>(t) : order.at(static_cast<std::size_t>(t));
      Place p{thread};
      std::array<std::int64_t, 3> at{};
      std::int64_t rest = thread;
      for (int a = rank; a-- > 0;)
        at[static_cast<std::size_t>(a)] = rest % domain[static_cast<std::size_t>(a)], rest /= domain[static_cast<std::size_t>(a)];
      std::int64_t group = 0;
      for (std::size_t a = 0; a < static_cast<std::size_t>(rank); ++a) {
        const std::int64_t g = f_.group[a];
        group = group * (domain[a] / g) + at[a] / g;
        p.lane = static_cast<std::uint32_t>(p.lane * g + at[a] % g);
        p.index[a] = at[a];
      }
      auto& list = members[static_cast<std::size_t>(group)];
      if (list.empty()) sequence.push_back(static_cast<std::uint32_t>(group));
      list.push_back(p);
    }
    threads_.resize(static_cast<std::size_t>(size));
    for (Thread& t : threads_) t.objects.resize(m_.objects_.size()), t.locals = m_.local_bytes_;
    Active all(threads_.size());
    std::iota(all.begin(), all.end(), 0u);
    for (const std::uint32_t g : sequence) {
      start(g, members[g]);
      run(f_.body, all);
    }
  }

 private:
  using Active = std::vector<std::uint32_t>;  // threads by their place in the order of running
  struct Place {
    std::uint32_t thread, lane = 0;  // of the launch; of the group
    std::array<std::int64_t, 3> index{};
  };
  struct Thread {
    Place place{};
    std::vector<std::uint64_t> bits;
    std::vector<std::uint32_t> made;  // while tracing
    std::vector<EvalValue> objects;
    std::vector<std::vector<std::byte>> locals;
  };
  using Items = std::vector<EvalValue>;

  Machine& m_;
  const Function& f_;
  const Plan& plan_;
  const std::vector<std::uint64_t> base_;  // constants and scalars
  std::vector<char> meets_;                // by op: a barrier or subgroup op, or around one
  std::vector<Thread> threads_;
  std::vector<Loc> parted_;  // where the threads went different ways on the way to here

  bool find_meets(RegionId r) {
    bool any = false;
    for (OpId o : f_[r].ops) {
      bool mine = f_[o].code == Opcode::barrier || f_[o].code == Opcode::subgroup;
      for (RegionId inner : f_[o].regions) mine |= find_meets(inner);
      meets_[o.index] = mine;
      any |= mine;
    }
    return any;
  }

  void start(std::uint32_t group, const std::vector<Place>& places) {
    const auto& first = places.front();
    for (std::size_t a = 0; a < 3; ++a) m_.group_[a] = f_.group[a] ? first.index[a] / f_.group[a] : 0;
    m_.group_number_ = group;
    ++m_.phase_;
    for (std::size_t m = 0; m < f_.memories.size(); ++m)
      if (f_.memories[m].space == Memory::Space::shared) std::fill(m_.local_bytes_[m].begin(), m_.local_bytes_[m].end(), std::byte{0});
    const Values& index = f_[f_.body].arguments;
    for (std::size_t t = 0; t < threads_.size(); ++t) {
      threads_[t].place = places[t];
      threads_[t].bits = base_;
      threads_[t].made = m_.made_;
      for (std::size_t a = 0; a < index.size(); ++a) threads_[t].bits[index[a].index] = static_cast<std::uint64_t>(places[t].index[a]);
    }
  }
  /// Runs `body` as thread t.
  template <class F> void as(std::uint32_t t, const F& body) {
    Thread& thread = threads_[t];
    swap(thread);
    m_.thread_ = thread.place.thread;
    body();
    swap(thread);
  }
  void swap(Thread& t) {
    std::swap(m_.bits_, t.bits);
    std::swap(m_.made_, t.made);
    std::swap(m_.objects_, t.objects);
    for (std::size_t m = 0; m < f_.memories.size(); ++m) {
      if (f_.memories[m].space != Memory::Space::local) continue;
      std::swap(m_.local_bytes_[m], t.locals[m]);
      m_.access_[m].data = m_.local_bytes_[m].data();
    }
  }
  std::uint64_t& bits(std::uint32_t t, ValueId v) { return threads_[t].bits[v.index]; }
  std::int32_t as_i32(std::uint32_t t, ValueId v) { return static_cast<std::int32_t>(bits(t, v)); }

  void run(RegionId r, const Active& active) {
    if (active.empty()) return;
    for (std::uint32_t t : active) as(t, [&] { m_.clear_locals(r); });
    const std::vector<Step>& steps = plan_.steps[r.index];
    for (std::size_t i = 0; i < steps.size();) {
      std::size_t end = i;
      while (end < steps.size() && !meets_[steps[end].op.index]) ++end;
      if (end > i)
        for (std::uint32_t t : active)
          as(t, [&] {
            for (std::size_t k = i; k < end; ++k) m_.execute(steps[k]);
          });
      i = end;
      if (i < steps.size()) meet(steps[i++], active);
    }
  }

  void meet(const Step& s, const Active& active) {
    const Op& op = f_[s.op];
    switch (s.code) {
      case Opcode::barrier: return barrier(op, active);
      case Opcode::subgroup: return subgroup(s, op, active);
      case Opcode::if_: {
        Active arms[2];
        for (std::uint32_t t : active) arms[bits(t, op.operands[0]) ? 0 : 1].push_back(t);
        const bool parts = !arms[0].empty() && !arms[1].empty();
        if (parts) parted_.push_back(op.loc);
        for (int k : {0, 1}) {
          run(op.regions[static_cast<std::size_t>(k)], arms[k]);
          for (std::uint32_t t : arms[k]) as(t, [&] { m_.assign(op.results, f_[op.regions[static_cast<std::size_t>(k)]].ops.back(), 0); });
        }
        if (parts) parted_.pop_back();
        return;
      }
      case Opcode::for_: return loop_for(s.op, active);
      case Opcode::while_: return loop_while(s.op, active);
      default: throw Bug(op.loc, fmt::format("the evaluator does not run {} for a group", name_of(s.code)));
    }
  }

  void barrier(const Op& op, const Active& active) {
    if (active.size() != threads_.size()) {
      std::vector<char> here(threads_.size());
      for (std::uint32_t t : active) here[t] = 1;
      const auto missing = static_cast<std::size_t>(std::find(here.begin(), here.end(), 0) - here.begin());
      throw KernelError(op.loc,
                        fmt::format("kernel \"{}\": thread {} reaches this barrier and thread {} of its group does not; they part at {}; "
                                    "move the barrier to where all threads of a group come by",
                                    f_.name, threads_[active.front()].place.thread, threads_[missing].place.thread,
                                    parted_.empty() ? std::string("a branch") : to_string(parted_.front())));
    }
    ++m_.phase_;
  }

  void loop_for(OpId id, const Active& active) {
    const Op& op = f_[id];
    const RegionId body = op.regions[0];
    const OpId yield = f_[body].ops.back();
    const std::span<const ValueId> args = std::span(f_[body].arguments).subspan(1);
    const std::size_t n = args.size(), collected = op.results.size() - n;
    const std::span<const ValueId> results = std::span(op.results).first(n);
    std::vector<std::int64_t> trips(threads_.size());
    std::vector<std::vector<std::shared_ptr<Items>>> seqs(threads_.size());
    std::int64_t most = 0, least = INT64_MAX;
    for (std::uint32_t t : active) {
      trips[t] = std::max<std::int64_t>(std::int64_t{as_i32(t, op.operands[1])} - as_i32(t, op.operands[0]), 0);
      most = std::max(most, trips[t]);
      least = std::min(least, trips[t]);
      seqs[t].resize(collected);
      for (auto& q : seqs[t]) q = std::make_shared<Items>(static_cast<std::size_t>(trips[t]));
      as(t, [&] { m_.assign(trips[t] == 0 ? results : args, id, 2); });
    }
    if (most != least) parted_.push_back(op.loc);
    for (std::int64_t k = 0; k < most; ++k) {
      const std::int64_t position = op.down ? most - 1 - k : k;
      Active now;
      for (std::uint32_t t : active)
        if (position < trips[t]) now.push_back(t);
      for (std::uint32_t t : now) bits(t, f_[body].arguments[0]) = static_cast<std::uint32_t>(as_i32(t, op.operands[0]) + position);
      run(body, now);
      for (std::uint32_t t : now)
        as(t, [&] {
          for (std::size_t c = 0; c < collected; ++c)
            (*seqs[t][c])[static_cast<std::size_t>(position)] = m_.copy(f_[yield].operands[n + c]);
          m_.assign((op.down ? position == 0 : position + 1 == trips[t]) ? results : args, yield, 0);
        });
    }
    if (most != least) parted_.pop_back();
    for (std::uint32_t t : active)
      for (std::size_t c = 0; c < collected; ++c) threads_[t].objects[op.results[n + c].index].seq = std::move(seqs[t][c]);
  }

  void loop_while(OpId id, const Active& active) {
    const Op& op = f_[id];
    const RegionId cond = op.regions[0], body = op.regions[1];
    const OpId cond_yield = f_[cond].ops.back(), body_yield = f_[body].ops.back();
    const std::size_t n = op.operands.size(), collected = op.results.size() - n - 1;
    std::vector<std::vector<std::shared_ptr<Items>>> seqs(threads_.size());
    for (std::uint32_t t : active) {
      seqs[t].resize(collected);
      for (auto& q : seqs[t]) q = std::make_shared<Items>();
      as(t, [&] { m_.assign(f_[cond].arguments, id, 0); });
    }
    Active now = active;
    bool parts = false;
    for (std::uint32_t trip = 0; !now.empty(); ++trip) {
      run(cond, now);
      Active on;
      for (std::uint32_t t : now) {
        if (bits(t, f_[cond_yield].operands[0])) {
          on.push_back(t);
          continue;
        }
        as(t, [&] { m_.assign(std::span(op.results).first(n), cond_yield, 1); });
        for (std::size_t c = 0; c < collected; ++c) threads_[t].objects[op.results[n + c].index].seq = std::move(seqs[t][c]);
        bits(t, op.results.back()) = trip;
      }
      if (!on.empty() && on.size() != now.size() && !parts) parted_.push_back(op.loc), parts = true;
      now = std::move(on);
      for (std::uint32_t t : now) as(t, [&] { m_.assign(f_[body].arguments, cond_yield, 1); });
      run(body, now);
      for (std::uint32_t t : now)
        as(t, [&] {
          for (std::size_t c = 0; c < collected; ++c) seqs[t][c]->push_back(m_.copy(f_[body_yield].operands[n + c]));
          m_.assign(f_[cond].arguments, body_yield, 0);
        });
    }
    if (parts) parted_.pop_back();
  }

  void subgroup(const Step& s, const Op& op, const Active& active) {
    Active in_order = active;
    std::sort(in_order.begin(), in_order.end(),
              [&](std::uint32_t a, std::uint32_t b) { return threads_[a].place.lane < threads_[b].place.lane; });
    const auto kind = static_cast<Subgroup>(op.kind);
    constexpr auto kSize = static_cast<std::uint32_t>(kSubgroupSize);
    for (std::size_t from = 0; from < in_order.size();) {
      const std::uint32_t number = threads_[in_order[from]].place.lane / kSize;
      std::size_t to = from;
      while (to < in_order.size() && threads_[in_order[to]].place.lane / kSize == number) ++to;
      subgroup(kind, s, op, std::span(in_order).subspan(from, to - from));
      from = to;
    }
  }
  /// What is not finite goes back to the first operand that is not.
  void trace(const Step& s, const Op& op, std::span<const std::uint32_t> active, const std::vector<std::uint64_t>& out) {
    for (std::size_t i = 0; i < active.size(); ++i) {
      std::uint32_t made = 0;
      const ValueId v = op.operands[0];
      for (std::uint32_t t : active)
        if (!made && m_.trace_->is_odd(s.from, bits(t, v))) made = threads_[t].made[v.index];
      const std::uint64_t own = bits(active[i], v);
      threads_[active[i]].made[op.results[0].index] =
          m_.trace_->is_odd(s.from, own) || made ? made : m_.trace_->combined(op, s.from, own, 0, own, 0, out[i]);
    }
  }
  void subgroup(Subgroup kind, const Step& s, const Op& op, std::span<const std::uint32_t> active) {
    const auto lane = [&](std::uint32_t t) { return static_cast<std::int32_t>(threads_[t].place.lane % kSubgroupSize); };
    const auto combine = [&](Opcode with, std::uint64_t a, std::uint64_t b) {
      const std::uint64_t x[3] = {a, b, 0};
      return scalar_op(with, s.from)(x);
    };
    std::vector<std::uint64_t> out(active.size());
    if (kind == Subgroup::shuffle || kind == Subgroup::scatter_add) {
      for (std::size_t i = 0; i < active.size(); ++i)
        for (std::size_t j = 0; j < active.size(); ++j) {
          const bool shuffle = kind == Subgroup::shuffle;
          if (as_i32(active[shuffle ? i : j], op.operands[1]) != lane(active[shuffle ? j : i])) continue;
          const std::uint64_t v = bits(active[j], op.operands[0]);
          out[i] = shuffle ? v : add_bits(s.from, out[i], v);
        }
    } else {
      const std::size_t n = active.size();
      const auto nth = [&](std::size_t k) { return kind == Subgroup::scan_add_back ? n - 1 - k : k; };
      std::uint64_t sum = bits(active[nth(0)], op.operands[0]);
      out[nth(0)] = sum;
      for (std::size_t k = 1; k < n; ++k) {
        const std::size_t i = nth(k);
        const std::uint64_t v = bits(active[i], op.operands[0]);
        switch (kind) {
          case Subgroup::min: sum = combine(Opcode::min, sum, v); break;
          case Subgroup::max: sum = combine(Opcode::max, sum, v); break;
          case Subgroup::bit_and: sum &= v; break;
          case Subgroup::bit_or: sum |= v; break;
          case Subgroup::bit_xor: sum ^= v; break;
          default: sum = add_bits(s.from, sum, v);
        }
        out[i] = sum;
      }
      if (kind != Subgroup::scan_add && kind != Subgroup::scan_add_back) std::fill(out.begin(), out.end(), sum);
    }
    if (m_.trace_) trace(s, op, active, out);
    for (std::size_t i = 0; i < active.size(); ++i) bits(active[i], op.results[0]) = out[i];
  }
};

}  // namespace fluxion
