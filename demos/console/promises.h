// Functions that are declared in one input and defined in a later one. Whoever uses such a function before goes through a jump, which
// leads to an error until the definition is there, and to the definition from then on.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace clang {
class NamedDecl;
}
namespace llvm::orc {
class IndirectStubsManager;
}

namespace fluxion::console {

class Promises {
 public:
  Promises();
  ~Promises();

  /// A symbol of a function that an input has declared, whose definition may still come.
  static bool may_be_kept(const std::string& symbol);
  /// Gives `symbol` a jump to `missing`. Its address, 0 where there is no memory for it.
  std::uint64_t make(const std::string& symbol, std::uint64_t missing);
  /// The symbols that were promised and that this definition keeps, each once.
  std::vector<std::string> kept_by(const std::string& symbol);
  /// The jump leads here from now on.
  void keep(const std::string& symbol, std::uint64_t address);
  std::size_t count() const { return count_; }

 private:
  std::unique_ptr<llvm::orc::IndirectStubsManager> stubs_;
  std::map<std::string, std::vector<std::string>> open_;  // by signature: symbols
  std::size_t count_ = 0;
};

/// Without the namespaces that stand around inputs, which are nobody's business.
std::string without_wrappers(std::string text);
/// "f(int)" of a symbol, without the namespaces that stand around inputs.
std::string user_name(const std::string& symbol);

}  // namespace fluxion::console
