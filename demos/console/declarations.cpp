#include "declarations.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <clang/AST/ExprCXX.h>
#include <clang/AST/StmtCXX.h>
#pragma GCC diagnostic pop

namespace fluxion::console {
namespace {

bool is_wrapper(const clang::DeclContext* context) {
  const auto* space = llvm::dyn_cast<clang::NamespaceDecl>(context);
  return space && space->getName().starts_with("fluxion_input_");
}
/// Whether names of this context are found without being qualified.
bool is_open(const clang::DeclContext* context) {
  context = context->getRedeclContext();
  const auto* space = llvm::dyn_cast<clang::NamespaceDecl>(context);
  return context->isTranslationUnit() ||
         (space && (is_wrapper(space) || space->isAnonymousNamespace() || space->isInline()) && is_open(space->getParent()));
}
bool is_ours(const clang::NamedDecl* d) { return d->getDeclName().isIdentifier() && d->getName().starts_with("fluxion_call_"); }

/// Directives and specialisations have names that others have, too, and that no look-up finds.
bool has_name_of_its_own(const clang::NamedDecl* d) {
  if (d->isImplicit() || !d->getDeclName() || is_ours(d) || !is_open(d->getDeclContext())) return false;
  if (llvm::isa<clang::UsingDirectiveDecl, clang::ClassTemplateSpecializationDecl, clang::VarTemplateSpecializationDecl,
                clang::CXXDeductionGuideDecl>(d))
    return false;
  if (const auto* f = llvm::dyn_cast<clang::FunctionDecl>(d)) return f->getTemplateSpecializationKind() == clang::TSK_Undeclared;
  if (const auto* f = llvm::dyn_cast<clang::FunctionTemplateDecl>(d))
    return !llvm::isa<clang::CXXDeductionGuideDecl>(f->getTemplatedDecl());
  return true;
}

bool has_statement(const clang::DeclContext* context) {
  for (const clang::Decl* d : context->decls()) {
    if (llvm::isa<clang::TopLevelStmtDecl>(d)) return true;
    if (const auto* space = llvm::dyn_cast<clang::NamespaceDecl>(d); space && has_statement(space)) return true;
  }
  return false;
}

}  // namespace

void collect(const clang::DeclContext* context, std::vector<clang::NamedDecl*>& out) {
  for (clang::Decl* d : context->decls()) {
    if (const auto* linkage = llvm::dyn_cast<clang::LinkageSpecDecl>(d)) {
      collect(linkage, out);
    } else if (auto* space = llvm::dyn_cast<clang::NamespaceDecl>(d);
               space && (is_wrapper(space) || space->isAnonymousNamespace() || space->isInline())) {
      collect(space, out);
    } else if (const auto* uses = llvm::dyn_cast<clang::BaseUsingDecl>(d)) {
      for (clang::UsingShadowDecl* shadow : uses->shadows()) out.push_back(shadow);
    } else if (auto* named = llvm::dyn_cast<clang::NamedDecl>(d); named && has_name_of_its_own(named)) {
      out.push_back(named);
    }
    if (const auto* list = llvm::dyn_cast<clang::EnumDecl>(d); list && !list->isScoped())
      for (clang::EnumConstantDecl* each : list->enumerators()) out.push_back(each);
  }
}

void hide(clang::Sema& sema, clang::NamedDecl* d) {
  sema.IdResolver.RemoveDecl(d);
  if (sema.TUScope->isDeclScope(d)) sema.TUScope->RemoveDecl(d);
  for (clang::DeclContext* context = d->getDeclContext(); context; context = context->getParent()) {
    clang::StoredDeclsMap* map = context->getPrimaryContext()->getLookupPtr();
    if (!map) continue;
    const auto it = map->find(d->getDeclName());
    if (it == map->end()) continue;
    for (const clang::NamedDecl* each : it->second.getLookupResult())
      if (each == d) {
        it->second.remove(d);
        break;
      }
  }
}

bool replaces(clang::ASTContext& context, clang::NamedDecl* later, clang::NamedDecl* earlier) {
  if (later == earlier || later->getDeclName() != earlier->getDeclName()) return false;
  if (later->getCanonicalDecl() == earlier->getCanonicalDecl()) return false;  // said again
  const auto function = [](clang::NamedDecl* d) {
    d = d->getUnderlyingDecl();
    if (auto* pattern = llvm::dyn_cast<clang::FunctionTemplateDecl>(d)) d = pattern->getTemplatedDecl();
    return llvm::dyn_cast<clang::FunctionDecl>(d);
  };
  const clang::FunctionDecl *a = function(later), *b = function(earlier);
  if (!a || !b) return true;
  if ((a->getDescribedFunctionTemplate() != nullptr) != (b->getDescribedFunctionTemplate() != nullptr) ||
      a->getNumParams() != b->getNumParams())
    return false;
  for (unsigned k = 0; k < a->getNumParams(); ++k)
    if (!context.hasSameType(a->getParamDecl(k)->getType(), b->getParamDecl(k)->getType())) return false;
  return true;
}

bool declares(const clang::DeclContext* context) {
  bool some = false;
  for (const clang::Decl* d : context->decls()) {
    if (llvm::isa<clang::TopLevelStmtDecl>(d)) return false;
    if (d->isImplicit() || llvm::isa<clang::EmptyDecl>(d)) continue;
    const auto* space = llvm::dyn_cast<clang::NamespaceDecl>(d);
    if (space && !declares(space) && (is_wrapper(space) || has_statement(space))) return false;
    some = true;
  }
  return some;
}

const clang::FunctionDecl* function_of(const clang::DeclContext* context, const std::string& name) {
  for (const clang::Decl* d : context->decls()) {
    if (const auto* linkage = llvm::dyn_cast<clang::LinkageSpecDecl>(d))
      if (const auto* found = function_of(linkage, name)) return found;
    if (const auto* f = llvm::dyn_cast<clang::FunctionDecl>(d); f && f->getDeclName().isIdentifier() && f->getName() == name) return f;
  }
  return nullptr;
}

bool declares_locally(const clang::FunctionDecl& body) {
  for (const clang::Stmt* s : body.getBody()->children())
    if (llvm::isa_and_nonnull<clang::DeclStmt>(s)) return true;
  return false;
}

bool is_echo(const clang::FunctionDecl& body, clang::ASTContext& context) {
  const auto* block = llvm::dyn_cast_or_null<clang::CompoundStmt>(body.getBody());
  if (!block || block->size() != 1) return false;
  const auto* whole = llvm::dyn_cast<clang::Expr>(block->body_front());
  const auto* comma = whole ? llvm::dyn_cast<clang::CXXOperatorCallExpr>(whole->IgnoreImplicit()) : nullptr;
  return comma && comma->getNumArgs() == 2 && !comma->getArg(0)->HasSideEffects(context);
}

}  // namespace fluxion::console
