// The recorder, for those who build a surface on it: capture.h (kernels, functions) and program capture.
//
// Recordings nest and belong to a thread. What is recorded is a Function with slots (`var_new`, `var_get`,
// `var_set`) and exits (`break_if` ...); end_recording turns it into plain SSA. A slot may be of any Type.
#pragma once
#include <span>
#include <string>

#include "fluxion/ir.h"
#include "fluxion/params.h"

namespace fluxion {

/// Where warnings go: standard error unless replaced. Null restores that.
using WarningSink = void (*)(Loc at, const char* text, void* user);
FLUXION_API void set_warning_sink(WarningSink sink, void* user = nullptr);

namespace detail {

/// An open recording; dropped unless `finish` is reached.
class FLUXION_API Recording {
 public:
  Recording(Function::Kind kind, std::string name, Loc at);
  ~Recording();
  Recording(const Recording&) = delete;

  /// Parameters, in order. A half precision scalar is named by its f32 value.
  std::uint32_t scalar_parameter(DType t, std::string name);
  std::uint32_t array_parameter(const Type& t, Role role, std::string name);
  MemoryHandle memory_parameter(LayoutId element, int rank, Role role, std::string name);
  /// An array parameter found while the body is recorded, perhaps inside a loop: a slot of the body that holds it.
  Handle captured_parameter(const Type& t, Role role, std::string name, Loc at);

  /// Ends the body with `yields` (fn, program), lowers what was recorded and verifies it.
  /// Throws KernelError for what the user did wrong while recording.
  std::shared_ptr<const Function> finish(std::span<const std::uint32_t> yields = {});
  /// The function as it was recorded, before any pass; for tests. Throws as finish does.
  Function finish_raw(std::span<const std::uint32_t> yields = {});
};

/// True while some recording is open on this thread, and its kind.
FLUXION_API bool recording();
FLUXION_API Function::Kind recording_kind();
/// The epoch of the innermost recording, 0 when there is none.
FLUXION_API std::uint32_t current_epoch();
/// The function being recorded; it grows with every call, hold no references into it.
FLUXION_API const Function& recorded();

// ---- slots of any type. read, assign, declare_as of var.h work on them too.
FLUXION_API Handle new_slot(const Type& t, Loc at);

/// Any op without regions in the current region; gives the ids of its results.
FLUXION_API std::vector<std::uint32_t> record_op(Op op, std::span<const Type> results, Loc at);
/// A launch: `domain` extents, then for each parameter of the callee but Out its value; `outs` are the types of
/// the Out parameters. Gives the new versions of Out, InOut and Accum in order.
FLUXION_API std::vector<std::uint32_t> record_launch(std::shared_ptr<const Function> callee, std::span<const std::uint32_t> domain,
                                                     std::span<const std::uint32_t> arguments, std::span<const Type> outs, Loc at);
/// The body of a program, here; a value for each parameter. Gives what it yields: new versions, then what it returns.
FLUXION_API std::vector<std::uint32_t> inline_program(const Function& program, std::span<const std::uint32_t> arguments, Loc at);
/// A call of a program with In parameters only, whose rules must be seen by differentiation. Gives what it returns.
FLUXION_API std::vector<std::uint32_t> record_program_call(const std::shared_ptr<const Function>& program,
                                                           std::span<const std::uint32_t> arguments, Loc at);
/// The body of a function of kind fn, here.
FLUXION_API std::vector<std::uint32_t> record_call(const std::shared_ptr<const Function>& function,
                                                   std::span<const std::uint32_t> arguments, Loc at);

}  // namespace detail
}  // namespace fluxion
