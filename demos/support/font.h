// A stroke font for labels: each glyph is a few polylines on a grid of 4 by 6 units, y down.
#pragma once
#include <string_view>

namespace demo {

/// "xyxyxy xyxy": points as digit pairs, strokes separated by a space; "" for an unknown or blank character.
std::string_view glyph(char c);

}  // namespace demo
