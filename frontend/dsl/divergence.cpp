// Conditions that are pure arithmetic on the index are worked out for every thread of the first group; see the header.
#include "divergence.h"

#include <fmt/format.h>

#include <optional>
#include <unordered_map>

#include "fluxion/error.h"
#include "fluxion/evaluate.h"

namespace fluxion {
namespace {

/// Values of one thread of group 0.
class Known {
 public:
  Known(const Function& f, int thread) : f_(f) {
    for (int a = f.domain_rank; a-- > 0;) {
      const int g = f.group[static_cast<std::size_t>(a)];
      index_[static_cast<std::size_t>(a)] = static_cast<std::uint64_t>(thread % g);
      thread /= g;
    }
  }
  std::optional<std::uint64_t> operator()(ValueId v, int depth = 0) {
    constexpr int kDeepest = 200;
    const Value& x = f_[v];
    if (x.kind == Value::Kind::constant) return x.bits;
    if (x.kind == Value::Kind::argument) return RegionId{x.owner} == f_.body ? std::optional(index_[x.slot]) : std::nullopt;
    if (x.kind != Value::Kind::result || depth > kDeepest || !x.type.is_scalar()) return std::nullopt;
    if (const auto it = known_.find(v.index); it != known_.end()) return it->second;
    return known_[v.index] = result(f_.ops[x.owner], depth);
  }

 private:
  const Function& f_;
  std::array<std::uint64_t, 3> index_{};
  std::unordered_map<std::uint32_t, std::optional<std::uint64_t>> known_;

  std::optional<std::uint64_t> result(const Op& op, int depth) {
    if (op.code == Opcode::group_index) return 0;
    if (!is_elementwise(op.code) && op.code != Opcode::convert && op.code != Opcode::bitcast) return std::nullopt;
    std::uint64_t x[3] = {};
    for (std::size_t k = 0; k < op.operands.size(); ++k) {
      const auto v = (*this)(op.operands[k], depth + 1);
      if (!v) return std::nullopt;
      x[k] = *v;
    }
    const DType operand = f_.type(op.operands[op.code == Opcode::select ? 1 : 0]).dtype();
    return evaluate_op(op.code, f_.type(op.results[0]).dtype(), operand, {x, op.operands.size()});
  }
};

class Search {
 public:
  explicit Search(const Function& f) : f_(f) {
    int threads = 1;
    for (int g : f.group) threads *= g ? g : 1;
    for (int t = 0; t < threads; ++t) known_.emplace_back(f, t);
  }
  void region(RegionId r) {
    for (OpId o : f_[r].ops) {
      const Op& op = f_[o];
      if (op.regions.empty()) continue;
      const OpId barrier = barrier_in(op);
      if (!barrier.valid()) continue;
      const char* what = op.code == Opcode::if_ ? "the condition" : "the number of rounds";
      int other = 0;
      if (op.code == Opcode::if_) other = differs(op.operands[0]);
      else if (op.code == Opcode::for_) other = std::max(differs(op.operands[0]), differs(op.operands[1]));
      else other = differs(f_.terminator(op.regions[0]).operands[0]);
      if (other > 0)
        throw KernelError(f_[barrier].loc,
                          fmt::format("kernel \"{}\": this barrier is not reached by all threads of a group: {} at {} is not the same "
                                      "for threads 0 and {} of it; move the barrier to where all threads come by",
                                      f_.name, what, to_string(op.loc), other));
      for (RegionId inner : op.regions) region(inner);
    }
  }

 private:
  const Function& f_;
  std::vector<Known> known_;

  OpId barrier_in(const Op& op) const {
    for (RegionId r : op.regions)
      for (OpId o : f_[r].ops) {
        if (f_[o].code == Opcode::barrier) return o;
        if (const OpId inner = barrier_in(f_[o]); inner.valid()) return inner;
      }
    return {};
  }
  /// The first thread for which v is not what it is for thread 0; 0: none, or not known.
  int differs(ValueId v) {
    const auto first = known_[0](v);
    if (!first) return 0;
    for (std::size_t t = 1; t < known_.size(); ++t)
      if (const auto mine = known_[t](v); mine && *mine != *first) return static_cast<int>(t);
    return 0;
  }
};

}  // namespace

void refuse_divergent_barriers(const Function& kernel) {
  if (!kernel.has_groups()) return;
  for (const Op& op : kernel.ops)
    if (op.code == Opcode::barrier) return Search(kernel).region(kernel.body);
}

}  // namespace fluxion
