// Control flow of captured code: range, while_, if_, and the exits break_if, continue_if, return_if.
//
// Loops are range-for loops whose body C++ runs once while it is recorded. A native break or return out of one
// is noticed by the loop object's destructor and reported at the end of capture.
#pragma once
#include "fluxion/var.h"

namespace fluxion {
namespace detail {
/// Opens the body of a for; gives the value of its index.
FLUXION_RECORDS std::uint32_t open_for(std::uint32_t lo, std::uint32_t hi, std::uint32_t step, Loc at);
FLUXION_RECORDS void open_while(Loc at);                           // its condition
FLUXION_RECORDS void open_while_body(std::uint32_t cond, Loc at);  // ends the condition
FLUXION_RECORDS void close_loop();
FLUXION_RECORDS void abandon_loops(int open, int uncaught, Loc at);  // a loop object dies with open loops
FLUXION_RECORDS int uncaught();
FLUXION_RECORDS void open_then(std::uint32_t cond, Loc at);
FLUXION_RECORDS std::uint32_t close_then();  // emits the if, with an empty else
/// Goes into the else of `op` (`depth` ifs deep along the else arms), taking along what was recorded since.
FLUXION_RECORDS void open_else(std::uint32_t op, int depth);
FLUXION_RECORDS void close_else(int depth);
FLUXION_RECORDS void exit_if(Opcode kind, std::uint32_t cond, Loc at);

struct LoopEnd {};
class [[maybe_unused]] Round {  // what a while_ loop iterates over: nothing to see
 public:
  Round() {}
};

class LoopObject {
 public:
  explicit LoopObject(Loc at) : loc_(at), uncaught_(uncaught()) {}
  LoopObject(const LoopObject&) = delete;
  ~LoopObject() {
    if (open_) abandon_loops(open_, uncaught_, loc_);
  }

 protected:
  Loc loc_;
  int uncaught_;
  int open_ = 0;
};
}  // namespace detail

/// The loop of `range`; iterate over it once, with a range-for.
class Range : public detail::LoopObject {
 public:
  Range(Arg<int> lo, Arg<int> hi, Arg<int> step, Loc at) : LoopObject(at), lo_(lo.id), hi_(hi.id), step_(step.id) {}
  struct Iterator {
    Range& range;
    std::uint32_t index;
    bool done = false;
    Var<int> operator*() const { return {detail::Raw{index}, range.loc_}; }
    void operator++() {
      detail::close_loop();
      --range.open_;
      done = true;
    }
    bool operator!=(detail::LoopEnd) const { return !done; }
  };
  Iterator begin() {
    const auto i = detail::open_for(lo_, hi_, step_, loc_);
    ++open_;
    return {*this, i};
  }
  detail::LoopEnd end() const { return {}; }

 private:
  std::uint32_t lo_, hi_, step_;
};

/// 0, 1 .. n - 1.
inline Range range(Arg<int> n) { return {Arg<int>(0, n.loc), n, Arg<int>(1, n.loc), n.loc}; }
/// lo, lo + 1 .. hi - 1; nothing when hi <= lo.
inline Range range(Arg<int> lo, Arg<int> hi) { return {lo, hi, Arg<int>(1, lo.loc), lo.loc}; }
/// lo, lo + step .. up to, without, hi; a negative step counts down; a step of 0 runs nothing.
inline Range range(Arg<int> lo, Arg<int> hi, Arg<int> step) { return {lo, hi, step, lo.loc}; }

template <class F>
class While : public detail::LoopObject {
 public:
  While(const F& cond, Loc at) : LoopObject(at), cond_(cond) {}
  struct Iterator {
    While& loop;
    bool done = false;
    detail::Round operator*() const { return {}; }
    void operator++() {
      detail::close_loop();
      --loop.open_;
      done = true;
    }
    bool operator!=(detail::LoopEnd) const { return !done; }
  };
  Iterator begin() {
    detail::open_while(loc_);
    ++open_;
    detail::open_while_body(Arg<bool>(cond_(), loc_).id, loc_);
    return {*this};
  }
  detail::LoopEnd end() const { return {}; }

 private:
  F cond_;
};

/// for (auto _ : fx::while_([&]{ return c; })) { ... }
template <class F> While<F> while_(const F& cond, Loc at = Loc::here()) {
  static_assert(
      requires { cond(); },
      "while_ takes the condition as a lambda, to evaluate it each time: "
      "fx::while_([&]{ return c; })");
  return {cond, at};
}

/// The statement `if_(c, f).elif(d, g).else_(h)`.
class [[maybe_unused]] If {
 public:
  If(std::uint32_t op, int depth) : op_(op), depth_(depth) {}
  template <class F> void else_(F&& f) && {
    detail::open_else(op_, depth_);
    f();
    detail::close_else(depth_);
  }
  template <class F> If elif (Arg<bool> c, F&& f) && {
    detail::open_else(op_, depth_);
    detail::open_then(c.id, c.loc);
    f();
    detail::close_then();
    detail::close_else(depth_);
    return {op_, depth_ + 1};
  }

 private:
  std::uint32_t op_;
  int depth_;
};

template <class F> If if_(Arg<bool> c, F&& f) {
  detail::open_then(c.id, c.loc);
  f();
  return {detail::close_then(), 1};
}

/// The value `if_(c, f, g)`: what f or g returns; only that one runs.
template <class F, class G> auto if_(Arg<bool> c, F&& f, G&& g) {
  using A = std::remove_cvref_t<decltype(f())>;
  using B = std::remove_cvref_t<decltype(g())>;
  if constexpr (std::is_void_v<A>) {
    if_(c, f).else_(g);
  } else {
    using R = typename detail::Named<std::conditional_t<detail::HostNumber<A>, B, A>>::type;
    R out;
    if_(c, [&] { out = f(); }).else_([&] { out = g(); });
    return out;
  }
}

/// Leave the innermost loop where c holds.
inline void break_if(Arg<bool> c) { detail::exit_if(Opcode::break_if, c.id, c.loc); }
/// Start the next round of the innermost loop where c holds.
inline void continue_if(Arg<bool> c) { detail::exit_if(Opcode::continue_if, c.id, c.loc); }
/// Leave the kernel where c holds; also from a helper that the kernel calls.
inline void return_if(Arg<bool> c) { detail::exit_if(Opcode::return_if, c.id, c.loc); }

}  // namespace fluxion
