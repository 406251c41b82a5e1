// Inputs are modules of their own, but one program: what clang gives internal linkage (static variables, unnamed namespaces, variables of
// unnamed and local types, lambdas and what is static in them) is one thing in all inputs. clang compiles such things anew into each
// module that uses them; here, the first one becomes everybody's.
#pragma once
#include <set>
#include <string>

namespace llvm {
class Module;
}

namespace fluxion::console {

/// Gives what is internal to the module to the whole session, but for what is `shared` already: of that it keeps the declaration, and
/// takes out the initialisation, which has run. The names that the module adds to those.
std::set<std::string> share(llvm::Module& module, const std::set<std::string>& shared);

}  // namespace fluxion::console
