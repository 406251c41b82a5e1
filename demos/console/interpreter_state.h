// What interpreter.cpp and symbols.cpp share: the session of clang and the names that were defined in it.
#pragma once
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <clang/AST/ASTContext.h>
#include <clang/AST/DeclContextInternals.h>
#include <clang/AST/DeclCXX.h>
#include <clang/AST/DeclTemplate.h>
#include <clang/Frontend/CompilerInstance.h>
#include <clang/Interpreter/Interpreter.h>
#include <clang/Sema/Scope.h>
#include <clang/Sema/Sema.h>
#pragma GCC diagnostic pop

#include <map>

#include "interpreter.h"

namespace fluxion::console {

class Diagnostics;

struct Interpreter::State {
  std::unique_ptr<Diagnostics> diagnostics;  // outlives the session, which tells it things until its end
  std::unique_ptr<clang::Interpreter> session;
  std::vector<std::string> link_errors;
  std::vector<clang::NamedDecl*> defined;  // by the user, in order; those that are hidden are gone
  int shadows = 0;                         // how many namespaces were made for names that are defined anew

  clang::Sema& sema() const { return session->getCompilerInstance()->getSema(); }
  clang::ASTContext& context() const { return session->getASTContext(); }
  std::string type_name(clang::QualType type) const;
};

}  // namespace fluxion::console
