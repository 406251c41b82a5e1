// Compiled code on disk: one owner-only file an entry, checked on reading. What is damaged, foreign or from
// another build of the library is not used.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace fluxion::detail {

/// The directory in use, or "" when the cache is off.
std::string cache_directory();
/// The object stored under `key`, if an intact entry of ours is there.
std::optional<std::string> cache_load(std::string_view key);
/// Failing to store is no error.
void cache_store(std::string_view key, std::string_view object);
/// Identifies the code of this library: its build id, else a hash of its file.
const std::string& library_id();

}  // namespace fluxion::detail
