// Where answers of the running input are gathered: the engine opens an Output for each input, host functions add to it.
#pragma once
#include <string>

#include "wire.h"

namespace fluxion::console {

/// `direct`: values are also written to standard output, in order with what the code prints itself.
void open_output(Reply& reply, bool direct, bool quiet);
void close_output();
/// How many characters a line of the terminal has.
int terminal_width();
/// "fluxion::Var<float>" as "fx::Float", and so on.
std::string pretty_type(std::string type);

}  // namespace fluxion::console
