#include "promises.h"

#include "words.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <llvm/Demangle/Demangle.h>
#include <llvm/ExecutionEngine/Orc/IndirectionUtils.h>
#include <llvm/TargetParser/Host.h>
#include <llvm/TargetParser/Triple.h>
#pragma GCC diagnostic pop

namespace fluxion::console {

std::string without_wrappers(std::string text) {
  for (std::size_t at = 0; (at = text.find("fluxion_input_", at)) != text.npos;) {
    std::size_t end = at;
    while (end < text.size() && is_word(text[end])) ++end;
    text.erase(at, end + (text.compare(end, 2, "::") == 0 ? 2 : 0) - at);
  }
  if (const std::size_t at = text.find("void function 'fluxion_call_"); at != text.npos)
    text.replace(at, text.find('\'', at + 15) + 1 - at, "what stands outside of functions");
  return text;
}
std::string user_name(const std::string& symbol) { return without_wrappers(llvm::demangle(symbol)); }

Promises::Promises() {
  const auto build = llvm::orc::createLocalIndirectStubsManagerBuilder(llvm::Triple(llvm::sys::getProcessTriple()));
  if (build) stubs_ = build();
}
Promises::~Promises() = default;

bool Promises::may_be_kept(const std::string& symbol) {
  const std::string name = llvm::demangle(symbol);
  return name != symbol && name.starts_with("fluxion_input_") && name.find('(') != name.npos && name.find('<') == name.npos;
}

std::uint64_t Promises::make(const std::string& symbol, std::uint64_t missing) {
  if (!stubs_) return 0;
  if (auto error = stubs_->createStub(symbol, llvm::orc::ExecutorAddr(missing), llvm::JITSymbolFlags::Exported)) {
    llvm::consumeError(std::move(error));
    return 0;
  }
  ++count_;
  open_[user_name(symbol)].push_back(symbol);
  return stubs_->findStub(symbol, true).getAddress().getValue();
}

std::vector<std::string> Promises::kept_by(const std::string& symbol) {
  const auto found = open_.find(user_name(symbol));
  if (found == open_.end()) return {};
  std::vector<std::string> out = std::move(found->second);
  open_.erase(found);
  return out;
}

void Promises::keep(const std::string& symbol, std::uint64_t address) {
  if (auto error = stubs_->updatePointer(symbol, llvm::orc::ExecutorAddr(address))) llvm::consumeError(std::move(error));
}

}  // namespace fluxion::console
