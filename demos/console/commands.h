// The commands of the console: words behind a colon. A command is a row in the table of commands.cpp; :help is made from it.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "session.h"

namespace fluxion::console {

/// `text` is the whole command, with its colon. False where it failed, which has been told.
bool run_command(Session& session, const std::string& text, const Session::Place& at);
/// How a half-typed command may go on: its name, or an argument that is no C++ (files, devices, what :set sets). Nothing where the
/// argument is C++.
std::optional<std::vector<std::string>> complete_command(const std::string& before);

}  // namespace fluxion::console
