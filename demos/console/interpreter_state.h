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

#include <set>

#include "interpreter.h"
#include "promises.h"

namespace fluxion::console {

class Diagnostics;

/// How the trial of a text went.
struct Trial {
  Reply reply;             // failure: "", "compile", "link", "type" (which no value is), "describe" (`missing`)
  bool misplaced = false;  // it was read as something that it is not, and may be right elsewhere
  std::vector<std::string> missing;
};

struct Interpreter::State {
  std::unique_ptr<Diagnostics> diagnostics;  // outlives the session, which tells it things until its end
  std::unique_ptr<clang::Interpreter> session;
  std::vector<std::string> link_errors;
  std::vector<clang::NamedDecl*> defined;  // by the user, in order; those that are hidden are gone
  std::set<std::string> provided;          // symbols of variables of headers that were made here
  std::set<std::string> shared;            // symbols of internal linkage that all inputs have in common (linkage.h)
  std::set<std::string> described;         // types for which Described was specialised, or cannot be
  Promises promises;
  int inputs = 0;  // for names of functions and namespaces around them

  /// Compiles an input, whose first character says what it is (wire.h). Null where it has errors. The symbols that are new to `shared`
  /// are in `added`.
  clang::PartialTranslationUnit* parse(const std::string& code, std::vector<Message>& said);
  std::string body;             // the function that the latest input is to be called by, or ""
  std::set<std::string> added;  // symbols that the latest input adds to the shared ones
  bool misplaced = false;       // whether the latest errors say that a declaration cannot stand where it was put

  clang::Sema& sema() const { return session->getCompilerInstance()->getSema(); }
  clang::ASTContext& context() const { return session->getASTContext(); }
  std::string type_name(clang::QualType type) const;
};

/// The types that are to be printed by what is in them, and for each the code that describes it (describe.cpp); none where there are
/// none that are not `described` already.
std::vector<std::string> wanted_descriptions(clang::ASTContext& context, clang::Sema& sema, const std::set<std::string>& described);
/// The symbols that the linker says it did not find.
std::vector<std::string> missing_symbols(const std::string& what);
/// What the linker says, in the user's words.
std::string link_message(const std::string& what);

}  // namespace fluxion::console
