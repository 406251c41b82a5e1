// The caches of compiled code, for those who want to look: one in memory, one on disk (FLUXION_CACHE_DIR).
#pragma once
#include <cstdint>
#include <string>

#include "fluxion/type.h"

namespace fluxion {

/// How often, in this process, code was asked for and where it came from.
struct CacheCounts {
  std::uint64_t memory = 0, disk = 0, compiled = 0;
};
FLUXION_API CacheCounts cache_counts();
/// The folder of the disk cache, "" where it is off, and what lies there.
struct CacheFolder {
  std::string path;
  std::uint64_t files = 0, bytes = 0;
};
FLUXION_API CacheFolder cache_folder();
/// Empties the memory cache; kernels that have code keep it.
FLUXION_API void clear_memory_cache();

}  // namespace fluxion
