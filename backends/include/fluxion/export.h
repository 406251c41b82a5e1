// Kernels as files, for use without this library: how an exported kernel is called, and its code for a machine. The files themselves
// (header, signature, Python) are written by jit/export*.cpp.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fluxion/backend.h"
#include "fluxion/ir.h"

namespace fluxion {

/// What an exported function returns.
enum class ExportStatus : int { done = 0, failed = 1, misfit = 2, no_memory = 3 };

/// A field of the struct of arguments. An array has its address, then its extents, each an i64.
struct ExportedParameter {
  std::string name;  // an identifier of C
  bool array = false;
  Role role = Role::in;
  LayoutId element = DType::f32;  // of a scalar its type
  int rank = 0;
  std::uint32_t offset = 0;   // of the address or the number
  std::uint32_t extents = 0;  // of the extents
};

/// An exported kernel as its caller sees it. The struct begins with the extents of the domain, an i64 for each axis.
struct ExportSignature {
  struct Like {  // the extents of `parameter` are those of `other`, after one of `tangents` where that is not 0
    int parameter, other, tangents;
  };
  struct Reach {  // all points together reach sum(coefficient * index) + low .. high along an axis
    int parameter, axis;
    std::array<std::int64_t, 3> coefficient;
    std::int64_t low, high;
    Loc low_at, high_at;
  };
  std::string name;  // of the function
  std::string kernel;
  Loc loc;
  int rank = 1;
  std::array<int, 3> group{};
  int domain_from = -1;  // the array whose extents are the domain when none is given; -1: it must be given
  std::vector<ExportedParameter> parameters;
  std::uint32_t bytes = 0;  // of the struct
  std::vector<Like> likes;
  std::vector<Reach> reach;
};

/// A kernel to be exported: lowered for the CPU; parameters beyond those of the signature are scratch.
struct ExportItem {
  Function kernel;
  ExportSignature signature;
  CompileOptions options;
};

/// How an exported function may be run in parts.
struct ExportedFunction {
  int phases = 1;          // that run one after the other
  bool ranges = true;      // it may be run in parts
  bool ordered = false;    // parts must run one after the other, in order
  std::vector<int> added;  // parameters of which parts that run at once need copies of their own
};

struct ExportedObject {
  std::string object;                       // an ELF file; what it lacks is in libc and libm
  std::string machine;                      // "x86_64" or "aarch64", as uname says
  std::vector<std::string> needs;           // features of the processor, as Linux names them
  std::vector<ExportedFunction> functions;  // by item
};

/// The targets of export_object.
FLUXION_API std::vector<std::string> object_targets();

/// One object that defines for each item
///   int NAME(const NAME_args*, char* message, size_t message_size)
///   int64_t NAME_units(const NAME_args*)
///   int NAME_range(const NAME_args*, int phase, int64_t begin, int64_t end, char* message, size_t message_size)
/// the latter two where it can be run in parts. `tape_bytes`: address space of the tapes.
/// Throws   KernelError for what cannot do without this library, DeviceError for an unknown target
FLUXION_API ExportedObject export_object(const std::vector<ExportItem>& items, std::string_view target, std::int64_t tape_bytes);

/// Code for GPUs: kernels that run one after the other, for one exported function. docs/backends.md says how each is called.
struct ExportedStage {
  struct Argument {
    enum class Kind : std::uint8_t { array, work, scalar };
    Kind kind;
    int index;  // of the parameter of the function, or of the work array
    int rank = 0;
  };
  struct Site {
    std::string text, at;
    std::vector<DType> values;
    bool print = false;
  };
  std::string code;
  std::vector<Argument> arguments;
  int elements_of = -1;     // runs once for each element of that parameter, not over the domain
  std::vector<int> beyond;  // by how many points each axis is longer than that of the domain; empty: by none
  int threads = 64;         // of a workgroup
  std::int64_t shared_bytes = 0;
  int words = 0;     // SPIR-V: of all arguments
  bool push = true;  // SPIR-V: they are push constants
  int values = 0;    // of a record of the report
  std::vector<Site> sites;
  std::vector<std::uint32_t> capabilities;  // SPIR-V
};
struct ExportedGpuCode {
  struct Work {
    int like, words;  // i64[words, elements of parameter `like`]
  };
  std::vector<ExportedStage> stages;
  std::vector<Work> work;  // zeros before the first stage
};

/// `item` as SPIR-V. Throws KernelError for what needs this library around it: tapes, scratch, host functions.
FLUXION_API ExportedGpuCode export_spirv(const ExportItem& item);
/// As PTX; `target` is "ptx", for sm_75 and later, or "ptx-sm_90" and the like. DeviceError for an arch that is not known.
FLUXION_API ExportedGpuCode export_ptx(const ExportItem& item, std::string_view target);

}  // namespace fluxion
