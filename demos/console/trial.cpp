// Every input is tried first, in a copy of the process: compiled and linked, not run. clang's session does not survive an input with
// errors unharmed (templates that were instantiated in it are never emitted again), nor one that does not link; and a crash of the
// compiler ends the copy alone. A copy costs a few milliseconds, since its memory is shared until it is written to.
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <utility>

#include "declarations.h"
#include "interpreter_state.h"
#include "linkage.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/IR/Module.h>
#pragma GCC diagnostic pop

namespace fluxion::console {
namespace {

/// Makes code of the module and looks for everything that it refers to; "" when all is found.
std::string link(Interpreter::State& s, clang::PartialTranslationUnit& unit) {
  if (!unit.TheModule) return {};
  std::vector<std::string> names;
  for (const llvm::GlobalValue& g : unit.TheModule->global_values())
    if (!g.isDeclaration() && !g.hasLocalLinkage() && !g.isThreadLocal() && !g.hasAvailableExternallyLinkage() &&
        !g.getName().starts_with("llvm."))
      names.push_back(g.getName().str());
  auto engine = s.session->getExecutionEngine();
  if (!engine) return llvm::toString(engine.takeError());
  s.link_errors.clear();
  // The context belongs to the session; the copy of the process never gets to freeing it twice.
  llvm::orc::ThreadSafeContext context(std::unique_ptr<llvm::LLVMContext>(&unit.TheModule->getContext()));
  if (auto error = engine->addIRModule(llvm::orc::ThreadSafeModule(std::move(unit.TheModule), context)))
    return llvm::toString(std::move(error));
  for (const std::string& name : names) {
    auto address = engine->lookup(name);
    if (address) continue;
    const std::string what = llvm::toString(address.takeError());
    return s.link_errors.empty() ? what : s.link_errors.front();
  }
  return {};
}

/// Whether clang has read the text as what it was meant to be. `what`: the first character of the code.
bool is_that(char what, Interpreter::State& s, const clang::PartialTranslationUnit& unit) {
  if (what == kDeclaration || what == kOutermost) return declares(unit.TUPart);
  if (what != kStatement) return true;
  const clang::FunctionDecl* body = function_of(unit.TUPart, s.body);
  return body && !declares_locally(*body);
}

/// A type where a value is wanted.
Message type_message(Interpreter::State& s, const clang::PartialTranslationUnit& unit) {
  Message m{"error", "this is a type, not a value", {}, 0, 0, 0};
  for (const clang::Decl* d : unit.TUPart->decls())
    if (const auto* space = llvm::dyn_cast<clang::NamespaceDecl>(d))
      for (const clang::Decl* each : space->decls())
        if (const auto* alias = llvm::dyn_cast<clang::TypeAliasDecl>(each)) {
          const clang::SourceManager& sources = s.context().getSourceManager();
          const auto range = alias->getTypeSourceInfo()->getTypeLoc().getSourceRange();
          const auto at = sources.getPresumedLoc(sources.getExpansionLoc(range.getBegin()));
          if (at.isInvalid()) continue;
          m.file = at.getFilename(), m.line = static_cast<int>(at.getLine()), m.column = static_cast<int>(at.getColumn()), m.width = 1;
        }
  return m;
}

/// In the copy of the process.
Trial attempt(Interpreter::State& s, const std::string& code) {
  Trial t;
  clang::PartialTranslationUnit* unit = s.parse(code, t.reply.messages);
  if (!unit) {
    t.misplaced = s.misplaced;
    t.reply.failure = "compile";
  } else if (code[0] == kType) {
    t.reply.failure = "type";
    t.reply.messages = {type_message(s, *unit)};
  } else if (!is_that(code[0], s, *unit)) {
    t.misplaced = true;
    t.reply.failure = "compile";
    t.reply.messages.clear();
  } else if (t.missing = wanted_descriptions(s.context(), s.sema(), s.described); !t.missing.empty()) {
    t.reply.failure = "describe";
  } else if (const std::string what = link(s, *unit); !what.empty()) {
    t.reply.failure = "link";
    t.reply.messages = {{"error", link_message(what), {}, 0, 0, 0}};
    t.missing = missing_symbols(what);
  }
  return t;
}

}  // namespace

Trial Interpreter::try_out(const std::string& code) {
  int ends[2];
  if (pipe(ends) != 0) throw Untried(std::string("no copy of the process to try the input in: pipe: ") + std::strerror(errno));
  const pid_t child = fork();
  if (child < 0) {
    const std::string why = std::strerror(errno);
    close(ends[0]), close(ends[1]);
    throw Untried("no copy of the process to try the input in: fork: " + why);
  }
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(ends[0]);
    Trial t = attempt(*state_, code);
    t.reply.names = std::move(t.missing);
    t.reply.echo = t.misplaced;
    send(ends[1], pack(t.reply));
    _exit(0);
  }
  close(ends[1]);
  const auto message = receive(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  const auto found = message ? unpack_reply(*message) : std::nullopt;
  Trial t;
  if (found) {
    t.reply = *found;
    t.missing = std::move(t.reply.names);
    t.misplaced = std::exchange(t.reply.echo, false);
    return t;
  }
  const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  t.misplaced = true;
  t.reply.failure = "compile";
  t.reply.messages = {
      {"error", std::string("the compiler crashed on this input (") + strsignal(signal) + "); the session is as before", {}, 0, 0, 0}};
  return t;
}

Trial Interpreter::try_linked(const std::string& code) {
  Trial t = try_out(code);
  // Variables of headers, such as std::ranges::sort, are neither in the prelude's library nor emitted by those who use them.
  // Functions may be defined later, unless they are called here and now.
  const bool called = code[0] == kBody || code[0] == kStatement;
  const auto mended = [&] {
    if (t.reply.failure == "describe") return describe(t.missing);
    return t.reply.failure == "link" && (provide(t.missing) || (!called && promise(t.missing)));
  };
  for (int k = 0; k < 16 && mended(); ++k) t = try_out(code);
  return t;
}

std::size_t Interpreter::choose(const std::vector<std::string>& codes, Reply& reply) {
  // The errors that are told are those of the first reading that is not a misunderstanding.
  std::optional<Trial> best;
  bool misplaced = false;
  const auto rank = [](const Trial& t) { return t.reply.messages.empty() ? 0 : t.misplaced ? 1 : 2; };
  for (std::size_t k = 0; k < codes.size(); ++k) {
    if (codes[k][0] == kOutermost && k > 0 && !misplaced) continue;
    Trial t = try_linked(codes[k]);
    if (t.reply.failure.empty()) return k;
    misplaced |= t.misplaced;
    const bool last = t.reply.failure == "link" || t.reply.failure == "type";
    if (!best || last || rank(t) > rank(*best)) best = std::move(t);
    if (last) break;
  }
  reply.failure = best->reply.failure == "link" ? "link" : "compile";
  reply.messages = std::move(best->reply.messages);
  if (reply.messages.empty()) reply.messages = {{"error", "this is neither a declaration nor a statement nor an expression", {}, 0, 0, 0}};
  for (Message& m : reply.messages) m.text = without_wrappers(m.text);
  return codes.size();
}

}  // namespace fluxion::console
