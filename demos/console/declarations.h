// What an input has declared, and how names are taken back.
#pragma once
#include <vector>

#include "interpreter_state.h"

namespace fluxion::console {

/// The names that an input brings to the outermost level, also those inside of the namespace that was put around it.
void collect(const clang::DeclContext* context, std::vector<clang::NamedDecl*>& out);
/// Takes a name out of what a look-up finds. What was compiled with it still has it.
void hide(clang::Sema& sema, clang::NamedDecl* d);
/// Whether the later of two declarations of one name takes the place of the earlier: not where functions overload each other.
bool replaces(clang::ASTContext& context, clang::NamedDecl* later, clang::NamedDecl* earlier);

/// Whether all that was read as declarations is that, and there is some.
bool declares(const clang::DeclContext* context);
/// The function around statements; null where there is none.
const clang::FunctionDecl* function_of(const clang::DeclContext* context, const std::string& name);
/// Whether one of its statements is a declaration, which would be gone with it.
bool declares_locally(const clang::FunctionDecl& body);
/// Whether a body is one expression that prints itself and changes nothing.
bool is_echo(const clang::FunctionDecl& body, clang::ASTContext& context);

}  // namespace fluxion::console
