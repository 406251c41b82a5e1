// Variables that would be silently others in each input. What has internal linkage is compiled anew into every input that uses it: harmless
// for functions and constants, but a counter in an unnamed namespace, or a static one in a lambda of the outermost level, would start
// again. Those are refused. (`static` in front of a variable is taken away before: a session has no other files.)
#include "interpreter_state.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wdeprecated-enum-enum-conversion"
#include <clang/AST/RecursiveASTVisitor.h>
#pragma GCC diagnostic pop

namespace fluxion::console {
namespace {

class Finder : public clang::RecursiveASTVisitor<Finder> {
 public:
  clang::VarDecl* found = nullptr;
  bool local = false;

  bool shouldVisitLambdaBody() const { return true; }
  bool VisitVarDecl(clang::VarDecl* v) {
    if (v->isConstexpr() || v->getType().isConstQualified() || !v->hasGlobalStorage()) return true;
    if (v->isStaticLocal()) {
      // A function within another one is compiled together with it.
      const auto* inside = llvm::dyn_cast<clang::FunctionDecl>(v->getDeclContext());
      if (!inside || inside->isExternallyVisible() || clang::Decl::castFromDeclContext(inside->getParent())->getParentFunctionOrMethod())
        return true;
      local = true;
    } else if (!v->isFileVarDecl() || v->isExternallyVisible() || v->isStaticDataMember()) {
      return true;
    }
    found = v;
    return false;
  }
};

}  // namespace

std::optional<Message> Interpreter::State::not_shared(clang::PartialTranslationUnit& unit) const {
  Finder finder;
  for (clang::Decl* d : unit.TUPart->decls())
    if (!finder.TraverseDecl(d)) break;
  if (!finder.found) return {};
  const clang::SourceManager& sources = context().getSourceManager();
  const clang::PresumedLoc at = sources.getPresumedLoc(sources.getExpansionLoc(finder.found->getLocation()));
  Message m{"error", {}, {}, 0, 0, 0};
  m.text = "\"" + finder.found->getNameAsString() + "\" would be another variable in each input that uses it: ";
  if (finder.local) m.text += "make the lambda a struct with operator(), or the variable one outside of it";
  else if (finder.found->isInAnonymousNamespace()) m.text += "take it out of the unnamed namespace";
  else m.text += "give the lambda in it a variable of its own first";
  if (at.isValid())
    m.file = at.getFilename(), m.line = static_cast<int>(at.getLine()), m.column = static_cast<int>(at.getColumn()), m.width = 1;
  return m;
}

}  // namespace fluxion::console
