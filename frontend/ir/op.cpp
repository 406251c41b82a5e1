// The table behind `info`: the rows of ops.def and a line for each structural op.
#include "fluxion/op.h"

#include <array>

namespace fluxion {
namespace {
using enum Operands;
using namespace flag;

constexpr OpInfo kInfo[] = {
#define OP1(name, dtypes, flags, meaning, da, doc) {#name, 1, dtypes, flags, doc},
#define OP2(name, dtypes, flags, meaning, da, db, doc) {#name, 2, dtypes, flags, doc},
#define OP3(name, dtypes, flags, meaning, da, db, dc, doc) {#name, 3, dtypes, flags, doc},
#include "fluxion/ops.def"
    {"select", 3, all, exact, "b where a holds, else c"},
    {"convert", 0, all, plain, "the number in another type; float -> int saturates, NaN -> 0"},
    {"bitcast", 0, all, plain, "the same bits as another type of the same size"},
    {"load", 0, all, plain, "an element's leaf"},
    {"store", 0, all, plain, "overwrites an element's leaf"},
    {"accumulate", 0, all, plain, "adds to an element's leaf"},
    {"atomic", 0, all, plain, "reads and changes an element's leaf at once; gives the old number"},
    {"extent", 0, all, plain, "size of a memory along an axis"},
    {"domain", 0, all, plain, "size of the launch along an axis"},
    {"if", 0, all, plain, "one of two regions"},
    {"for", 0, all, plain, "a region for each whole number of a range"},
    {"while", 0, all, plain, "a region as long as a condition holds"},
    {"yield", 0, all, plain, "the values that leave a region"},
    {"call", 0, all, plain, "the results of a fn, or of a program in a program"},
    {"group_index", 0, all, plain, "which group of threads along an axis"},
    {"barrier", 0, all, plain, "waits for the group's other threads, and sees what they wrote"},
    {"subgroup", 0, all, plain, "what a thread gets from the others of its subgroup"},
    {"seq_get", 0, all, plain, "item of a sequence"},
    {"seq_set", 0, all, plain, "the sequence with an item replaced"},
    {"seq_add_at", 0, all, plain, "the sequence with an item added to"},
    {"seq_len", 0, all, plain, "number of items"},
    {"zeros", 0, all, plain, "a sequence or array of zeros"},
    {"launch", 0, all, plain, "runs a kernel over a domain; yields new versions"},
    {"print", 0, all, plain, "writes a line on the host"},
    {"check", 0, all, plain, "an error when its condition is false"},
    {"var_new", 0, all, plain, "declares a variable"},
    {"var_get", 0, all, plain, "reads a variable"},
    {"var_set", 0, all, plain, "writes a variable"},
    {"break_if", 0, all, plain, "leaves the loop"},
    {"continue_if", 0, all, plain, "starts the next round of the loop"},
    {"return_if", 0, all, plain, "leaves the kernel"},
    {"buffer_alloc", 0, all, plain, "memory form: makes a buffer"},
    {"buffer_copy", 0, all, plain, "memory form: copies a buffer"},
    {"buffer_zero", 0, all, plain, "memory form: fills a buffer with zeros"},
    {"run", 0, all, plain, "memory form: runs a kernel on buffers"},
};
static_assert(std::size(kInfo) == kOpcodeCount, "every opcode needs a row");

constexpr auto kElementwise = [] {
  std::array<Opcode, kElementwiseCount> ops{};
  for (int i = 0; i < kElementwiseCount; ++i) ops[i] = static_cast<Opcode>(i);
  return ops;
}();
}  // namespace

const char* name_of(Atomic kind) {
  constexpr const char* kNames[] = {"add", "min", "max", "and", "or", "xor", "exchange", "compare_exchange"};
  static_assert(std::size(kNames) == kAtomicCount);
  return kNames[static_cast<int>(kind)];
}
const char* name_of(Subgroup kind) {
  constexpr const char* kNames[] = {"add", "min", "max", "and", "or", "xor", "scan_add", "scan_add_back", "shuffle", "scatter_add"};
  static_assert(std::size(kNames) == kSubgroupCount);
  return kNames[static_cast<int>(kind)];
}
const OpInfo& info(Opcode op) { return kInfo[static_cast<int>(op)]; }
std::span<const Opcode> elementwise_ops() { return kElementwise; }

}  // namespace fluxion
