// The intermediate representation: structured SSA, the same for kernels, device functions and programs.
//
// A Function owns everything by value and names it by index. A Region is a list of ops that ends with a
// `yield`; there are no phis and no gotos, values flow in as region arguments and out as yields. A value may
// be used in the region that defines it and in regions nested in that one.
//
// Meaning (docs/ir.md has the whole text)
//   integers wrap; x / 0 = x % 0 = 0; shift counts are taken modulo the width; float -> int saturates, NaN -> 0;
//   min and max return the operand that is not NaN; numbers below FLT_MIN / DBL_MIN may be flushed to 0;
//   f16 and bf16 exist in memory and as operands of `convert` only; nothing reassociates or contracts
//   behind the IR's back (fma is an op of its own).
//
// The three kinds of function
//   fn       scalar parameters; the body yields its results. Pure but for print and check.
//   kernel   memory and scalar parameters; the body runs once for each point of a launch domain of rank
//            1..3; its region arguments are the point's indices, i32, slowest axis first. Yields nothing.
//   program  array (value) and scalar parameters; the body yields the final version of each Out, InOut
//            and Accum parameter in order, then the values that the program returns. An Out has no value on entry:
//            reading its parameter value before a launch has written it is an error.
//
// Structural ops: operands; regions; results
//   load       memory m, leaf l: idx...                       -> leaf dtype
//   store      memory m, leaf l: idx..., v
//   accumulate memory m, leaf l: idx..., v                    m[idx].l += v; order unspecified across threads
//   atomic     kind k, memory m, leaf l: idx..., v            -> the old m[idx].l, which becomes k(old, v) at once;
//              compare_exchange takes (expected, v): v is stored where old == expected
//   extent     memory m, axis l                               -> i32
//   domain     axis l                                         -> i32, the launch extent
//   if_        cond; then, else                               -> what both arms yield
//   for_       lo, hi, init...; body(i, carry...)             body yields (carry..., collected...)
//                                                             -> final carry..., one seq per collected value
//              i is i32 and runs lo, lo+1 .. hi-1, or hi-1 .. lo when `down`. A seq holds what was collected at
//              i at position i - lo, in either direction. hi <= lo runs nothing and gives empty seqs.
//   while_     init...; cond(carry...), body(carry...)        cond yields (bool, carry...): those go on to the body
//              (types as init), which yields (carry..., collected...)
//                                                             -> carry... as cond left them, seqs, trip count i32
//   yield      v...                                           last op of every region, nowhere else
//   call       callee f: its parameters in order              -> its results. f is a fn; in a program it may be a
//              program: arrays as for launch (an Out nothing), results the new versions, then what f returns.
//              Calling does not inline: differentiation maps a call to a call of the derivative (or of f's rule).
//   group_index  axis l                                       -> i32, the same for all threads of a group
//   barrier    all threads of the group, in uniform control flow; orders their accesses to shared memory and parameters
//   subgroup   kind k: v[, lane]                              -> per thread. add min max and or xor: over the active
//              threads of the subgroup; scan_add: over those up to this thread, scan_add_back: from it on; shuffle: v of thread `lane` (0..31) of the
//              subgroup, 0 if that is not active; scatter_add: the sum of v of the active threads whose `lane` is this thread
//   seq_get    s, i -> element; also of an array value of one axis and scalar elements
//   seq_set s, i, v -> s      seq_add_at s, i, v -> s     seq_len s -> i32
//   zeros      seq type: n; array type: nothing               -> zeros of the result type
//   launch     callee f: domain extents (f.domain_rank of them, i32), then for each parameter of f in order: a
//              scalar its value, an In the array, an InOut or Accum the old version, an Out nothing
//                                                             -> new versions of Out, InOut, Accum in order
//   print      text t: v...   host effect; "{}" stands for a value
//   check      text t: cond, v...   an error with the text when cond is false
//   seq and array values also go through elementwise ops (add, mul, ...), position by position.
//
// Groups: a kernel with `group` set runs in groups of that many threads along each axis; the launch extents are multiples of
// it. Memory of space `shared` is made anew, zeros, for each group. Thread of a group: index - group_index * group.
//
// Rules: a fn, kernel or program may carry its own derivatives (Rules). Their signatures are those of ad.h for all of its float
// parameters; the vjp of a fn or program may take what it returned too, after the primals. A program with rules has In arrays
// and scalars only, and its vjp rule returns the gradients (of a scalar an array of one element). Transforms use rules instead of
// the body; a function with rules is inlined after differentiation only. A call of a function that
// stands_in(), whose body is not meant to run, is inside a rule a call of the program with rules that has the same `self`.
//
// External: a fn may stand for a host function (External). Calls call that; the body never runs and is there for those who ask what
// depends on what. Only rules give it a derivative. It is called for active threads only. A kernel that stands for one calls it once.
//
// Scratch: a transform may append memory parameters that the user does not pass (Memory::scratch). They come
// last, and whoever launches supplies for each a fresh buffer with the shape of parameter `like` and the
// scratch's own element: role inout starts as a copy of `like` (same layout), or as zeros (Memory::zeros), role out with
// any contents. Afterwards its contents are added to the Accum parameter `into`, or nobody reads them. A `launch` op passes
// them like any other parameter: an inout takes the value passed for `like`, or zeros, as its old version, an out
// nothing; who writes the op adds the new version to that of `into`. Under differentiation the ways to start and to end
// exchange places: a copy is added back, zeros are dropped.
//
// Before: kernels that whoever launches a kernel runs first, in order and over the same domain, on its parameters and on work
// arrays of integers, which start as zeros. A scratch parameter of role `in` holds a work array as they left it (Memory::work). A
// `launch` op passes work arrays like others: who writes it launches those kernels too.
//
// Memory form: what the buffer plan makes of a program; no array and no seq value is left (docs/ir.md). The arrays
// are memories: a memory parameter for each array parameter and, after those, one for each returned value; and
// `buffer`s, the program's own. A buffer with `records` is a stack of arrays of one shape, emptied on entry of its
// scope; whoever names it gives the record, an i32. Scalars stay values. `load` and `store` work on buffers: the
// record (if the buffer has records), then an index for each axis of `rank` (none for rank 0).
//   buffer_alloc  buffers {m}: n                -> i32, the first of n records pushed onto m, contents undefined
//   buffer_copy   buffers {to, from}: [record of to], [record of from]
//   buffer_zero   buffers {m}: [first record, number of records]
//   run           callee f, buffers {one for each memory parameter of f}: domain extents, then for each parameter
//                 of f in order: a scalar its value, a memory its record if its buffer has records, else nothing
#pragma once
#include <array>
#include <bit>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fluxion/layout.h"
#include "fluxion/op.h"

namespace fluxion {

template <class Tag>
struct Id {
  std::uint32_t index = ~0u;
  constexpr bool valid() const { return index != ~0u; }
  constexpr bool operator==(const Id&) const = default;
  constexpr auto operator<=>(const Id&) const = default;
};
using ValueId = Id<struct ValueTag>;
using OpId = Id<struct OpTag>;
using RegionId = Id<struct RegionTag>;
using MemoryId = Id<struct MemoryTag>;
using Values = std::vector<ValueId>;

/// A scalar; an array of known shape (program level); or a sequence of those.
struct Type {
  LayoutId element = DType::f32;        // a bare scalar unless this is an array (or a seq of arrays)
  std::uint8_t seq = 0;                 // how many times `seq<...>`
  std::int8_t rank = -1;                // -1: scalar, 1..3: array
  std::array<std::int64_t, 3> shape{};  // first `rank` entries, slowest axis first; the rest 0

  constexpr Type() = default;
  constexpr Type(DType t) : element(t) {}
  FLUXION_API static Type array(LayoutId element, std::span<const std::int64_t> shape);
  constexpr bool is_scalar() const { return seq == 0 && rank < 0; }
  constexpr bool is_array() const { return seq == 0 && rank > 0; }
  constexpr bool is_seq() const { return seq > 0; }
  constexpr Type as_seq() const {
    Type t = *this;
    ++t.seq;
    return t;
  }
  constexpr Type item() const {
    Type t = *this;
    --t.seq;
    return t;
  }  // needs is_seq()
  DType dtype() const { return element.scalar(); }  // needs a scalar element
  FLUXION_API std::int64_t count() const;           // elements of an array; 1 for scalars
  constexpr bool operator==(const Type&) const = default;
};
FLUXION_API std::string to_string(const Type& t);
/// True when some leaf is floating point: the value has an adjoint.
FLUXION_API bool has_float(const Type& t);

struct Value {
  enum class Kind : std::uint8_t { result, argument, constant, parameter };
  Type type;
  Kind kind = Kind::result;
  std::uint32_t owner = 0;  // op index (result), region index (argument), parameter index (parameter)
  std::uint32_t slot = 0;   // which result or argument of the owner
  std::uint64_t bits = 0;   // constant: the value's bits, zero-extended (f32 in the low half)
};

/// Op::kind of a for_ of a program: what a reverse sweep keeps of its iterations.
enum class Keep : std::uint8_t {
  all,     // what the reverse of each needs
  starts,  // what each starts from: it is run again before it is reversed
  once,    // reversed already, by a schedule that has no reverse of its own
};

struct Op {
  Opcode code = Opcode::yield;
  bool down = false;              // for_: runs from hi - 1 to lo
  std::uint16_t leaf = 0;         // load, store, accumulate, atomic: leaf; extent, domain, group_index: axis; for_: 0 or a number
  MemoryId memory{};              // load, store, accumulate, atomic, extent
  std::uint8_t kind = 0;          // atomic, subgroup: an Atomic or Subgroup; for_: a Keep
  std::uint32_t ref = ~0u;        // launch, run, call: index into callees; print, check: index into texts
  std::vector<MemoryId> buffers;  // buffer_alloc, buffer_copy, buffer_zero, run
  Values operands;
  std::vector<RegionId> regions;
  Values results;
  Loc loc;
};

struct Region {
  Values arguments;
  std::vector<OpId> ops;  // the last one is the yield
};

/// Something a kernel loads from and stores to.
struct Memory {
  enum class Space : std::uint8_t { parameter, local, buffer, shared };
  Space space = Space::parameter;
  Role role = Role::in;  // of parameters; local and shared ones are inout
  LayoutId element = DType::f32;
  std::int8_t rank = 1;
  std::int64_t length = 0;  // local, shared: number of elements (rank 1), zero-filled on entry of its scope (shared: the body)
  RegionId scope{};         // locals: the region whose entry makes it anew; records: the one that empties it
  bool records = false;     // buffers: a stack of arrays
  bool scratch = false;     // parameters: working space, see the head
  bool zeros = false;       // scratch of role inout: starts as zeros, not as a copy
  int like = -1;            // scratch: the index of the memory parameter that it has the shape of
  int work = -1;            // scratch of role in: the work array that it is, see Before
  int into = -1;            // scratch: the index of the Accum parameter that it is added to afterwards
  std::array<std::int64_t, 3> shape{1, 1, 1};  // memory form: the extents; 1 beyond `rank` (0..3)
  std::string name;
  Loc loc;
};

struct Parameter {
  enum class Kind : std::uint8_t { memory, scalar, array };
  Kind kind = Kind::scalar;
  Role role = Role::in;  // arrays and memories; scalars are `in`
  MemoryId memory{};     // Kind::memory
  ValueId value{};       // Kind::scalar, Kind::array
  std::string name;
};

struct Function;
/// Derivatives that take the place of those made from the body; null: made from the body.
struct Rules {
  std::shared_ptr<const Function> vjp, jvp;
  bool operator==(const Rules&) const = default;
};

/// What runs before a kernel: see the head.
struct Before {
  struct Array {
    LayoutId element;
    int like;
  };  // of the shape of parameter `like`
  struct Stage {
    std::shared_ptr<const Function> kernel;
    std::vector<int> arguments;  // by its parameters: a parameter of the function, or work array -1 - k
  };
  std::vector<Array> arrays;
  std::vector<Stage> stages;
};
struct External;  // external_code.h

struct Function {
  enum class Kind : std::uint8_t { fn, kernel, program };
  Kind kind = Kind::fn;
  std::string name;
  Loc loc;
  int domain_rank = 0;         // kernels: 1..3
  std::array<int, 3> group{};  // kernels: threads of a group along each axis of the domain; zeros: no groups
  Rules rules;
  Before before;                             // kernels
  std::shared_ptr<const External> external;  // fn, kernel: the host function that it stands for
  /// Of a program with rules: which one it is, whatever is rewritten in it. Without rules: stands for that program inside of a rule.
  std::uint64_t self = 0;
  std::vector<Parameter> parameters;
  std::vector<Value> values;
  std::vector<Op> ops;
  std::vector<Region> regions;
  std::vector<Memory> memories;
  std::vector<std::string> texts;
  std::vector<std::shared_ptr<const Function>> callees;
  RegionId body{0};

  const Value& operator[](ValueId v) const { return values[v.index]; }
  const Op& operator[](OpId o) const { return ops[o.index]; }
  const Region& operator[](RegionId r) const { return regions[r.index]; }
  const Memory& operator[](MemoryId m) const { return memories[m.index]; }
  Value& operator[](ValueId v) { return values[v.index]; }
  Op& operator[](OpId o) { return ops[o.index]; }
  Region& operator[](RegionId r) { return regions[r.index]; }
  Memory& operator[](MemoryId m) { return memories[m.index]; }
  bool stands_in() const { return self && rules == Rules{}; }
  bool has_groups() const { return group[0] > 0; }

  const Op& terminator(RegionId r) const { return (*this)[(*this)[r].ops.back()]; }
  const Type& type(ValueId v) const { return (*this)[v].type; }
  bool is_constant(ValueId v) const { return (*this)[v].kind == Value::Kind::constant; }
  /// Number of loop-carried values of a for_ or while_.
  std::size_t carries(const Op& loop) const { return loop.operands.size() - (loop.code == Opcode::for_ ? 2 : 0); }
};

/// A value of Function::self that no other program has.
FLUXION_API std::uint64_t new_self();

/// True for ops that must stay even when no result is used, not looking into regions.
FLUXION_API bool has_effect(Opcode op);
/// True when the op or anything nested in it must stay.
FLUXION_API bool has_effect(const Function& f, OpId op);

// ---- text form; frontend/ir/{print,parse}.cpp
struct PrintOptions {
  bool locations = false;
};
FLUXION_API std::string print(const Function& f, PrintOptions options = {});
/// Throws KernelError with line, column and a caret.
FLUXION_API Function parse(std::string_view text);
/// Throws Bug with the text form and a caret under the op that breaks a rule.
FLUXION_API void verify(const Function& f);

}  // namespace fluxion
