// Derivatives of device functions, tidied up.
#include "fluxion/ad.h"
#include "fluxion/differentiate.h"
#include "fluxion/pipeline.h"

namespace fluxion::detail {
namespace {
FunctionPointer tidy(const Function& f) { return std::make_shared<const Function>(run_passes(f, derived_pipeline())); }
}  // namespace

FunctionPointer fn_jvp(const FunctionPointer& f) { return tidy(jvp(*f)); }
FunctionPointer fn_jvp(const FunctionPointer& f, int n) { return tidy(jvp(*f, n)); }
FunctionPointer fn_jacobian(const FunctionPointer& f) { return tidy(jacobian(*f)); }
FunctionPointer fn_hvp(const FunctionPointer& f) { return tidy(hvp(*f)); }
FunctionPointer fn_vjp(const FunctionPointer& f, const std::vector<int>& wrt) { return tidy(vjp(*f, wrt)); }
FunctionPointer fn_grad(const FunctionPointer& f, const std::vector<int>& wrt) { return tidy(grad(*f, wrt)); }
FunctionPointer fn_value_and_grad(const FunctionPointer& f, const std::vector<int>& wrt) { return tidy(value_and_grad(*f, wrt)); }

}  // namespace fluxion::detail
