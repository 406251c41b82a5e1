// Private to export*.cpp and kernel_handle.cpp: the parts of an export, and what a kernel handle knows beyond its function.
#pragma once
#include <string>
#include <vector>

#include "fluxion/export.h"
#include "fluxion/ir.h"
#include "reach.h"
#include "same_shape.h"

namespace fluxion::detail {

struct KernelFacts {
  CompileOptions options;
  std::vector<Like> likes;
  std::vector<Reach> reach;
  int domain_parameter;
};

/// One function of the files, and what it is to the first one: "", "vjp" or "jvp".
struct ExportedKernel {
  ExportItem item;
  std::string derivative;
  ExportedFunction how;  // as objects have it
};

/// A file beside the signature.
struct ExportedFile {
  std::string target, path;
  std::string machine;             // of objects
  std::vector<std::string> needs;  // of objects
  std::string more;                // of GPU code: further members, ", \"stages\": ..."
};

/// `name` with another character for each that is none of an identifier.
std::string identifier(std::string_view name);
/// Throw KernelError for names that have a meaning of their own in C, C++ or the Python module.
void check_function_name(const std::string& name, bool python, Loc at);
void check_parameter_name(const std::string& name, Loc at);
/// Throws KernelError for more names than the kernel `f` has parameters.
void check_parameter_count(const Function& f, const std::vector<std::string>& names, Loc at);

/// Throws KernelError for two parameters of one name.
ExportSignature make_signature(const Function& f, const KernelFacts& facts, const std::string& name,
                               const std::vector<std::string>& parameters);
/// Leaves of one type without gaps: their number, else 0.
int components(LayoutId element);
std::string quoted(const std::string& text);  // for JSON and Python

std::string header_text(const std::string& name, const std::vector<ExportedKernel>& kernels);
/// The members of a file of GPU code in the signature; `names`: its stages' files.
std::string gpu_members(const std::string& function, const ExportedGpuCode& code, const std::vector<std::string>& names);
std::string json_text(const std::string& name, const std::vector<ExportedKernel>& kernels, const std::vector<ExportedFile>& files);
std::string python_text(const std::string& name, const std::string& json);

}  // namespace fluxion::detail
