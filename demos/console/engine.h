// The supervised process: owns the C++ session, answers requests until the front end is gone. Whatever the user's code does to it, the
// front end and what was typed are safe.
#pragma once
#include <csignal>

#include "prelude_cache.h"

namespace fluxion::console {

/// The signal by which the front end asks the engine to stop what runs.
inline constexpr int kStop = SIGUSR1;

struct EngineOptions {
  Prelude prelude;
  bool direct = true;  // values go to standard output as well as into the reply
};

/// Never returns. The first message that it sends is a reply: names[0] describes the device, or a failure to start.
[[noreturn]] void serve(int requests, int replies, const EngineOptions& options);

}  // namespace fluxion::console
