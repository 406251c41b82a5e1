// The disk cache. A file is: magic, length of the key, length of the object, checksum of both, key, object.
// The whole key is stored and compared, so that no two functions can be taken for one another.
// The directory is kept below a size by dropping what was used longest ago.
#include "disk_cache.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "fluxion/cache.h"

namespace fluxion::detail {
namespace {

constexpr char kMagic[8] = {'F', 'L', 'U', 'X', 'O', 'B', 'J', '1'};
struct Header {
  char magic[8];
  std::uint64_t key_size, object_size, checksum[2];
};

struct Hash {
  std::uint64_t a = 0x9e3779b97f4a7c15u, b = 0xc2b2ae3d27d4eb4fu;
  void add(std::string_view bytes) {
    std::size_t i = 0;
    for (; i + 8 <= bytes.size(); i += 8) {
      std::uint64_t word;
      std::memcpy(&word, bytes.data() + i, 8);
      step(word);
    }
    std::uint64_t last = 0;
    std::memcpy(&last, bytes.data() + i, bytes.size() - i);
    step(last);
    step(bytes.size());
  }
  void step(std::uint64_t w) {
    const auto mix = [](std::uint64_t x) { return x ^ (x >> 29) ^ (x >> 47); };
    a = mix((a ^ w) * 0xff51afd7ed558ccdu);
    b = mix((b + w) * 0xc4ceb9fe1a85ec53u) ^ (a << 1);
  }
};

std::string path_of(const std::string& directory, std::string_view key) {
  Hash h;
  h.add(key);
  return fmt::format("{}/{:016x}{:016x}.flo", directory, h.a, h.b);
}

Header header_of(std::string_view key, std::string_view object) {
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.key_size = key.size();
  h.object_size = object.size();
  Hash sum;
  sum.add(key);
  sum.add(object);
  h.checksum[0] = sum.a;
  h.checksum[1] = sum.b;
  return h;
}

struct File {
  int fd;
  ~File() {
    if (fd >= 0) ::close(fd);
  }
};

bool read_all(int fd, void* to, std::size_t n) {
  for (auto* p = static_cast<char*>(to); n > 0;) {
    const ssize_t got = ::read(fd, p, n);
    if (got <= 0) return false;
    p += got;
    n -= static_cast<std::size_t>(got);
  }
  return true;
}
bool write_all(int fd, const void* from, std::size_t n) {
  for (auto* p = static_cast<const char*>(from); n > 0;) {
    const ssize_t put = ::write(fd, p, n);
    if (put <= 0) return false;
    p += put;
    n -= static_cast<std::size_t>(put);
  }
  return true;
}

// Code of anyone else must not be executed: the owner is us, and nobody else may write.
bool is_private(const struct stat& s) { return s.st_uid == ::geteuid() && (s.st_mode & 022) == 0; }

bool make_directories(const std::string& path) {
  for (std::size_t i = 1; i <= path.size(); ++i) {
    if (i != path.size() && path[i] != '/') continue;
    const std::string part = path.substr(0, i);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return false;
  }
  struct stat s;
  return ::stat(path.c_str(), &s) == 0 && S_ISDIR(s.st_mode) && is_private(s);
}

std::uint64_t size_limit() {
  const char* text = std::getenv("FLUXION_CACHE_BYTES");
  const long long n = text ? std::atoll(text) : 0;
  return n > 0 ? static_cast<std::uint64_t>(n) : std::uint64_t{1} << 30;
}

namespace fs = std::filesystem;
struct Entry {
  fs::file_time_type used;
  std::uint64_t bytes;
  fs::path path;
};
// Other processes may do the same at this moment: what is gone already is no matter.
std::vector<Entry> entries_of(const std::string& directory) {
  std::vector<Entry> entries;
  std::error_code e;
  for (auto it = fs::directory_iterator(directory, e); !e && it != fs::directory_iterator(); it.increment(e)) {
    std::error_code gone;
    if (it->path().filename().string().find(".flo") == std::string::npos || !it->is_regular_file(gone)) continue;
    const std::uint64_t bytes = it->file_size(gone);
    const auto used = gone ? fs::file_time_type() : it->last_write_time(gone);
    if (gone) continue;
    entries.push_back({used, bytes, it->path()});
  }
  return entries;
}

void trim(const std::string& directory, std::uint64_t limit) {
  std::vector<Entry> entries = entries_of(directory);
  std::uint64_t total = 0;
  for (const Entry& entry : entries) total += entry.bytes;
  std::error_code e;
  if (total <= limit) return;
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
  for (std::size_t k = 0; k + 1 < entries.size() && total > limit / 4 * 3; ++k) {
    fs::remove(entries[k].path, e);
    total -= entries[k].bytes;
  }
}

std::string build_id() {
  struct Search {
    const void* inside;
    std::string id;
  } search{reinterpret_cast<const void*>(&cache_directory), {}};
  dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* data) {
        auto& s = *static_cast<Search*>(data);
        const auto here = reinterpret_cast<std::uintptr_t>(s.inside);
        bool ours = false;
        for (int i = 0; i < object->dlpi_phnum; ++i) {
          const auto& p = object->dlpi_phdr[i];
          const std::uintptr_t start = object->dlpi_addr + p.p_vaddr;
          ours |= p.p_type == PT_LOAD && here >= start && here < start + p.p_memsz;
        }
        if (!ours) return 0;
        for (int i = 0; i < object->dlpi_phnum; ++i) {
          const auto& p = object->dlpi_phdr[i];
          if (p.p_type != PT_NOTE) continue;
          const auto* at = reinterpret_cast<const unsigned char*>(object->dlpi_addr + p.p_vaddr);
          const auto* end = at + p.p_memsz;
          while (at + sizeof(ElfW(Nhdr)) <= end) {
            ElfW(Nhdr) note;
            std::memcpy(&note, at, sizeof note);
            const auto* name = at + sizeof note;
            const auto* desc = name + (note.n_namesz + 3) / 4 * 4;
            if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0)
              for (unsigned k = 0; k < note.n_descsz; ++k) s.id += fmt::format("{:02x}", desc[k]);
            at = desc + (note.n_descsz + 3) / 4 * 4;
          }
        }
        return 1;
      },
      &search);
  return search.id;
}

std::string file_hash() {
  Dl_info where{};
  if (!dladdr(reinterpret_cast<const void*>(&cache_directory), &where) || !where.dli_fname) return {};
  File file{::open(where.dli_fname, O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) return {};
  Hash h;
  std::vector<char> block(1 << 20);
  for (ssize_t n; (n = ::read(file.fd, block.data(), block.size())) > 0;) h.add({block.data(), static_cast<std::size_t>(n)});
  return fmt::format("{:016x}{:016x}", h.a, h.b);
}

}  // namespace

const std::string& library_id() {
  static const std::string id = [] {
    std::string s = build_id();
    return s.empty() ? file_hash() : s;
  }();
  return id;
}

// Read each time: tests and long-lived programs may change it.
std::string cache_directory() {
  const char* toggle = std::getenv("FLUXION_CACHE");
  if (toggle && (std::strcmp(toggle, "off") == 0 || std::strcmp(toggle, "0") == 0)) return {};
  if (library_id().empty()) return {};
  const char* named = std::getenv("FLUXION_CACHE_DIR");
  if (named && *named) return named;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache && *cache == '/') return fmt::format("{}/fluxion", cache);
  const char* home = std::getenv("HOME");
  return home && *home == '/' ? fmt::format("{}/.cache/fluxion", home) : std::string();
}

std::optional<std::string> cache_load(std::string_view key) {
  const std::string directory = cache_directory();
  if (directory.empty()) return {};
  struct stat s;
  if (::stat(directory.c_str(), &s) != 0 || !is_private(s)) return {};
  File file{::open(path_of(directory, key).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
  if (file.fd < 0 || ::fstat(file.fd, &s) != 0 || !S_ISREG(s.st_mode) || !is_private(s)) return {};
  Header h;
  if (!read_all(file.fd, &h, sizeof h) || std::memcmp(h.magic, kMagic, sizeof kMagic) != 0) return {};
  const auto size = static_cast<std::uint64_t>(s.st_size);
  if (h.key_size != key.size() || size < sizeof h + h.key_size || h.object_size != size - sizeof h - h.key_size) return {};
  std::string found(h.key_size, '\0'), object(h.object_size, '\0');
  if (!read_all(file.fd, found.data(), found.size()) || !read_all(file.fd, object.data(), object.size())) return {};
  if (found != key) return {};
  const Header expected = header_of(found, object);
  if (std::memcmp(&expected, &h, sizeof h) != 0) return {};
  ::futimens(file.fd, nullptr);  // used now
  return object;
}

void cache_store(std::string_view key, std::string_view object) {
  const std::string directory = cache_directory();
  if (directory.empty() || object.empty() || !make_directories(directory)) return;
  static std::atomic<unsigned> serial{0};
  const std::string path = path_of(directory, key), draft = fmt::format("{}.{}.{}", path, ::getpid(), serial++);
  bool written = false;
  {
    File file{::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    if (file.fd < 0) return;
    const Header h = header_of(key, object);
    written =
        write_all(file.fd, &h, sizeof h) && write_all(file.fd, key.data(), key.size()) && write_all(file.fd, object.data(), object.size());
  }
  // A reader sees the old entry or the whole new one.
  if (!written || ::rename(draft.c_str(), path.c_str()) != 0) ::unlink(draft.c_str());
  // Looking through the directory costs milliseconds: at the first entry, then each time an eighth has come on top.
  static std::atomic<std::uint64_t> since{~std::uint64_t{0} / 2};
  const std::uint64_t limit = size_limit();
  if (since.fetch_add(object.size() + key.size()) < limit / 8) return;
  since = 0;
  trim(directory, limit);
}

}  // namespace fluxion::detail

namespace fluxion {

CacheFolder cache_folder() {
  CacheFolder out{detail::cache_directory()};
  if (!out.path.empty())
    for (const detail::Entry& entry : detail::entries_of(out.path)) ++out.files, out.bytes += entry.bytes;
  return out;
}

}  // namespace fluxion
