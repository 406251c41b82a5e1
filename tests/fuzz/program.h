// Random structured kernels: their syntax tree, and what is fixed about them.
//
// Every program is one kernel over `threads` points with the same parameters, so that only its body varies:
//   x  In f[7]      read at any index          p  In i32[7]    likewise
//   y  Out f[n]     its own element, stored first                z  InOut f[2n], q  InOut i32[2n]   own pairs
//   w  InOut f[4]   read by all, or accumulated by all           g  Accum f[3]
//   s  InOut {f, f}[n], own element, each leaf by itself         h  In f16[5]
//   a  a float scalar, m  an integer scalar
// Some have groups, with two shared arrays of an element for each thread. From barrier to barrier each of these is written
// by every thread at its own place, or read by all, or accumulated by all.
// Branches depend on integers and on floats made by exact ops only, so that every backend takes the same path.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "fluxion/op.h"

namespace fluxion::fuzz {

/// `exact` is a float that only exact ops have touched; it may stand where a `real` is wanted.
enum class Kind : std::uint8_t { exact, real, integer, boolean };
constexpr bool is_real(Kind k) { return k <= Kind::real; }

enum MemoryName {
  kX,
  kP,
  kY,
  kZ,
  kQ,
  kW,
  kG,
  kS0,
  kS1,
  kH,
  kMemories,  // s is two names: its leaves
  kOwn0 = kMemories,
  kOwn1,
  kShared0,
  kShared1,  // memory of a group: the thread's own element of it, or any
  kFirstLocal = 16
};
constexpr bool is_own(int memory) { return memory == kOwn0 || memory == kOwn1; }
constexpr bool is_shared(int memory) { return memory >= kOwn0 && memory <= kShared1; }
constexpr int which_shared(int memory) { return (memory - kOwn0) % 2; }
inline constexpr int kReadLength = 7, kSharedLength = 4, kSums = 3, kHalves = 5, kLocalLength = 4;

struct Expr {
  enum class Form : std::uint8_t { literal, variable, thread, scalar, extent, load, op, to_real, to_int, both, either, call };
  Form form = Form::literal;
  Kind kind = Kind::integer;
  Opcode op = Opcode::add;
  double number = 0;         // literals; call: which result
  int id = 0;                // variable, scalar, memory or function
  std::vector<Expr> kids{};  // load: the raw index; call: the arguments
};

struct Stmt {
  enum class Form : std::uint8_t {
    let,         // id: a new variable, = e[0]
    choose,      // id: a new variable without a value, then if e[0] it is e[1] else e[2]
    set,         // id = e[0]
    swap,        // id and other change places
    call,        // id and other: new variables, both results of the call e[0]
    local,       // id: a new local array
    store,       // memory id at e[0] = e[1]
    accumulate,  // memory id at e[0] += e[1]; with `other` as an atomic
    branch,      // if e[0] then a else b
    loop,        // for id from e[0] to e[1] by e[2]: a
    repeat,      // while e[0]: a
    leave,       // break if e[0]
    skip,        // continue if e[0]
    stop,        // return if e[0]
    // What the threads of a group do together; of these a branch may contain subgroups, rounds all of them.
    barrier,
    subgroup,  // id: a new variable, = the Subgroup op `other` of e[0], with the lane e[1]
    rounds,    // for id from 0 to e[0], which is the same in all threads: a
  };
  Form form = Form::let;
  Kind kind = Kind::integer;  // of the variable
  int id = 0;
  std::vector<Expr> e{};
  std::vector<Stmt> a{}, b{};
  int other = 0;
};

/// A device function: numbers to one or two numbers. Variables 0, 1, ... are its parameters.
struct Device {
  enum class Rules : std::uint8_t { none, vjp, jvp, both };
  std::vector<Kind> takes;
  std::vector<Stmt> body;
  std::vector<Expr> results;
  int variables = 0;
  bool singular = false;      // at 0 it may be infinite, and is called under a mask only
  Rules rules = Rules::none;  // which rules it has: they give the derivative of another function of its signature
  int derivative_of = -1;
};

struct Program {
  std::uint64_t seed = 0;
  DType real = DType::f64;
  bool w_accumulates = false;
  bool halves = false;  // h is read: its derivatives are f32
  int group = 0;        // threads of a group; 0: none
  int steps = 1;        // launches of the program around the kernel
  int variables = 0;
  std::vector<Device> functions;  // each may call those before it
  bool keep_calls = false;        // no call is inlined
  std::vector<Stmt> body;
};

Program generate(std::uint64_t seed, DType real);
/// Every name is declared before its use and exits are inside loops.
bool valid(const Program& p);
std::string print(const Program& p);
/// Smaller programs that could fail the same way, the smallest first.
std::vector<Program> reductions(const Program& p);
int size_of(const Program& p);

/// About `n`, whole groups.
inline int threads_of(const Program& p, int n) { return p.group ? p.group * std::max(1, (n + 1) / p.group) : n; }
/// A barrier, a subgroup op, or around one.
inline bool meets(const Stmt& s) {
  const auto any = [](const std::vector<Stmt>& block) { return std::any_of(block.begin(), block.end(), meets); };
  return s.form >= Stmt::Form::barrier || (s.form == Stmt::Form::branch && (any(s.a) || any(s.b)));
}

}  // namespace fluxion::fuzz
