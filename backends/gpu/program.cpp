#include "program.h"

#include "fluxion/cancel.h"

namespace fluxion::gpu {

std::int64_t run_program(const Function& f, const Launch& launch, ProgramMachine& machine, FailureSlot& failure) {
  // An error of ours has its place in front of its text already; the slot puts it there again.
  const auto text = [](const Error& e) {
    const std::string what = e.what(), at = to_string(e.where());
    return at.empty() ? what : what.substr(at.size() + 2);
  };
  try {
    std::vector<EvalMemory> arrays;
    for (const ArrayArgument& a : launch.arrays) arrays.push_back({static_cast<std::byte*>(a.data), a.extent});
    return run_memory_form(f, arrays, launch.scalars, machine);
  } catch (const KernelError& e) { failure.set(FailureSlot::Kind::kernel, e.where(), text(e)); } catch (const ShapeError& e) {
    failure.set(FailureSlot::Kind::shape, e.where(), text(e));
  } catch (const DeviceError& e) { failure.set(FailureSlot::Kind::device, e.where(), text(e)); } catch (const Cancelled& e) {
    failure.set(FailureSlot::Kind::cancelled, e.where(), text(e));
  }
  return 0;
}

}  // namespace fluxion::gpu
