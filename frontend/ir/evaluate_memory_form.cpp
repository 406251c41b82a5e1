// The evaluator for programs in memory form: what the buffer plan is checked with, and what the reference
// backend runs. Memory that nobody has written holds a pattern that reads as NaN, so that a plan which uses a
// buffer too early or too late shows.
#include <cstdlib>
#include <cstring>

#include "fluxion/evaluate.h"
#include "fluxion/memory_form.h"

namespace fluxion {
namespace {

constexpr int kUnwritten = 0xff;

class Evaluator final : public ProgramMachine {
 public:
  Evaluator(const Function& f, const EvalOptions& options) : f_(f), options_(options) {}
  void* allocate(std::size_t bytes) override { return std::malloc(bytes); }
  void free(void* data, std::size_t) override { std::free(data); }
  void write(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void read(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { std::memmove(to, from, bytes); }
  void zero(void* to, std::size_t bytes) override { std::memset(to, 0, bytes); }
  void fresh(void* data, std::size_t bytes) override { std::memset(data, kUnwritten, bytes); }
  bool launch(std::size_t callee, const std::array<std::int64_t, 3>& domain, std::span<const EvalMemory> arrays,
              std::span<const std::uint64_t> scalars) override {
    evaluate_kernel(*f_.callees[callee], domain, arrays, scalars, options_);
    return true;
  }
  void print(std::string_view line) override {
    if (options_.print) options_.print(line);
  }

 private:
  const Function& f_;
  const EvalOptions& options_;
};

}  // namespace

void evaluate_memory_form(const Function& f, std::span<const EvalMemory> arrays, std::span<const std::uint64_t> scalars,
                          const EvalOptions& options) {
  Evaluator machine(f, options);
  run_memory_form(f, arrays, scalars, machine);
}

}  // namespace fluxion
