// Every input is a translation unit of its own, compiled and run at once. Some things need care:
// - Names that are defined again, which C++ forbids and a prompt must allow. Each declaration stands in an inline namespace of its own,
//   so that nothing clashes, and afterwards look-ups find the latest alone.
// - Failures halfway: the session must be as before. What does not compile or link is found out elsewhere (trial.cpp).
// - clang 19: statements at the outermost level crash on lambdas, and so do erroneous declarations there. Hence functions around
//   statements and namespaces around declarations.
#include "interpreter.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <typeinfo>

#include "fluxion/cancel.h"
#include "declarations.h"
#include "host/output.h"
#include "interpreter_state.h"
#include "linkage.h"
#include "memory_limit.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <clang/AST/Mangle.h>
#include <clang/Basic/DiagnosticParse.h>
#include <clang/Basic/DiagnosticSema.h>
#include <clang/Lex/Lexer.h>
#include <llvm/Demangle/Demangle.h>
#include <llvm/ExecutionEngine/JITLink/EHFrameSupport.h>
#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/ExecutionEngine/Orc/MapperJITLinkMemoryManager.h>
#include <llvm/ExecutionEngine/Orc/MemoryMapper.h>
#include <llvm/ExecutionEngine/Orc/ObjectLinkingLayer.h>
#include <llvm/Support/TargetSelect.h>
#pragma GCC diagnostic pop

namespace fluxion::console {

/// Takes what the compiler says as data.
class Diagnostics : public clang::DiagnosticConsumer {
 public:
  std::vector<Message> messages;
  /// Whether an error says that a declaration cannot stand where it was put.
  bool misplaced = false;

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
    if (m.level == "error") misplaced |= is_misplaced(d.getID(), m.text);
    messages.push_back(std::move(m));
  }

 private:
  static bool is_misplaced(unsigned id, const std::string& text) {
    namespace diag = clang::diag;
    return text.find("fluxion_input_") != text.npos || text.find("fluxion_call_") != text.npos ||
           id == diag::err_function_definition_not_allowed || id == diag::err_template_outside_namespace_or_class_scope ||
           id == diag::err_namespace_nonnamespace_scope || id == diag::err_inline_declaration_block_scope ||
           id == diag::err_explicit_instantiation_out_of_scope;
  }
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

/// All code of a session within 1 GiB: it refers to code of earlier inputs by 32 bits, and the tapes of kernels reserve so much address
/// space that two allocations in a row may lie further apart than that.
std::unique_ptr<llvm::orc::LLJITBuilder> near_code() {
  using namespace llvm::orc;
  auto builder = std::make_unique<LLJITBuilder>();
  auto machine = JITTargetMachineBuilder::detectHost();
  if (!machine) throw std::runtime_error(llvm::toString(machine.takeError()));
  machine->setRelocationModel(llvm::Reloc::PIC_);
  machine->setCodeModel(llvm::CodeModel::Small);
  builder->setJITTargetMachineBuilder(std::move(*machine));
  builder->setObjectLinkingLayerCreator([](ExecutionSession& session, const llvm::Triple&) -> llvm::Expected<std::unique_ptr<ObjectLayer>> {
    auto memory = MapperJITLinkMemoryManager::CreateWithMapper<InProcessMemoryMapper>(std::size_t{1} << 30);
    if (!memory) return memory.takeError();
    auto layer = std::make_unique<ObjectLinkingLayer>(session, std::move(*memory));
    layer->addPlugin(std::make_unique<EHFrameRegistrationPlugin>(session, std::make_unique<llvm::jitlink::InProcessEHFrameRegistrar>()));
    return layer;
  });
  return builder;
}

/// Gives clang's session the builder of its linker.
class Clang : public clang::Interpreter {
 public:
  static std::unique_ptr<clang::Interpreter> make(std::unique_ptr<clang::CompilerInstance> compiler) {
    llvm::Error error = llvm::Error::success();
    std::unique_ptr<clang::Interpreter> out(new Clang(std::move(compiler), error));
    if (error) throw std::runtime_error(llvm::toString(std::move(error)));
    return out;
  }

 private:
  Clang(std::unique_ptr<clang::CompilerInstance> compiler, llvm::Error& error)
      : clang::Interpreter(std::move(compiler), error, near_code()) {}
};

}  // namespace

void take_exception(Reply& reply) {
  Message m{"error", {}, {}, 0, 0, 0};
  const auto of_fluxion = [&](const char* kind, const Error& e) {
    reply.failure = kind;
    m.text = e.what();
    m.file = e.where().file;
    m.line = static_cast<int>(e.where().line);
  };
  const auto thrown = [&](const char* type, const std::string& value) {
    reply.failure = "exception";
    m.text = std::string("an exception of type ") + type + ": " + value;
  };
  try {
    throw;
  } catch (const KernelError& e) { of_fluxion("KernelError", e); } catch (const ShapeError& e) {
    of_fluxion("ShapeError", e);
  } catch (const DeviceError& e) { of_fluxion("DeviceError", e); } catch (const Cancelled& e) {
    of_fluxion("Cancelled", e);
  } catch (const IoError& e) { of_fluxion("IoError", e); } catch (const Bug& e) {
    of_fluxion("Bug", e);
  } catch (const Error& e) { of_fluxion("Error", e); } catch (const std::bad_alloc&) {
    reply.failure = "exception";
    m.text = "out of memory (std::bad_alloc)";
  } catch (const std::exception& e) {
    reply.failure = "exception";
    m.text = pretty_type(demangled(typeid(e).name())) + ": " + e.what();
  } catch (int v) { thrown("int", std::to_string(v)); } catch (const char* v) {
    thrown("const char*", v ? v : "nullptr");
  } catch (const std::string& v) { thrown("std::string", v); } catch (const abi::__forced_unwind&) {
    throw;
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    reply.failure = "exception";
    m.text = "an exception of type " + (type ? pretty_type(demangled(type->name())) : std::string("unknown"));
  }
  reply.messages.push_back(std::move(m));
}

Interpreter::Interpreter(const std::vector<std::string>& arguments, const std::string& library) : state_(std::make_unique<State>()) {
  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetAsmPrinter();
  llvm::InitializeNativeTargetAsmParser();  // asm statements
  std::vector<const char*> list;
  for (const std::string& a : arguments) list.push_back(a.c_str());
  clang::IncrementalCompilerBuilder builder;
  builder.SetCompilerArgs(list);
  auto compiler = builder.CreateCpp();
  if (!compiler) throw std::runtime_error(llvm::toString(compiler.takeError()));
  state_->diagnostics = std::make_unique<Diagnostics>();
  (*compiler)->getDiagnostics().setClient(state_->diagnostics.get(), false);
  try {
    state_->session = Clang::make(std::move(*compiler));
  } catch (const std::exception& e) {
    std::string why = e.what();
    for (const Message& m : state_->diagnostics->messages) why += "; " + m.text;
    throw std::runtime_error(why);
  }
  // A variable gets its value in the input that defines it, not in the one that uses it first.
  state_->session->getCompilerInstance()->getCodeGenOpts().KeepPersistentStorageVariables = true;
  if (auto error = state_->session->LoadDynamicLibrary(library.c_str())) throw std::runtime_error(llvm::toString(std::move(error)));
  auto engine = state_->session->getExecutionEngine();
  if (!engine) throw std::runtime_error(llvm::toString(engine.takeError()));
  engine->getExecutionSession().setErrorReporter(
      [s = state_.get()](llvm::Error e) { s->link_errors.push_back(llvm::toString(std::move(e))); });
}

Interpreter::~Interpreter() = default;

std::vector<std::string> missing_symbols(const std::string& what) {
  // "Symbols not found: [ _Z6nolinkv, ... ]"
  std::vector<std::string> names;
  const std::size_t open = what.find("[ "), close = what.rfind(" ]");
  if (what.find("Symbols not found") == what.npos || open == what.npos || close == what.npos) return names;
  for (std::size_t at = open + 2; at < close;) {
    const std::size_t end = std::min(what.find(", ", at), close);
    names.push_back(what.substr(at, end - at));
    at = end + 2;
  }
  return names;
}

std::string link_message(const std::string& what) {
  std::string names;
  for (const std::string& name : missing_symbols(what))
    if (name.starts_with("__emutls"))
      return "a thread_local variable of a library cannot be used from here: " + user_name(name.substr(name.find('.') + 1));
  for (const std::string& name : missing_symbols(what)) names += (names.empty() ? "" : ", ") + user_name(name);
  return names.empty() ? what : "declared but nowhere defined: " + names;
}

clang::PartialTranslationUnit* Interpreter::State::parse(const std::string& code, std::vector<Message>& said) {
  const std::string number = std::to_string(++inputs), text = code.substr(1);
  std::string whole = code[0] == kOutermost || code[0] == kDescription ? text : code;
  body.clear(), added.clear();
  if (code[0] == kBody || code[0] == kStatement) {
    body = "fluxion_call_" + number;
    whole = "extern \"C\" void " + body + "() {\n" + text + "\n}\n";
  } else if (code[0] == kDeclaration || code[0] == kType) {
    whole = "inline namespace fluxion_input_" + number + " {\n" + (code[0] == kType ? "using Type =\n" : "") + text + "\n}\n";
  }
  diagnostics->messages.clear();
  diagnostics->misplaced = false;
  clang::LangOptions& language = session->getCompilerInstance()->getLangOpts();
  language.AccessControl = code[0] != kDescription;
  auto result = session->Parse(whole);
  language.AccessControl = true;
  said = diagnostics->messages;
  misplaced = diagnostics->misplaced;
  if (!result) {
    llvm::consumeError(result.takeError());
    return nullptr;
  }
  if (result->TheModule) added = share(*result->TheModule, shared);
  return &*result;
}

bool Interpreter::provide(const std::vector<std::string>& symbols) {
  State& s = *state_;
  std::string code;
  for (const std::string& symbol : symbols) {
    const std::string name = llvm::demangle(symbol);
    if (name == symbol || name.find_first_of("( ") != name.npos || name.find("fluxion_input_") != name.npos ||
        !s.provided.insert(symbol).second)
      return false;
    code += "extern const __typeof__(::" + name + ") fluxion_provided_" + std::to_string(s.provided.size()) + " __asm__(\"" + symbol +
            "\") = ::" + name + ";\n";
  }
  if (code.empty()) return false;
  std::vector<Message> said;
  clang::PartialTranslationUnit* unit = s.parse(code, said);
  if (!unit || !unit->TheModule) return false;
  if (auto error = s.session->Execute(*unit)) {
    llvm::consumeError(std::move(error));
    return false;
  }
  return true;
}

bool Interpreter::promise(const std::vector<std::string>& symbols) {
  State& s = *state_;
  auto engine = s.session->getExecutionEngine();
  if (!engine || symbols.empty()) return false;
  for (const std::string& symbol : symbols)
    if (!Promises::may_be_kept(symbol)) return false;
  for (const std::string& symbol : symbols) {
    const std::string name = "fluxion_missing_" + std::to_string(s.promises.count());
    std::vector<Message> said;
    clang::PartialTranslationUnit* unit = s.parse("extern \"C\" void " + name + "() { throw ::fluxion::Error({}, \"" + user_name(symbol) +
                                                      " is declared, but not defined yet\"); }\n",
                                                  said);
    if (!unit || !unit->TheModule) return false;
    auto error = s.session->Execute(*unit);
    auto missing = error ? llvm::Expected<llvm::orc::ExecutorAddr>(std::move(error)) : s.session->getSymbolAddress(name);
    const std::uint64_t stub = missing ? s.promises.make(symbol, missing->getValue()) : 0;
    if (!missing) llvm::consumeError(missing.takeError());
    if (stub == 0) return false;
    const llvm::orc::ExecutorSymbolDef where(llvm::orc::ExecutorAddr(stub),
                                             llvm::JITSymbolFlags::Exported | llvm::JITSymbolFlags::Callable);
    if (auto e = engine->getMainJITDylib().define(llvm::orc::absoluteSymbols({{engine->getExecutionSession().intern(symbol), where}}))) {
      llvm::consumeError(std::move(e));
      return false;
    }
  }
  return true;
}

/// Definitions among what an input has made take the place of the errors that stood for them.
static void keep_promises(Interpreter::State& s, const std::vector<clang::NamedDecl*>& made) {
  if (s.promises.count() == 0) return;
  clang::ASTNameGenerator symbols(s.context());
  for (clang::NamedDecl* d : made) {
    auto* f = llvm::dyn_cast<clang::FunctionDecl>(d);
    if (!f || !f->isThisDeclarationADefinition() || f->isTemplated()) continue;
    const std::string symbol = symbols.getName(f);
    auto address = s.session->getSymbolAddressFromLinkerName(symbol);
    if (!address) {
      llvm::consumeError(address.takeError());
      continue;
    }
    for (const std::string& promised : s.promises.kept_by(symbol)) s.promises.keep(promised, address->getValue());
  }
}

void Interpreter::run(const std::vector<std::string>& codes, Reply& reply) {
  State& s = *state_;
  const std::size_t chosen = choose(codes, reply);
  if (chosen >= codes.size()) return;
  reply.form = static_cast<int>(chosen);
  std::vector<Message> said;
  clang::PartialTranslationUnit* unit = s.parse(codes[chosen], said);
  if (!unit) {
    reply.failure = "compile";
    reply.messages = std::move(said);
    return;
  }
  reply.messages = std::move(said);  // warnings
  for (Message& m : reply.messages) m.text = without_wrappers(m.text);
  std::vector<clang::NamedDecl*> made;
  collect(unit->TUPart, made);
  s.shared.merge(s.added);
  if (const clang::FunctionDecl* body = s.body.empty() ? nullptr : function_of(unit->TUPart, s.body))
    reply.echo = is_echo(*body, s.context());
  s.link_errors.clear();
  const auto link_failed = [&](llvm::Error error) {
    reply.failure = "link";
    std::string what = llvm::toString(std::move(error));
    for (const std::string& e : s.link_errors) what = e;
    reply.messages.push_back({"error", link_message(what), {}, 0, 0, 0});
  };
  try {
    const MemoryLimit limit;
    if (unit->TheModule)
      if (auto error = s.session->Execute(*unit)) link_failed(std::move(error));
    if (!s.body.empty() && reply.failure.empty()) {
      auto address = s.session->getSymbolAddress(s.body);
      if (address) address->toPtr<void (*)()>()();
      else link_failed(address.takeError());
    }
  } catch (...) { take_exception(reply); }
  if (!reply.failure.empty()) {
    // A variable whose initialiser threw was never made: nobody may name it.
    for (clang::NamedDecl* d : made) hide(s.sema(), d);
    return;
  }
  keep_promises(s, made);
  for (clang::NamedDecl* later : made)
    std::erase_if(s.defined, [&](clang::NamedDecl* earlier) {
      const bool gone = replaces(s.context(), later, earlier);
      if (gone) hide(s.sema(), earlier);
      return gone;
    });
  s.defined.insert(s.defined.end(), made.begin(), made.end());
}

}  // namespace fluxion::console
