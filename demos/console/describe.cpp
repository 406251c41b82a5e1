// Classes and enumerations print by the names of what is in them. The trial of an input shows which specialisations of Described (show.h)
// it would use; those are written here from what clang knows, and compiled before the input is. Classes of libraries keep their secrets.
#include "interpreter_state.h"

namespace fluxion::console {
namespace {

std::string quoted(const std::string& text) { return "\"" + text + "\""; }

/// The type as one may write it anywhere; "" where it has no name.
std::string written(const clang::TagDecl* d, clang::ASTContext& context) {
  if (!d->getDeclName() || d->getParentFunctionOrMethod()) return {};
  for (const clang::DeclContext* in = d->getDeclContext(); in; in = in->getParent())
    if (const auto* space = llvm::dyn_cast<clang::NamespaceDecl>(in); space && space->isAnonymousNamespace()) return {};
  clang::PrintingPolicy policy(context.getLangOpts());
  policy.SuppressTagKeyword = true;
  policy.SuppressInlineNamespace = false;
  policy.SuppressUnwrittenScope = false;
  return "::" + context.getTypeDeclType(d).getCanonicalType().getAsString(policy);
}

bool is_of_library(const clang::Decl* d) {
  const clang::DeclContext* outer = d->getDeclContext();
  while (outer->getParent() && !outer->getParent()->isTranslationUnit()) outer = outer->getParent();
  const auto* space = llvm::dyn_cast<clang::NamespaceDecl>(outer);
  return space && (space->getName() == "std" || space->getName() == "fluxion" || space->getName() == "__gnu_cxx");
}

/// What adds the members to `parts`, those of bases first. False where there are some that cannot be named.
bool members(const clang::CXXRecordDecl* record, const std::string& object, clang::ASTContext& context, std::string& code) {
  record = record->getDefinition();
  if (!record || record->isUnion()) return false;
  for (const clang::CXXBaseSpecifier& base : record->bases()) {
    const clang::CXXRecordDecl* from = base.getType()->getAsCXXRecordDecl();
    const std::string name = from ? written(from, context) : "";
    if (name.empty()) return false;
    if (is_of_library(from)) code += "parts.push_back(::fluxion::console::text(static_cast<const " + name + "&>(" + object + ")));\n";
    else if (!members(from, "static_cast<const " + name + "&>(" + object + ")", context, code)) return false;
  }
  for (const clang::FieldDecl* field : record->fields()) {
    if (field->isUnnamedBitField()) continue;
    if (!field->getDeclName()) {  // what is in an unnamed class are members like the others
      const clang::CXXRecordDecl* inner = field->getType()->getAsCXXRecordDecl();
      if (!inner || !members(inner, object, context, code)) return false;
      continue;
    }
    const std::string name = field->getNameAsString();
    code += "parts.push_back(" + quoted(name + ": ") + " + ::fluxion::console::text(" + object + "." + name + "));\n";
  }
  return true;
}

std::string description(const clang::TagDecl* d, clang::ASTContext& context) {
  const std::string name = written(d, context);
  if (name.empty()) return {};
  std::string code;
  if (const auto* list = llvm::dyn_cast<clang::EnumDecl>(d)) {
    if (!list->getDefinition()) return {};
    for (const clang::EnumConstantDecl* each : list->getDefinition()->enumerators())
      code += "if (v == " + name + "::" + each->getNameAsString() + ") return " + quoted(each->getNameAsString()) + ";\n";
    code += "return ::fluxion::console::text_of_enum(::fluxion::console::type_of<" + name + ">(), static_cast<long long>(v));\n";
  } else {
    const auto* record = llvm::dyn_cast<clang::CXXRecordDecl>(d);
    if (!record || record->isLambda() || is_of_library(record)) return {};
    code = "::std::vector<::std::string> parts;\n";
    if (!members(record, "v", context, code)) return {};
    code += "return ::fluxion::console::listed(parts, parts.size());\n";
  }
  return kDescription + ("template <> struct fluxion::console::Described<" + name + "> {\nstatic ::std::string text(const " + name +
                         "& v) {\n(void)v;\n" + code + "}\n};\n");
}

clang::ClassTemplateDecl* described_template(clang::ASTContext& context, clang::Sema&) {
  clang::DeclContext* in = context.getTranslationUnitDecl();
  for (const char* name : {"fluxion", "console", "Described"}) {
    const auto found = in->lookup(clang::DeclarationName(&context.Idents.get(name)));
    if (found.empty()) return nullptr;
    if (auto* space = llvm::dyn_cast<clang::NamespaceDecl>(found.front())) in = space;
    else return llvm::dyn_cast<clang::ClassTemplateDecl>(found.front());
  }
  return nullptr;
}

}  // namespace

std::vector<std::string> wanted_descriptions(clang::ASTContext& context, clang::Sema& sema, const std::set<std::string>& described) {
  std::vector<std::string> out;
  clang::ClassTemplateDecl* all = described_template(context, sema);
  if (!all) return out;
  for (const clang::ClassTemplateSpecializationDecl* each : all->specializations()) {
    if (each->getSpecializationKind() != clang::TSK_ImplicitInstantiation) continue;
    const clang::TagDecl* d = each->getTemplateArgs().get(0).getAsType()->getAsTagDecl();
    const std::string key = d ? context.getTypeDeclType(d).getCanonicalType().getAsString() + std::to_string(d->getID()) : "";
    if (!d || described.count(key) != 0) continue;
    const std::string code = description(d, context);
    if (!code.empty()) out.insert(out.end(), {key, code});
  }
  return out;
}

bool Interpreter::describe(const std::vector<std::string>& wanted) {
  State& s = *state_;
  for (std::size_t k = 0; k + 1 < wanted.size(); k += 2)
    if (!s.described.insert(wanted[k]).second) return false;
  for (std::size_t k = 0; k + 1 < wanted.size(); k += 2) {
    if (!try_linked(wanted[k + 1]).reply.failure.empty()) continue;  // then it prints as what it is called
    std::vector<Message> said;
    clang::PartialTranslationUnit* unit = s.parse(wanted[k + 1], said);
    if (!unit || !unit->TheModule) continue;
    s.shared.merge(s.added);
    if (auto error = s.session->Execute(*unit)) llvm::consumeError(std::move(error));
  }
  return true;
}

}  // namespace fluxion::console
