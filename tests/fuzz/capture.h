// Program -> Function, as capture makes it from a lambda.
#pragma once
#include <memory>

#include "fluxion/ir.h"
#include "program.h"

namespace fluxion::fuzz {
std::shared_ptr<const Function> capture(const Program& p);
}
