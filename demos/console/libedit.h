// The line editor: libedit (BSD licence), opened when there is a terminal. Debian's libLLVM brings it along, and no header of its
// development package is needed, which LLVM's build files would stumble over in projects without C. Declared here is what is used.
#pragma once
#include <cstdio>

namespace fluxion::console::libedit {

struct EditLine;
struct History;
struct HistEvent {
  int number;
  const char* text;
};
struct LineInfo {
  const char *buffer, *cursor, *last;
};
using PromptFunction = char* (*)(EditLine*);
using KeyFunction = unsigned char (*)(EditLine*, int);
using ReadFunction = int (*)(EditLine*, wchar_t*);

// The numbers of histedit.h.
enum Parameter {
  kEditor = 2,
  kSignal = 3,
  kBind = 4,
  kTty = 8,
  kAddFunction = 9,
  kHistory = 10,
  kReadFunction = 13,
  kClientData = 14,
  kPrepare = 16,
  kDraw = 20,
  kPromptEscaped = 21
};
enum HistoryOperation { kSetSize = 1, kEnter = 10, kSetUnique = 20 };
enum Result : unsigned char { kNewLine = 1, kRefresh = 4, kCursor = 5, kError = 6, kRedisplay = 8 };

struct Functions {
  EditLine* (*init)(const char* program, std::FILE* in, std::FILE* out, std::FILE* error);
  void (*end)(EditLine*);
  int (*set)(EditLine*, int parameter, ...);
  int (*get)(EditLine*, int parameter, ...);
  const char* (*gets)(EditLine*, int* count);
  void (*resize)(EditLine*);
  const LineInfo* (*line)(EditLine*);
  int (*insert)(EditLine*, const char*);
  void (*erase)(EditLine*, int count);  // before the cursor
  History* (*history_init)();
  void (*history_end)(History*);
  int (*history)(History*, HistEvent*, int operation, ...);
};
/// Null where the library is not there.
const Functions* functions();

}  // namespace fluxion::console::libedit
