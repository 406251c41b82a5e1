// Every input is a translation unit of its own, compiled and run at once. Three things need care: names that are defined again, which
// C++ forbids and a prompt must allow; failures halfway, after which the session must be as before; and the linker, which loses the
// input after one that failed.
#include "interpreter.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <typeinfo>

#include "fluxion/error.h"
#include "interpreter_state.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <clang/Basic/DiagnosticSema.h>
#include <clang/Lex/Lexer.h>
#include <llvm/Demangle/Demangle.h>
#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/Support/TargetSelect.h>
#pragma GCC diagnostic pop

namespace fluxion::console {

/// Takes what the compiler says as data.
class Diagnostics : public clang::DiagnosticConsumer {
 public:
  std::vector<Message> messages;
  std::vector<std::string> redefined;  // names

  void HandleDiagnostic(clang::DiagnosticsEngine::Level level, const clang::Diagnostic& d) override {
    clang::DiagnosticConsumer::HandleDiagnostic(level, d);
    if (level == clang::DiagnosticsEngine::Ignored || level == clang::DiagnosticsEngine::Remark) return;
    llvm::SmallString<200> text;
    d.FormatDiagnostic(text);
    Message m;
    m.text = text.str().str();
    m.level = level == clang::DiagnosticsEngine::Note ? "note" : level == clang::DiagnosticsEngine::Warning ? "warning" : "error";
    if (m.level == "note" && m.text.find("included multiple times") != m.text.npos) return;
    place(d, m);
    switch (d.getID()) {
      case clang::diag::err_redefinition:
      case clang::diag::err_redefinition_different_kind:
      case clang::diag::err_redefinition_different_type:
      case clang::diag::err_redefinition_different_typedef:
      case clang::diag::err_redefinition_different_namespace_alias:
      case clang::diag::err_redefinition_different_concept:
      case clang::diag::err_ovl_diff_return_type:
      case clang::diag::err_tag_reference_conflict:
      case clang::diag::err_conflicting_types: {
        const std::size_t begin = m.text.find('\''), end = m.text.find('\'', begin + 1);
        if (end != m.text.npos) redefined.push_back(m.text.substr(begin + 1, end - begin - 1));
        break;
      }
      default: break;
    }
    messages.push_back(std::move(m));
  }

 private:
  static void place(const clang::Diagnostic& d, Message& m) {
    if (!d.getLocation().isValid() || !d.hasSourceManager()) return;
    const clang::SourceManager& sources = d.getSourceManager();
    const clang::PresumedLoc at = sources.getPresumedLoc(sources.getExpansionLoc(d.getLocation()));
    if (!at.isValid()) return;
    m.file = at.getFilename();
    m.line = static_cast<int>(at.getLine());
    m.column = static_cast<int>(at.getColumn());
    m.width = 1;
    for (const clang::CharSourceRange& range : d.getRanges()) {
      const auto begin = sources.getPresumedLoc(range.getBegin()), end = sources.getPresumedLoc(range.getEnd());
      if (!begin.isValid() || !end.isValid() || begin.getLine() != at.getLine() || end.getLine() != at.getLine()) continue;
      if (begin.getColumn() != at.getColumn()) continue;
      unsigned last = end.getColumn();
      if (range.isTokenRange()) last += clang::Lexer::MeasureTokenLength(range.getEnd(), sources, clang::LangOptions());
      if (last > begin.getColumn()) m.width = static_cast<int>(last - begin.getColumn());
    }
  }
};

namespace {

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(name, nullptr, nullptr, &status), std::free);
  return status == 0 ? text.get() : name;
}

/// All that an input has declared, also inside of the namespace that was put around it.
void collect(clang::DeclContext* context, std::vector<clang::NamedDecl*>& out) {
  for (clang::Decl* d : context->decls()) {
    if (auto* space = llvm::dyn_cast<clang::NamespaceDecl>(d); space && space->getName().starts_with("fluxion_input_")) {
      collect(space, out);
    } else if (auto* linkage = llvm::dyn_cast<clang::LinkageSpecDecl>(d)) {
      collect(linkage, out);
    } else if (auto* parts = llvm::dyn_cast<clang::DecompositionDecl>(d)) {
      for (clang::BindingDecl* b : parts->bindings()) out.push_back(b);
    } else if (auto* named = llvm::dyn_cast<clang::NamedDecl>(d)) {
      if (!d->isImplicit() && named->getDeclName()) out.push_back(named);
    }
  }
}

/// Takes a name out of what a look-up finds. What was compiled with it still has it.
void hide(clang::Sema& sema, clang::NamedDecl* d) {
  sema.IdResolver.RemoveDecl(d);
  if (sema.TUScope->isDeclScope(d)) sema.TUScope->RemoveDecl(d);
  for (clang::DeclContext* context = d->getDeclContext(); context; context = context->getParent()) {
    clang::StoredDeclsMap* map = context->getPrimaryContext()->getLookupPtr();
    if (!map) continue;
    if (const auto it = map->find(d->getDeclName()); it != map->end()) it->second.remove(d);
  }
}
void unhide(clang::Sema& sema, clang::NamedDecl* d) {
  sema.IdResolver.AddDecl(d);
  sema.TUScope->AddDecl(d);
  d->getDeclContext()->makeDeclVisibleInContext(d);
}

/// What is being thrown, for people.
void take_exception(Reply& reply) {
  Message m{"error", {}, {}, 0, 0, 0};
  const auto of_fluxion = [&](const char* kind, const Error& e) {
    reply.failure = kind;
    m.text = e.what();
    m.file = e.where().file;
    m.line = static_cast<int>(e.where().line);
  };
  try {
    throw;
  } catch (const KernelError& e) {
    of_fluxion("KernelError", e);
  } catch (const ShapeError& e) {
    of_fluxion("ShapeError", e);
  } catch (const DeviceError& e) {
    of_fluxion("DeviceError", e);
  } catch (const IoError& e) {
    of_fluxion("IoError", e);
  } catch (const Bug& e) {
    of_fluxion("Bug", e);
  } catch (const Error& e) {
    of_fluxion("Error", e);
  } catch (const std::bad_alloc&) {
    reply.failure = "exception";
    m.text = "out of memory (std::bad_alloc)";
  } catch (const std::exception& e) {
    reply.failure = "exception";
    m.text = demangled(typeid(e).name()) + ": " + e.what();
  } catch (const abi::__forced_unwind&) {
    throw;
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    reply.failure = "exception";
    m.text = "an exception of type " + (type ? demangled(type->name()) : std::string("unknown"));
  }
  reply.messages.push_back(std::move(m));
}

}  // namespace

Interpreter::Interpreter(const std::vector<std::string>& arguments, const std::string& library) : state_(std::make_unique<State>()) {
  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetAsmPrinter();
  std::vector<const char*> list;
  for (const std::string& a : arguments) list.push_back(a.c_str());
  clang::IncrementalCompilerBuilder builder;
  builder.SetCompilerArgs(list);
  auto compiler = builder.CreateCpp();
  if (!compiler) throw std::runtime_error(llvm::toString(compiler.takeError()));
  state_->diagnostics = std::make_unique<Diagnostics>();
  (*compiler)->getDiagnostics().setClient(state_->diagnostics.get(), false);
  auto session = clang::Interpreter::create(std::move(*compiler));
  if (!session) {
    std::string why = llvm::toString(session.takeError());
    for (const Message& m : state_->diagnostics->messages) why += "; " + m.text;
    throw std::runtime_error(why);
  }
  state_->session = std::move(*session);
  if (auto error = state_->session->LoadDynamicLibrary(library.c_str())) throw std::runtime_error(llvm::toString(std::move(error)));
  auto engine = state_->session->getExecutionEngine();
  if (!engine) throw std::runtime_error(llvm::toString(engine.takeError()));
  engine->getExecutionSession().setErrorReporter(
      [s = state_.get()](llvm::Error e) { s->link_errors.push_back(llvm::toString(std::move(e))); });
}

Interpreter::~Interpreter() = default;

void Interpreter::run(const std::vector<std::string>& codes, Reply& reply) {
  State& s = *state_;
  Diagnostics& said = *s.diagnostics;
  clang::PartialTranslationUnit* unit = nullptr;
  std::vector<clang::NamedDecl*> hidden;
  const auto parse = [&](const std::string& code) -> clang::PartialTranslationUnit* {
    said.messages.clear();
    said.redefined.clear();
    auto result = s.session->Parse(code);
    if (result) return &*result;
    llvm::consumeError(result.takeError());
    return nullptr;
  };
  std::vector<Message> first;
  for (std::size_t k = 0; k < codes.size() && !unit; ++k) {
    unit = parse(codes[k]);
    // Defined before? Then the old ones step aside, and the new ones are put where they clash with no symbol of the linker.
    if (!unit && !said.redefined.empty()) {
      const std::vector<Message> before = said.messages;
      for (const std::string& name : said.redefined)
        for (clang::NamedDecl* d : s.defined)
          if (d->getNameAsString() == name && std::find(hidden.begin(), hidden.end(), d) == hidden.end()) {
            hide(s.sema(), d);
            hidden.push_back(d);
          }
      if (!hidden.empty())
        unit = parse("inline namespace fluxion_input_" + std::to_string(++s.shadows) + " {\n" + codes[k] + "\n}\n");
      if (!unit) {
        for (clang::NamedDecl* d : hidden) unhide(s.sema(), d);
        hidden.clear();
        if (said.messages.empty()) said.messages = before;
      }
    }
    if (k == 0) first = said.messages;
  }
  if (!unit) {
    reply.failure = "compile";
    reply.messages = std::move(first);
    return;
  }
  reply.messages.insert(reply.messages.end(), said.messages.begin(), said.messages.end());  // warnings

  std::vector<clang::NamedDecl*> made;
  collect(unit->TUPart, made);
  s.link_errors.clear();
  try {
    if (unit->TheModule) {
      if (auto error = s.session->Execute(*unit)) {
        reply.failure = "link";
        std::string what = llvm::toString(std::move(error));
        for (const std::string& e : s.link_errors) what = e;
        // "Symbols not found: [ _Z6nolinkv, ... ]"
        if (const std::size_t open = what.find("[ "), close = what.rfind(" ]"); what.starts_with("Symbols not found") && close != what.npos) {
          std::string names;
          for (std::size_t at = open + 2; at < close;) {
            const std::size_t end = std::min(what.find(", ", at), close);
            names += (names.empty() ? "" : ", ") + llvm::demangle(what.substr(at, end - at));
            at = end + 2;
          }
          what = "declared but nowhere defined: " + names;
        }
        reply.messages.push_back({"error", what, {}, 0, 0, 0});
      }
    }
  } catch (...) {
    take_exception(reply);
  }
  if (reply.failure == "link") {
    // The input after a failed link is lost: make it this one.
    if (auto* empty = parse(";"); empty && empty->TheModule) llvm::consumeError(s.session->Execute(*empty));
    s.link_errors.clear();
  }
  if (reply.failure.empty()) {
    for (clang::NamedDecl* d : hidden) std::erase(s.defined, d);
    s.defined.insert(s.defined.end(), made.begin(), made.end());
  } else {
    // A variable whose initialiser threw was never made: nobody may name it.
    for (clang::NamedDecl* d : made) hide(s.sema(), d);
    for (clang::NamedDecl* d : hidden) unhide(s.sema(), d);
  }
}

}  // namespace fluxion::console
