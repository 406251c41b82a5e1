// What a GPU backend supplies: memory, code for kernels in the form of plan.h, and launches of pieces of a domain. The rest is shared:
// launch.h has stages, tapes and reports, backend.h makes it a Backend.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fluxion/backend.h"
#include "lower_ops.h"

namespace fluxion::gpu {

/// A place that reports: a check that fails, a print, a loop (for_) that the device has ended before its time.
struct Site {
  Opcode code{};
  Loc loc;
  std::string text;
  std::vector<DType> types;
};

/// The report of a launch: how many records were wanted, how many there is room for (u32 each), 8 bytes unused, then the records, each
/// the number of the site and the thread (u32 each), then values of 8 bytes.
inline constexpr int kReportHeader = 16, kRecordHeader = 8;

/// One kernel, compiled.
class Code {
 public:
  virtual ~Code() = default;
  std::vector<Site> sites;
  int values = 0;  // of a record: the most that a site hands over
  /// What compile() takes to make it sooner, in another process.
  virtual std::string cached() const = 0;
  /// In the language of the device.
  virtual std::string text() const = 0;
};

/// A part of a launch. Units are threads, or groups of a kernel that has some; they are counted along the last axis first, from
/// `row` of axis 0 on.
struct Piece {
  std::array<std::int64_t, 3> domain;  // of the whole launch
  std::array<std::int64_t, 3> units;   // of that
  std::int64_t row = 0, first = 0, end = 0;
};

struct Limits {
  Exact exact;
  int threads = 0;           // of a group
  std::int64_t shared = 0;   // bytes of shared memory
  std::int64_t at_once = 0;  // threads of a piece
  std::int64_t units = 0;    // groups of a piece
  bool subgroups = false;    // code may hold subgroup ops where no thread of a group is missing,
  int subgroup_step = 1;     // in groups of a multiple of this many threads
  bool warp_sums = false;    // see PlanOptions
};

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;         // "vulkan"
  virtual std::string api() const = 0;          // "Vulkan": for messages
  virtual std::string language() const = 0;     // "spirv": what dump() calls the code
  virtual std::string description() const = 0;  // for people
  virtual std::vector<std::string> features() const = 0;
  virtual std::string identity() const = 0;  // all that changes its code
  virtual const Limits& limits() const = 0;
  /// Why `kernel`, in the form of plan.h, must run on the host; "" where it need not.
  virtual std::string lacks(const Function& kernel) const { return (void)kernel, std::string(); }
  virtual std::size_t heap() const = 0;    // bytes of its memory,
  virtual std::size_t in_use() const = 0;  // of which these are taken

  // ---- memory, as Backend has it
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void free(void* data, std::size_t bytes) noexcept = 0;
  virtual void write(void* to, const void* from, std::size_t bytes) = 0;
  virtual void read(void* to, const void* from, std::size_t bytes) = 0;
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;
  virtual void fill(void* to, const void* element, std::size_t size, std::size_t bytes) = 0;
  virtual void wait() = 0;

  // ---- code
  virtual std::unique_ptr<Code> compile(const Function& kernel, const CompileOptions& options, std::string_view cached) = 0;
  /// Queues it. `arrays` and `scalars` are in the order of the kernel's parameters.
  virtual void dispatch(Code& code, const Function& kernel, const Piece& piece, std::span<const ArrayArgument> arrays,
                        std::span<const std::uint64_t> scalars, void* report) = 0;
};

}  // namespace fluxion::gpu
