// The generator: device functions first, each of which may call those before it, then the kernel.
#include "generate_statements.h"

namespace fluxion::fuzz {
namespace {

class Generator : Statements {
 public:
  Generator(std::uint64_t seed, DType real) : Statements(seed, real) {}
  Program run() {
    for (int n = chance(2) ? 1 + pick(3) : 0; n > 0; --n) function();
    if (!plain_ && chance(3)) singular_functions();
    p_.keep_calls = chance(2);
    out_may_be_read_ = false;  // not before its first store, which comes before anything else
    p_.body.push_back(store(kY, squashed(real(2))));
    out_may_be_read_ = true;
    for (Kind k : {Kind::real, Kind::real, Kind::integer, Kind::boolean}) let(p_.body, k);  // something for loops to carry
    if (chance(3)) local(p_.body);
    block(p_.body, 0, 5 + pick(8), true);
    p_.body.push_back(store(kY, squashed(real(3))));
    if (chance(2)) p_.body.push_back(sum(kG));
    if (p_.group && chance(2)) {
      p_.body.push_back({Stmt::Form::stop, Kind::boolean, 0, {boolean(2)}});
      p_.body.push_back(sum(kG));
      keep(p_.body, squashed(real(2)));
    }
    return std::move(p_);
  }

 private:
  /// One with a derivative that is infinite at 0, and perhaps one that has it by rules.
  void singular_functions() {
    Device d;
    d.takes = {Kind::real};
    d.singular = true;
    const Expr x = {Expr::Form::variable, Kind::real, {}, 0, 0};
    d.results = {make(kSingular[pick(std::size(kSingular))], Kind::real, {x})};
    d.variables = 1;
    p_.functions.push_back(d);
    if (chance(2)) return;
    d.derivative_of = static_cast<int>(p_.functions.size()) - 1;
    d.rules = static_cast<Device::Rules>(1 + pick(3));
    d.results = {make(Opcode::mul, Kind::real, {x, number(Kind::real)})};
    p_.functions.push_back(std::move(d));
  }
  void function() {
    Device d;
    const int before = static_cast<int>(p_.functions.size());
    std::vector<Kind> gives = {chance(4) ? Kind::exact : Kind::real};
    if (before > 0 && chance(2)) {  // its derivative is that of another one: only the rules know
      d.derivative_of = pick(before);
      d.rules = static_cast<Device::Rules>(1 + pick(3));
      const Device& other = p_.functions[static_cast<std::size_t>(d.derivative_of)];
      d.takes = other.takes;
      gives.clear();
      for (const Expr& r : other.results) gives.push_back(r.kind);
    } else {
      d.takes = {chance(4) ? Kind::exact : Kind::real};
      for (int n = pick(3); n > 0; --n) d.takes.push_back(any_kind());
      if (chance(2)) gives.push_back(any_kind());
    }
    device_ = true;
    statements_ = kMostStatements - 8;
    for (Kind k : d.takes) declare(k);
    if (chance(4)) local(d.body);
    block(d.body, 0, pick(5));
    for (Kind k : gives) d.results.push_back(of_kind(k));
    d.variables = p_.variables;
    p_.functions.push_back(std::move(d));
    device_ = false;
    scope_.clear(), locals_.clear(), fixed_.clear();
    statements_ = p_.variables = 0;
    next_local_ = kFirstLocal;
  }
  /// A `real` that is exact by chance is a `real` to callers.
  Expr of_kind(Kind k) {
    Expr e = value(k, 2);
    if (k == Kind::real) e.kind = k;
    return e;
  }
};

}  // namespace

Program generate(std::uint64_t seed, DType real) { return Generator(seed, real).run(); }

}  // namespace fluxion::fuzz
