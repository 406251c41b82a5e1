// Derivatives of the functions that a function calls. Each is made once while the outermost transform runs, however many
// calls it has and however deep, so that functions that call each other twice have derivatives of linear size.
#pragma once
#include <map>
#include <memory>
#include <vector>

#include "fluxion/ad.h"
#include "fluxion/builder.h"

namespace fluxion::ad {

class Callees {
 public:
  using Pointer = std::shared_ptr<const Function>;
  using Mask = std::vector<char>;
  struct Tangent {
    Pointer function;
    Mask dots;
  };  // parameters, then a tangent for each of `dots`
  struct Adjoint {
    Pointer function;
    Mask wrt, seeds;
    bool guard;    // a zero cotangent must give zero, see Reverse
    bool results;  // takes the results of the call after its arguments
  };

  /// Of the transform that runs on this thread.
  static Callees& now();
  struct Scope {
    Scope();
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    std::unique_ptr<Callees> mine_;
  };

  /// -> results, then a tangent for each float one. `dots` by parameter; a rule has tangents for all float ones.
  Tangent jvp(const Pointer& f, const Mask& dots);
  /// (parameters, a cotangent for each of `seeds`) -> a gradient for each of `wrt`. `tainted`: a cotangent may be a zero that a
  /// mask put there. Neither prints nor checks.
  Adjoint vjp(const Pointer& f, const Mask& wrt, const Mask& seeds, bool tainted);
  /// Of a program, which has rules: (parameters, what it returns if takes_results, a cotangent for each float value of that) -> a
  /// gradient for each float parameter, of a scalar an array of one element. With its checks: it is no replay.
  Pointer program_vjp(const Pointer& f);
  /// (parameters, a tangent for each float one) -> what it returns, then a tangent for each float value of that.
  Pointer program_jvp(const Pointer& f);
  /// Without prints and checks: for replays.
  Pointer quiet(const Pointer& f);
  /// True when a cotangent inside `f` may be a zero that a mask puts there.
  bool masks(const Pointer& f);

 private:
  std::vector<Pointer> kept_;  // what the maps know by address
  std::map<std::pair<const Function*, const Function*>, Pointer> closed_;
  /// A rule of `f`, with calls of `f` where it, or a rule of a program that it calls, has calls of what stands for `f`. What stands
  /// for another program stays.
  Pointer closed(const Pointer& f, const Pointer& rule);
  Pointer program_jvp_of_vjp(const Pointer& f);
  Pointer program_vjp_of_jvp(const Pointer& f);
  std::map<std::pair<const Function*, Mask>, Tangent> jvps_;
  std::map<std::pair<const Function*, Mask>, Adjoint> vjps_;
  std::map<const Function*, Pointer> quiet_;
  std::map<const Function*, bool> masks_;
};

/// Throws KernelError where `callee` is or calls an impure host function that gives numbers.
void refuse_impure(const Function& callee, Loc at);

/// A function or program that does nothing but call `f`: the transforms see a call, and with it the rules of `f`.
Function calling(const Function& f);
/// True when the vjp `rule` of `f` wants what `f` returned, after the parameters.
bool takes_results(const Function& f, const Function& rule);
/// The body of a program with In parameters only, here.
Values splice(Builder& b, const Function& program, const Values& arguments);

// The transforms for parts of the parameters and results; ad.h has the public ones.
Function jvp_fn(const Function& f, const std::vector<char>& dots);
Function vjp_fn(const Function& f, const std::vector<char>& wrt, const std::vector<char>& seeds, bool tainted, bool quiet);
Function vjp_program(const Function& f, std::vector<char> wrt, const Checkpoint& how);
/// A one-element array that holds a scalar of a program.
ValueId filled(Builder& b, const Type& type, ValueId scalar);

}  // namespace fluxion::ad
