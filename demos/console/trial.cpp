// Every input is tried first, in a copy of the process: compiled and linked, not run. clang's session does not survive an input with
// errors unharmed (templates that were instantiated in it are never emitted again), nor one that does not link; and a crash of the
// compiler ends the copy alone. A copy costs a few milliseconds, since its memory is shared until it is written to.
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "interpreter_state.h"

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
    if (!g.isDeclaration() && !g.hasLocalLinkage() && !g.hasAvailableExternallyLinkage() && !g.getName().starts_with("llvm."))
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

}  // namespace

std::size_t Interpreter::try_out(const std::vector<std::string>& codes, Reply& reply, std::vector<std::string>& missing) {
  State& s = *state_;
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error("no pipe");
  const pid_t child = fork();
  if (child < 0) {
    close(ends[0]), close(ends[1]);
    throw std::runtime_error("no process to try the input in: fork failed");
  }
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(ends[0]);
    Reply found;
    std::size_t chosen = 0;
    clang::PartialTranslationUnit* unit = nullptr;
    for (; chosen < codes.size(); ++chosen) {
      std::vector<Message> said;
      unit = s.parse(codes[chosen], said);
      if (chosen == 0 || unit) found.messages = said;
      if (unit) break;
    }
    found.names.push_back(std::to_string(chosen));
    if (!unit) {
      found.failure = "compile";
    } else if (auto wrong = codes[chosen][0] == kBody ? std::nullopt : s.not_shared(*unit)) {
      found.failure = "compile";
      found.messages = {*wrong};
    } else if (const std::string what = link(s, *unit); !what.empty()) {
      found.failure = "link";
      found.messages = {{"error", link_message(what), {}, 0, 0, 0}};
      for (const std::string& name : missing_symbols(what)) found.names.push_back(name);
    }
    send(ends[1], pack(found));
    _exit(0);
  }
  close(ends[1]);
  const auto message = receive(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  const auto found = message ? unpack_reply(*message) : std::nullopt;
  if (!found) {
    reply.failure = "compile";
    const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    reply.messages.push_back(
        {"error", std::string("the compiler crashed on this input (") + strsignal(signal) + "); the session is as before", {}, 0, 0, 0});
    return codes.size();
  }
  missing.assign(found->names.begin() + std::min<std::ptrdiff_t>(1, std::ssize(found->names)), found->names.end());
  reply.failure = found->failure;
  reply.messages = found->messages;
  return found->failure.empty() && !found->names.empty() ? static_cast<std::size_t>(std::stoul(found->names[0])) : codes.size();
}

}  // namespace fluxion::console
