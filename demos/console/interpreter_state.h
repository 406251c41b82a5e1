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

#include <optional>
#include <set>

#include "interpreter.h"
#include "promises.h"

namespace fluxion::console {

class Diagnostics;

struct Interpreter::State {
  std::unique_ptr<Diagnostics> diagnostics;  // outlives the session, which tells it things until its end
  std::unique_ptr<clang::Interpreter> session;
  std::vector<std::string> link_errors;
  std::vector<clang::NamedDecl*> defined;  // by the user, in order; those that are hidden are gone
  std::set<std::string> provided;          // symbols of variables of headers that were made here
  Promises promises;
  int inputs = 0;  // for names of functions and namespaces around them

  /// Compiles an input, whose first character says what it is (wire.h). Null where it has errors.
  clang::PartialTranslationUnit* parse(const std::string& code, std::vector<Message>& said);
  std::string body;  // the function that the latest input is to be called by, or ""

  /// What is wrong with an input whose variables would not be those that later inputs see (internal.cpp).
  std::optional<Message> not_shared(clang::PartialTranslationUnit& unit) const;

  clang::Sema& sema() const { return session->getCompilerInstance()->getSema(); }
  clang::ASTContext& context() const { return session->getASTContext(); }
  std::string type_name(clang::QualType type) const;
};

/// The symbols that the linker says it did not find.
std::vector<std::string> missing_symbols(const std::string& what);
/// What the linker says, in the user's words.
std::string link_message(const std::string& what);

}  // namespace fluxion::console
