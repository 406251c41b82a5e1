// The bytes of the terminal as the line editor's keys. Two things come in between: the window may change its size while a line is edited,
// and what is pasted is text, in which a tab is no wish for completion.
#pragma once
#include "libedit.h"

namespace fluxion::console {

struct Keys {
  /// The next character for libedit: 1, or 0 at the end, or -1.
  static int read(libedit::EditLine* line, wchar_t* out);
  /// Around the editing of a line: the terminal marks what is pasted in between.
  static void begin();
  static void end();
};

}  // namespace fluxion::console
