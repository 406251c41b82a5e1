// NVIDIA's assembler, where it is installed: whether it takes what the CUDA backend makes, and what it says of registers and spills.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "cuda/ptx.h"

namespace fluxion::testing {

struct Assembled {
  int registers = 0;
  int stack = 0;   // bytes: arrays of the thread that are indexed at run time, and what is below
  int spills = 0;  // bytes: numbers for which there was no register
  int shared = 0;  // bytes
};

/// The path of ptxas ($PTXAS, PATH, $CUDA_HOME/bin, /usr/local/cuda/bin), or "".
const std::string& ptxas();
/// What ptxas says of each entry, by its name. Throws what it prints where it refuses.
std::map<std::string, Assembled> assemble(const std::vector<std::string>& modules, const std::string& arch);

/// PTX of all that `f` becomes, for `arch`; entries are called `name`_0, ... and texts end up in `modules`.
void make_ptx(const Function& f, const CompileOptions& options, const std::string& arch, const std::string& name,
              std::vector<std::string>& modules);

/// `f` is among what the last test of the program assembles, in batches that run beside the other tests.
void assemble_later(const Function& f, const CompileOptions& options);
/// Waits for all; what was refused. `kernels`: how many there were.
std::vector<std::string> refused(int& kernels, std::map<std::string, Assembled>& all);

}  // namespace fluxion::testing
