// The commands of the console: words behind a colon. A command is a row in the table of commands.cpp; :help is made from it.
#pragma once
#include <string>
#include <vector>

#include "session.h"

namespace fluxion::console {

/// `text` is the whole command, with its colon. False where it failed, which has been told.
bool run_command(Session& session, const std::string& text, const Session::Place& at);
/// Commands that start so.
std::vector<std::string> complete_command(const std::string& start);

}  // namespace fluxion::console
