// The ways in which an item may be meant. They are tried one after the other (trial.cpp), the likeliest first, and the first that clang
// takes is what the item is.
#pragma once
#include "session.h"

namespace fluxion::console {

std::vector<std::string> forms(const Item& item, const Session::Place& at);

}  // namespace fluxion::console
