// fx::external beneath its types.
#include "fluxion/external.h"

#include <fmt/format.h>

#include "fluxion/error.h"
#include "fluxion/external_code.h"

namespace fluxion::detail {

FunctionPointer make_external(std::string name, std::vector<DType> takes, std::vector<DType> gives, bool impure, ExternalCall call,
                              Loc at) {
  for (DType t : gives) refuse_half(t, at);
  External e;
  e.name = std::move(name);
  e.takes = std::move(takes);
  e.gives = std::move(gives);
  e.impure = impure;
  e.call = std::move(call);
  return external_function(std::move(e), at);
}

FunctionPointer make_external_kernel(std::string name, const std::vector<ExternalParameter>& parameters,
                                     std::function<void(const ExternalArray*, const std::uint64_t*)> launch, Loc at) {
  External e;
  e.name = std::move(name);
  e.launch = std::move(launch);
  return external_kernel(std::move(e), parameters, at);
}

void refuse_impure_kernel(const std::string& name, Loc at) {
  throw KernelError(
      at,
      fmt::format("external \"{}\" works on arrays, where fx::impure means nothing: a launch whose results are used is made once", name));
}

}  // namespace fluxion::detail
