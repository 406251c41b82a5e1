// Names: what the user has defined, and how a half-typed word may go on. Looked up in the session's own table; clang's completer
// would have to parse the unfinished input, which it does unreliably and which can spoil the session.
#include <algorithm>
#include <cctype>
#include <set>

#include "interpreter_state.h"

namespace fluxion::console {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

/// "a.b::c.de" as its parts, and what stands between the last two: ".", "->", "::" or "".
struct Chain {
  std::vector<std::string> before;
  std::string between, word;
};
Chain chain_of(const std::string& text) {
  Chain out;
  std::size_t at = text.size();
  const auto word = [&] {
    const std::size_t end = at;
    while (at > 0 && is_word(text[at - 1])) --at;
    return text.substr(at, end - at);
  };
  out.word = word();
  for (std::string* between = &out.between;;) {
    std::string link;
    if (at >= 2 && (text.compare(at - 2, 2, "::") == 0 || text.compare(at - 2, 2, "->") == 0)) link = text.substr(at - 2, 2);
    else if (at >= 1 && text[at - 1] == '.') link = ".";
    else break;
    at -= link.size();
    // a call in between: f(x).
    if (at > 0 && text[at - 1] == ')') {
      int depth = 0;
      while (at > 0) {
        --at;
        if (text[at] == ')') ++depth;
        if (text[at] == '(' && --depth == 0) break;
      }
    }
    // the arguments of a template: zeros<float>(3).
    if (std::size_t open = at; at > 0 && text[at - 1] == '>') {
      int depth = 0;
      while (open > 0) {
        --open;
        if (text[open] == '>') ++depth;
        if (text[open] == '<' && --depth == 0) break;
      }
      if (depth == 0) at = open;
    }
    const std::string name = word();
    if (between) *between = link;
    between = nullptr;
    if (name.empty()) break;
    out.before.insert(out.before.begin(), name);
  }
  return out;
}

const clang::CXXRecordDecl* record_of(clang::QualType type) {
  if (type.isNull()) return nullptr;
  type = type.getNonReferenceType();
  if (const clang::CXXRecordDecl* pointee = type->getPointeeCXXRecordDecl()) return pointee;
  if (const clang::CXXRecordDecl* record = type->getAsCXXRecordDecl()) return record;
  // What a function template gives, before it has arguments.
  if (const auto* special = type->getAs<clang::TemplateSpecializationType>())
    if (const auto* from = llvm::dyn_cast_or_null<clang::ClassTemplateDecl>(special->getTemplateName().getAsTemplateDecl()))
      return from->getTemplatedDecl();
  return nullptr;
}

void members(const clang::CXXRecordDecl* record, std::set<std::string>& out, int depth = 0) {
  if (!record || depth > 4) return;
  if (const auto* special = llvm::dyn_cast<clang::ClassTemplateSpecializationDecl>(record); special && !special->hasDefinition())
    if (const auto* from = special->getSpecializedTemplate()) record = from->getTemplatedDecl();
  record = record->getDefinition();
  if (!record) return;
  for (const clang::Decl* d : record->decls()) {
    const auto* named = llvm::dyn_cast<clang::NamedDecl>(d);
    if (const auto* function = llvm::dyn_cast<clang::FunctionTemplateDecl>(d)) named = function->getTemplatedDecl();
    if (!named || d->isImplicit() || d->getAccess() == clang::AS_private || d->getAccess() == clang::AS_protected) continue;
    if (!named->getDeclName().isIdentifier() || llvm::isa<clang::CXXConstructorDecl>(named)) continue;
    if (llvm::isa<clang::TypeDecl>(d)) continue;
    const std::string name = named->getNameAsString();
    if (!name.empty() && !name.starts_with('_')) out.insert(name);
  }
  for (const clang::CXXBaseSpecifier& base : record->bases())
    if (base.getAccessSpecifier() == clang::AS_public) members(record_of(base.getType()), out, depth + 1);
}

void contents(const clang::DeclContext* space, std::set<std::string>& out) {
  for (const clang::Decl* d : space->decls()) {
    const auto* named = llvm::dyn_cast<clang::NamedDecl>(d);
    if (!named || !named->getDeclName().isIdentifier()) continue;
    const std::string name = named->getNameAsString();
    if (name.empty() || name.starts_with('_') || name == "detail") continue;
    out.insert(name);
  }
}

}  // namespace

std::string Interpreter::State::type_name(clang::QualType type) const {
  clang::PrintingPolicy policy(context().getLangOpts());
  policy.SuppressTagKeyword = true;
  std::string text = type.getNonReferenceType().getUnqualifiedType().getCanonicalType().getAsString(policy);
  return text;
}

std::vector<Interpreter::Variable> Interpreter::names(bool all) const {
  std::vector<Variable> out;
  for (clang::NamedDecl* d : state_->defined) {
    if (!d->getDeclName().isIdentifier() || d->getName().empty()) continue;
    if (const auto* value = llvm::dyn_cast<clang::ValueDecl>(d); value && !llvm::isa<clang::FunctionDecl>(d))
      out.push_back({d->getNameAsString(), state_->type_name(value->getType())});
    else if (all) out.push_back({d->getNameAsString(), ""});
  }
  return out;
}

std::vector<std::string> Interpreter::complete(const std::string& text) {
  const Chain chain = chain_of(text);
  std::set<std::string> names;
  clang::ASTContext& context = state_->context();
  clang::TranslationUnitDecl* unit = context.getTranslationUnitDecl();
  const auto find = [&](const clang::DeclContext* where, const std::string& name) -> clang::NamedDecl* {
    const auto found = where->lookup(clang::DeclarationName(&context.Idents.get(name)));
    return found.empty() ? nullptr : found.front();
  };
  if (chain.before.empty() && !chain.between.empty()) return {};
  if (chain.before.empty()) {
    for (const Variable& v : this->names(true)) names.insert(v.name);
    for (const char* word : {"fx",    "std",   "auto",   "for", "while", "if",   "else",  "return",    "struct", "template",
                             "const", "float", "double", "int", "bool",  "true", "false", "namespace", "using",  "include"})
      names.insert(word);
  } else {
    // The first part is a namespace, a type or a variable; a call of a kernel's or buffer's member is looked through by its type.
    clang::NamedDecl* at = find(unit, chain.before[0]);
    clang::QualType type;
    for (std::size_t k = 0;; ++k) {
      if (auto* alias = llvm::dyn_cast_or_null<clang::NamespaceAliasDecl>(at)) at = alias->getNamespace();
      const bool last = k + 1 == chain.before.size();
      if (auto* space = llvm::dyn_cast_or_null<clang::NamespaceDecl>(at)) {
        if (last) {
          for (const clang::NamespaceDecl* part : space->redecls()) contents(part, names);
          break;
        }
        at = find(space, chain.before[k + 1]);
        continue;
      }
      if (auto* shadow = llvm::dyn_cast_or_null<clang::UsingShadowDecl>(at)) at = shadow->getTargetDecl();
      if (auto* pattern = llvm::dyn_cast_or_null<clang::TemplateDecl>(at)) at = pattern->getTemplatedDecl();
      if (auto* function = llvm::dyn_cast_or_null<clang::FunctionDecl>(at)) type = function->getReturnType();
      else if (auto* value = llvm::dyn_cast_or_null<clang::ValueDecl>(at)) type = value->getType();
      else if (auto* named = llvm::dyn_cast_or_null<clang::TypeDecl>(at)) type = context.getTypeDeclType(named);
      else break;
      const clang::CXXRecordDecl* record = record_of(type);
      if (!record) break;
      if (last) {
        members(record, names);
        break;
      }
      at = find(record->getDefinition() ? record->getDefinition() : record, chain.before[k + 1]);
    }
  }
  std::vector<std::string> out;
  for (const std::string& name : names)
    if (name.starts_with(chain.word)) out.push_back(name);
  return out;
}

}  // namespace fluxion::console
