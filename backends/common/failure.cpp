// Errors of work that runs apart from its caller, and where `print` goes.
#include <cstdio>
#include <utility>

#include "fluxion/backend.h"
#include "fluxion/cancel.h"

namespace fluxion {

void FailureSlot::set(Kind kind, Loc at, std::string message) {
  std::lock_guard lock(mutex_);
  if (!failure_) failure_ = Failure{kind, at, std::move(message)};
}

bool FailureSlot::empty() const {
  std::lock_guard lock(mutex_);
  return !failure_;
}

void FailureSlot::rethrow() {
  std::optional<Failure> f;
  {
    std::lock_guard lock(mutex_);
    f.swap(failure_);
  }
  if (!f) return;
  switch (f->kind) {
    case Kind::kernel: throw KernelError(f->at, f->message);
    case Kind::shape: throw ShapeError(f->at, f->message);
    case Kind::device: throw DeviceError(f->at, f->message);
    case Kind::cancelled: throw Cancelled(f->at, f->message);
  }
}

namespace {
struct Sink {
  std::mutex mutex;
  PrintSink call = nullptr;
  void* user = nullptr;
};
Sink& sink() {
  static Sink s;
  return s;
}
}  // namespace

void set_print_sink(PrintSink call, void* user) {
  Sink& s = sink();
  std::lock_guard lock(s.mutex);
  s.call = call;
  s.user = user;
}

void print_line(std::string_view line) {
  Sink& s = sink();
  std::lock_guard lock(s.mutex);
  if (s.call) return s.call(line, s.user);
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fputc('\n', stdout);
}

}  // namespace fluxion
