// Programs in memory form as native functions.
#pragma once
#include <memory>
#include <string_view>

#include "fluxion/backend.h"

namespace fluxion::cpu {

std::shared_ptr<Executable> compile_program(const Function& f, const CompileOptions& options);
std::shared_ptr<Executable> load_program(const Function& f, const CompileOptions& options, std::string_view object);

}  // namespace fluxion::cpu
