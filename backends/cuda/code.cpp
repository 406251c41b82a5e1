// See the header.
#include "code.h"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "common/uniformity.h"

namespace fluxion::cuda {

std::vector<std::uint64_t> parameters(const Function& kernel, const gpu::Piece& piece, std::span<const ArrayArgument> arrays,
                                      std::span<const std::uint64_t> scalars, const void* report) {
  // Pieces begin anywhere: units are counted from the first of the launch.
  const std::int64_t skipped = piece.row * piece.units[1] * piece.units[2];
  std::vector<std::uint64_t> words = {static_cast<std::uint64_t>(skipped + piece.first), static_cast<std::uint64_t>(skipped + piece.end),
                                      reinterpret_cast<std::uintptr_t>(report)};
  for (const std::int64_t n : piece.domain) words.push_back(static_cast<std::uint32_t>(n));
  std::size_t array = 0, scalar = 0;
  for (const Parameter& p : kernel.parameters) {
    if (p.kind == Parameter::Kind::scalar) {
      words.push_back(scalars[scalar++]);
      continue;
    }
    const ArrayArgument& a = arrays[array++];
    words.push_back(reinterpret_cast<std::uintptr_t>(a.data));
    for (int k = 0; k < kernel[p.memory].rank; ++k) words.push_back(static_cast<std::uint32_t>(a.extent[static_cast<std::size_t>(k)]));
  }
  return words;
}

bool is_compact(const Function& kernel, const gpu::Piece& piece, std::span<const ArrayArgument> arrays) {
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  const std::int64_t per_unit = kernel.has_groups() ? group_threads(kernel) : 1;
  if (piece.units[0] * piece.units[1] * piece.units[2] > kMost / per_unit) return false;
  for (const ArrayArgument& a : arrays)
    if (reinterpret_cast<std::uintptr_t>(a.data) % 16 != 0 || a.extent[0] * a.extent[1] * a.extent[2] >= kMost) return false;
  return true;
}

int block_size(const Function& kernel, const gpu::Piece& piece, int best, int multiprocessors) {
  if (kernel.has_groups()) return group_threads(kernel);
  constexpr std::int64_t kWarp = 32;
  const std::int64_t each = (piece.end - piece.first + multiprocessors - 1) / multiprocessors;
  return static_cast<int>(std::clamp<std::int64_t>((each + kWarp - 1) / kWarp * kWarp, kWarp, best));
}

gpu::Limits limits(int threads) {
  gpu::Limits l;
  l.exact = {true, true, true, true, true, true};
  l.threads = threads;
  l.shared = kSharedBytes;
  l.at_once = std::int64_t{1} << 35;  // less than 2^31 blocks of 32 at least
  l.units = 0x7fffffff;
  l.subgroups = l.warp_sums = true;
  return l;
}

bool keeps() {
  const char* folder = std::getenv("FLUXION_CUDA_KEEP");
  return folder && *folder;
}

void keep(const Function& kernel, const std::string& ptx) {
  static std::atomic<int> next = 0;
  if (!keeps()) return;
  std::string name = kernel.name;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  const std::filesystem::path folder = std::getenv("FLUXION_CUDA_KEEP");
  std::filesystem::create_directories(folder);
  std::ofstream(folder / (name + "_" + std::to_string(next++) + ".ptx")) << ptx;
}

std::string lacks(const Function& kernel) {
  return parameter_bytes(kernel) > kParameterBytes ? "it has more parameters than CUDA takes" : "";
}

}  // namespace fluxion::cuda
