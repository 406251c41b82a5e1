// What made a NaN or an infinity. While a kernel is traced, each value that is not finite knows the op that made it from
// finite operands (of a NaN: from operands that are no NaN), through memory, loops and calls. What never reaches an array, such as
// the arm that a select does not take, is nobody's concern; literals are not made by anybody.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "fluxion/error.h"
#include "fluxion/ir.h"

namespace fluxion {

/// Thrown for what a kernel left behind; a program that launched it adds where it was.
class TracedError : public KernelError {
  using KernelError::KernelError;
};

class Trace {
 public:
  Trace(const Function& kernel, const std::uint32_t& thread, bool inf) : kernel_(kernel), thread_(thread), inf_(inf) {}

  static bool is_nan(DType t, std::uint64_t bits);
  static bool is_odd(DType t, std::uint64_t bits);  // NaN or infinite

  /// By the ids of what made the operands, that of what made the result of an elementwise op, convert or bitcast on scalars.
  std::uint32_t computed(const Function& f, const Op& op, const std::vector<std::uint64_t>& bits, const std::vector<std::uint32_t>& made);
  /// The same where an op adds, or combines in another way, what it finds.
  std::uint32_t combined(const Op& op, DType t, std::uint64_t a, std::uint32_t made_a, std::uint64_t b, std::uint32_t made_b,
                         std::uint64_t result);
  /// `place`: how the element is written in messages.
  template <class Place> std::uint32_t loaded(const std::byte* p, DType t, std::uint64_t bits, const Op& op, const Place& place) {
    if (!is_odd(t, bits)) return 0;
    if (const auto at = at_.find(p); at != at_.end()) return at->second;
    before_.insert(p);
    Made m{&op, caller(), thread_, t, t, {}, 0, bits, 0, place()};
    return at_[p] = add(std::move(m));
  }
  /// What a host function gave for arguments that are no NaNs.
  std::uint32_t given(const Op& op, DType t, std::uint64_t bits) {
    return is_odd(t, bits) ? add({&op, caller(), thread_, t, t, {}, 0, bits, 0, {}}) : 0;
  }
  /// Of a scalar parameter; before anything else.
  std::uint32_t scalar(const std::string& name, DType t, std::uint64_t bits);
  void stores(const std::byte* p, DType t, std::uint64_t old, std::uint64_t now, std::uint32_t made);

  std::vector<Loc> callers;  // calls that are running

  /// An array that the kernel writes and its caller sees.
  struct Written {
    std::string name;
    const std::byte* data;
    std::array<std::int64_t, 3> extent;
    int rank;
    const Layout* layout;
  };
  /// Throws TracedError if something was left in one of them that an op has made. `last`: or that was passed.
  void check(const std::vector<Written>& arrays, const std::array<std::int64_t, 3>& domain, bool last);

 private:
  struct Made {
    const Op* op;  // null: a scalar parameter
    Loc caller;
    std::uint32_t thread;
    DType type, result_type;
    std::array<std::uint64_t, 3> x;
    std::uint8_t arity;
    std::uint64_t result;
    std::uint32_t because;  // what made an infinite operand
    std::string passed;     // the element that held it from the start
  };
  static constexpr std::size_t kMost = 1 << 20;
  const Function& kernel_;
  const std::uint32_t& thread_;
  const bool inf_;
  std::vector<Made> list_;                                  // ids are places + 1; 0: nobody knows, or a literal
  std::unordered_map<const std::byte*, std::uint32_t> at_;  // of what is odd in memory
  std::unordered_set<const std::byte*> before_;             // was so when the launch began
  std::vector<const std::byte*> fresh_;                     // stored since the last check

  std::size_t scalars_ = 0;  // how many of the list are those of scalar parameters
  bool full_ = false;

  Loc loc_of(const Made& m) const { return m.op ? m.op->loc : kernel_.loc; }
  Loc caller() const { return callers.empty() ? Loc{} : callers.back(); }
  std::uint32_t add(Made m) {
    full_ |= list_.size() == kMost;
    if (list_.size() == kMost) return 0;
    list_.push_back(std::move(m));
    return static_cast<std::uint32_t>(list_.size());
  }
  std::string describe(const Made& m) const;
  /// The element of one of the arrays at `p` if that is to be reported, or nothing.
  std::string written(const std::vector<Written>& arrays, const std::byte* p) const;
  void check_lost(const std::vector<Written>& arrays) const;
  std::string point(std::uint32_t thread, const std::array<std::int64_t, 3>& domain) const;
};

/// Where in a program: the loops that run, outermost first, and how many launches there were.
struct Turns {
  struct Turn {
    const Op* loop;
    std::int64_t step;
  };
  std::vector<Turn> loops;
  std::int64_t launches = 0;

  /// `at`: where the program launches it.
  TracedError placed(const TracedError& e, const std::string& program, Loc at) const;
  struct Scope {
    Scope(Turns& t, const Op& loop, std::int64_t step) : turns(t) { turns.loops.push_back({&loop, step}); }
    ~Scope() { turns.loops.pop_back(); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    Turns& turns;
  };
};

}  // namespace fluxion
