// The prelude as a precompiled header and a library of its inline functions: made once, kept in the cache folder, named by all that
// it depends on.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace fluxion::console {

struct Prelude {
  std::vector<std::string> arguments;  // of the session's compiler
  std::string library;
};

/// What was made before, or is made now; with `anew` it is made in any case. `progress` is called with what takes long.
/// Throws std::runtime_error, with the compiler's words, where it cannot be made.
Prelude prepare_prelude(bool anew, void (*progress)(std::string_view text));

}  // namespace fluxion::console
