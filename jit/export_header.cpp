// The C header of an exported kernel.
#include <fmt/format.h>

#include "export.h"
#include "fluxion/error.h"

namespace fluxion::detail {
namespace {

const char* c_type(DType t) {
  switch (t) {
    case DType::boolean: return "uint8_t";
    case DType::i8: return "int8_t";
    case DType::i16: return "int16_t";
    case DType::i32: return "int32_t";
    case DType::i64: return "int64_t";
    case DType::u8: return "uint8_t";
    case DType::u16:
    case DType::f16:
    case DType::bf16: return "uint16_t";
    case DType::u32: return "uint32_t";
    case DType::u64: return "uint64_t";
    case DType::f32: return "float";
    case DType::f64: return "double";
  }
  return "void";
}

const char* meaning(Role r) {
  switch (r) {
    case Role::in: return "read";
    case Role::out: return "written";
    case Role::inout: return "read and written";
    case Role::accum: return "added to";
  }
  return "";
}

/// Text inside a comment.
std::string comment(std::string text) {
  for (const std::string mark : {"*/", "/*"})
    for (std::size_t at = 0; (at = text.find(mark, at)) != std::string::npos;) text.insert(at + 1, " ");
  return text;
}

std::string field(const ExportedParameter& q) {
  if (!q.array) {
    const DType t = q.element.scalar();
    const std::string note = is_half(t) ? fmt::format("  /* the bits of an {} */", name_of(t)) : "";
    return fmt::format("  {} {};{}\n", c_type(t), q.name, note);
  }
  const int n = components(q.element);
  std::string note = meaning(q.role);
  if (n > 1) note += fmt::format("; elements of {}", n);
  if (n == 0) note += fmt::format("; elements of {} bytes, {}", layout_of(q.element).size, to_string(q.element));
  if (n > 0 && is_half(layout_of(q.element).leaves[0].dtype))
    note += fmt::format("; the bits of {}", name_of(layout_of(q.element).leaves[0].dtype));
  return fmt::format("  {}{}* {};  /* {} */\n  int64_t {}_extent[{}];\n", q.role == Role::in ? "const " : "",
                     n > 0 ? c_type(layout_of(q.element).leaves[0].dtype) : "void", q.name, note, q.name, q.rank);
}

std::string function(const ExportedKernel& k) {
  const ExportSignature& s = k.item.signature;
  std::string out = fmt::format("/* {} */\ntypedef struct {}_args {{\n  int64_t domain[{}];  /* points along each axis */\n",
                                comment(s.kernel + (s.loc ? " of " : "") + to_string(s.loc)), s.name, s.rank);
  for (const ExportedParameter& q : s.parameters) out += field(q);
  out += fmt::format("}} {0}_args;\nint {0}(const {0}_args* args, char* message, size_t message_size);\n", s.name);
  if (!k.how.ranges) return out + "\n";
  std::string how;
  if (k.how.ordered) how = "Parts must run one after the other, in order.";
  else if (k.how.added.empty()) how = "Parts may run at once.";
  else {
    std::string names;
    for (const int p : k.how.added) names += (names.empty() ? "" : ", ") + s.parameters[static_cast<std::size_t>(p)].name;
    how = fmt::format("Parts may run at once if each has zeroed arrays of its own for {},\n   which are added up afterwards.", names);
  }
  if (k.how.phases > 1) how += fmt::format("\n   All parts of a phase come before those of the next; there are {}.", k.how.phases);
  return out + fmt::format(
                   "/* In parts: units begin .. end-1 of {0}_units(args), for phase 0{1}. {2} */\n"
                   "#define {0}_phases {3}\n"
                   "int64_t {0}_units(const {0}_args* args);\n"
                   "int {0}_range(const {0}_args* args, int phase, int64_t begin, int64_t end, char* message, size_t message_size);\n\n",
                   s.name, k.how.phases > 1 ? fmt::format(" .. {}", k.how.phases - 1) : "", how, k.how.phases);
}

}  // namespace

std::string header_text(const std::string& name, const std::vector<ExportedKernel>& kernels) {
  std::string out = fmt::format(
      "/* {0}: written by Fluxion. The object files need libc and libm, nothing else.\n"
      "   Arrays are row-major; extents count elements, the slowest axis first. What is written overlaps with no other array.\n"
      "   Functions return 0, or with a text in `message` (which may be null):\n"
      "   1 a check or the code failed, 2 the arguments do not fit, 3 no memory. They may be called from several threads. */\n"
      "#ifndef FLUXION_EXPORT_{0}_H\n#define FLUXION_EXPORT_{0}_H\n#include <stddef.h>\n#include <stdint.h>\n"
      "#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n",
      name);
  for (const ExportedKernel& k : kernels) out += function(k);
  return out + "#ifdef __cplusplus\n}\n#endif\n#endif\n";
}

}  // namespace fluxion::detail
