// What a ProgramHandle holds: the capture, what is done to it, and a specialisation for each combination of shapes.
#pragma once
#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <set>

#include "budget.h"
#include "program_trace.h"

namespace fluxion::detail {

struct Step {
  ProgramHandle::Transform transform;
  std::vector<int> wrt;  // positions of the arguments at this step
  CheckpointRule checkpoint;
};

struct Specialisation {
  std::string key;
  Device device;
  CapturedProgram program;
  std::shared_ptr<const Function> function;
  std::shared_ptr<const Function> flat;  // what runs: without calls of programs
  std::vector<Type> results;
  std::shared_ptr<Executable> code;
  double cost = 0;
  int settings = 0;                         // parameters that a budget chooses
  bool open = false;                        // has calls of programs whose rules are being captured: of no use later
  std::shared_ptr<const Function> planned;  // memory form, when somebody has asked

  Specialisation() = default;
  Specialisation(const Specialisation&) = delete;
  Specialisation& operator=(const Specialisation&) = delete;
  ~Specialisation() {
    if (code) code->release();
  }
};
/// What to run with some arguments.
struct Choice {
  std::shared_ptr<Specialisation> made;
  Settings settings{};
};

struct ProgramHandle::State : std::enable_shared_from_this<ProgramHandle::State> {
  std::string name;                          // of the lambda
  std::string full_name;                     // with the derivatives that `steps` are: "sim.vjp"
  std::vector<ProgramParameter> parameters;  // of the lambda
  Body body;
  Loc at;
  std::vector<Step> steps;
  CompileOptions options;
  std::recursive_mutex mutex;  // held while specialising; a rule may come back with other shapes
  std::vector<std::shared_ptr<Specialisation>> specialisations;
  std::shared_ptr<std::atomic<std::int64_t>> most = std::make_shared<std::atomic<std::int64_t>>(0);  // bytes of a run
  std::map<std::string, Choice> choices;  // under a budget: by the key and the scalars
  std::shared_ptr<State> vjp_rule, jvp_rule;
  bool rule_takes_results = false;
  std::shared_ptr<State> ruled;                                       // the program with rules that `steps` differentiate
  std::map<std::string, std::shared_ptr<const Function>> with_rules;  // by key

  Choice specialise(std::span<const Argument> arguments, Loc at, bool compile);
  std::shared_ptr<Specialisation> specialisation(const std::string& key, const Device& device, std::span<const Argument> arguments,
                                                 const Checkpoint* within, Loc call);
  Choice choose(const std::string& key, const Device& device, std::span<const Argument> arguments, Loc call);
  /// What was captured for these arguments, with its rules; inside of a rule, a function that stands for it.
  /// Holds no lock while rules are captured, since they may use the program.
  std::shared_ptr<const Function> function_with_rules(std::span<const Argument> arguments, Loc call);
  std::shared_ptr<const Function> rule_function(State& rule, const char* which, std::span<const Argument> arguments,
                                                const std::vector<Type>& results, Loc call) const;
  std::string key_of(std::span<const Argument> arguments, Device& device, Loc call) const;
  /// `within`: what the step that has a budget does instead.
  void transform(Specialisation& s, const Step& step, const Checkpoint* within, std::int64_t batch) const;
  /// How many axes the steps from `first` on put in front of argument `k`.
  std::size_t batch_axes(std::size_t first, std::size_t k) const {
    std::size_t n = 0;
    for (std::size_t i = first; i < steps.size(); ++i)
      n += steps[i].transform == Transform::vmap &&
           std::find(steps[i].wrt.begin(), steps[i].wrt.end(), static_cast<int>(k)) != steps[i].wrt.end();
    return n;
  }
  std::vector<std::int64_t> batches(std::span<const Argument> arguments, Loc call) const;
  std::vector<Argument> without_batches(std::span<const Argument> arguments) const;
};

/// The programs with rules (Function::self) that `f` has stand-ins for, outside of their rules.
std::set<std::uint64_t> open_selves(const Function& f);
/// Throws KernelError where the body of `f`, which is to be transformed, has a call of a program whose rule is being captured.
void refuse_own_derivative(const Function& f, Loc at);

/// A program that does nothing but call `f`, so that who looks at it sees the rules of `f`.
std::shared_ptr<const Function> caller_of(const std::shared_ptr<const Function>& f);

}  // namespace fluxion::detail
