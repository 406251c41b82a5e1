// Messages for people: what is wrong, the user's line, a caret.
#pragma once
#include <string>
#include <vector>

#include "source_text.h"
#include "wire.h"

namespace fluxion::console {

/// Colours and the like; all empty where they are not wanted.
struct Style {
  std::string bold, red, yellow, green, dim, off;
};
Style style(bool colours);

/// Errors with the notes that lead to the user's text, warnings about it; nothing of what is inside of headers.
std::string report(const std::vector<Message>& messages, const SourceText& sources, const Style& style);

/// Whether a message is about what stands around the user's text.
bool is_wrapping(const Message& message);

/// The place in the user's text that message `k` is about: its own; inside of a header that of the note that led there, or of a lambda that
/// one of the notes names. A message without a file where there is none.
Message origin_of(const std::vector<Message>& messages, std::size_t k, const SourceText& sources);

/// The place in the user's text that the first error is about; a message without a file where there is none.
Message place_of(const std::vector<Message>& messages, const SourceText& sources);

}  // namespace fluxion::console
