// Host functions in the IR: what a Function of kind fn stands for when its `external` is set. The user's side is external.h.
#pragma once
#include <array>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fluxion/ir.h"

namespace fluxion {

/// An array that a host function works on.
struct ExternalArray {
  std::byte* data = nullptr;
  std::array<std::int64_t, 3> extent{1, 1, 1};
};
/// What a host function that works on arrays takes: an array, or a number (rank 0).
struct ExternalParameter {
  LayoutId element = DType::f64;
  int rank = 0;
  Role role = Role::in;
};

struct External {
  std::string name;
  std::vector<DType> takes, gives;
  bool impure = false;       // each call counts: none is dropped, merged with another or repeated
  std::uint64_t number = 0;  // tells host functions apart in texts and cache keys; of this process only
  /// Bits zero-extended, as everywhere. May throw; may be called from several threads at once.
  std::function<void(const std::uint64_t* in, std::uint64_t* out)> call;
  /// Instead, of a kernel: called once for a launch, whatever the domain. Arrays and numbers each in order; gives nothing.
  std::function<void(const ExternalArray* arrays, const std::uint64_t* scalars)> launch = {};
};

/// The Function that stands for `e`, which gets a number. `loc`: the user's line.
FLUXION_API std::shared_ptr<const Function> external_function(External e, Loc loc);
/// The kernel over one axis that stands for `e`. It has the rules of vjp and jvp that it is given, no other derivative.
FLUXION_API std::shared_ptr<const Function> external_kernel(External e, std::span<const ExternalParameter> parameters, Loc loc);
/// The one with this number, as long as some Function has it; else null.
FLUXION_API std::shared_ptr<const External> external_numbered(std::uint64_t number);

/// Calls the host function. False where it threw: `error` says what. Throws nothing.
FLUXION_API bool try_external(const External& e, const std::uint64_t* in, std::uint64_t* out, std::string& error) noexcept;
FLUXION_API bool try_external(const External& e, const ExternalArray* arrays, const std::uint64_t* scalars, std::string& error) noexcept;
/// True while this thread is in a host function.
FLUXION_API bool inside_external();

/// `f` is an impure host function, or calls one, however deep.
FLUXION_API bool is_impure(const Function& f);
/// `f` is a host function, or calls one.
FLUXION_API bool has_external(const Function& f);
/// Throws KernelError for a host function without a rule that would have to be differentiated.
[[noreturn]] FLUXION_API void refuse_external(const Function& f, Loc at);

}  // namespace fluxion
