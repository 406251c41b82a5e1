// The strokes of the label font. Lower case is not here: it is drawn as small capitals.
#include "support/font.h"

namespace demo {

std::string_view glyph(char c) {
  switch (c) {
    case 'A': return "062046 1434";
    case 'B': return "060030413233 03334445360606";
    case 'C':
      return "41301001051636"
             "45";
    case 'D': return "06003041453606";
    case 'E': return "40000646 0333";
    case 'F': return "400006 0333";
    case 'G':
      return "4130100105163645"
             "4323";
    case 'H': return "0006 4046 0343";
    case 'I': return "1030 2026 1636";
    case 'J': return "404536160504";
    case 'K': return "0006 4003 1246";
    case 'L': return "000646";
    case 'M': return "0600234046";
    case 'N': return "06004640";
    case 'O': return "103041453616050110";
    case 'P': return "06003041423303";
    case 'Q': return "103041453616050110 2446";
    case 'R': return "06003041423303 2346";
    case 'S': return "413010010213334445361605";
    case 'T': return "0040 2026";
    case 'U': return "000516364540";
    case 'V': return "002640";
    case 'W': return "0016233640";
    case 'X': return "0046 4006";
    case 'Y': return "002340 2326";
    case 'Z': return "00400646";
    case '0': return "103041453616050110 3115";
    case '1': return "112026 1636";
    case '2':
      return "0110304142"
             "0646";
    case '3': return "01103041423313 334445361605";
    case '4': return "36300444";
    case '5': return "400002324345361605";
    case '6': return "41301001051636454433130304";
    case '7': return "004016";
    case '8':
      return "103041423313020110 13040516364544"
             "33";
    case '9': return "051636454130100102133342";
    case '.': return "2526";
    case ',': return "2516";
    case ':': return "2223 2526";
    case ';': return "2223 2516";
    case '-': return "0343";
    case '+': return "0343 2125";
    case '=': return "0242 0444";
    case '/': return "0640";
    case '(': return "30212536";
    case ')': return "10212516";
    case '[': return "30202636";
    case ']': return "10202616";
    case '|': return "2026";
    case '_': return "0646";
    case '*': return "0145 4105 2026";
    case '%': return "0640 0111 3545";
    case '^': return "022042";
    case '<': return "410345";
    case '>': return "014305";
    case '\'': return "2021";
    case '!': return "2024 2626";
    case '?': return "01103041422324 2626";
    case '#': return "1016 3036 0242 0444";
    default: return {};
  }
}

}  // namespace demo
