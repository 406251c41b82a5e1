// The first five minutes of a user of the installed library.
#include <fluxion/ir.h>

#include <cstdio>

int main() {
  const std::string text = fluxion::to_string(fluxion::Type(fluxion::DType::f32));
  std::printf("%s\n", text.c_str());
  return text == "f32" ? 0 : 1;
}
