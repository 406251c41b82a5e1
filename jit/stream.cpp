// The queue of a device. See stream.h for what it promises.
#include "stream.h"

#include <fmt/format.h>

#include "fluxion/cancel.h"
#include "fluxion/external_code.h"

namespace fluxion::detail {
namespace {

// An error of a task, with the task's name in front unless the message has it.
template <class E> [[noreturn]] void throw_named(const E& e, const std::string& name) {
  std::string what = e.what();
  const std::string at = to_string(e.where());
  if (!at.empty() && what.rfind(at + ": ", 0) == 0) what.erase(0, at.size() + 2);
  if (name.empty() || what.find(name) != std::string::npos) throw E(e.where(), what);
  throw E(e.where(), fmt::format("{}: {}", name, what));
}

void call_guarded(void (*call)(void*, FailureSlot&), void* f, FailureSlot& slot) {
  using Kind = FailureSlot::Kind;
  const auto text = [](const Error& e) {
    std::string what = e.what();
    const std::string at = to_string(e.where());
    if (!at.empty() && what.rfind(at + ": ", 0) == 0) what.erase(0, at.size() + 2);
    return what;
  };
  try {
    call(f, slot);
  } catch (const ShapeError& e) { slot.set(Kind::shape, e.where(), text(e)); } catch (const DeviceError& e) {
    slot.set(Kind::device, e.where(), text(e));
  } catch (const Cancelled& e) { slot.set(Kind::cancelled, e.where(), text(e)); } catch (const Error& e) {
    slot.set(Kind::kernel, e.where(), text(e));
  } catch (const std::exception& e) { slot.set(Kind::device, Loc{}, e.what()); }
}

}  // namespace

Stream::~Stream() { finish(); }

void Stream::finish() {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
  if (!thread_.joinable()) return;
  std::thread thread = std::move(thread_);
  lock.unlock();
  thread.join();
}

void Stream::run_here(std::unique_lock<std::mutex>& lock, const std::string& name, Loc at, void (*call)(void*, FailureSlot&), void* f) {
  if (failure_.empty() && cancelled())
    failure_.set(FailureSlot::Kind::cancelled, at,
                 fmt::format("{} was cancelled before it started", name.empty() ? "what was queued" : name));
  if (!failure_.empty()) return;
  busy_ = true;
  lock.unlock();
  call_guarded(call, f, failure_);
  lock.lock();
  if (failed_.empty() && !failure_.empty()) failed_ = name;
  busy_ = false;
  changed_.notify_all();
}

void Stream::run_front(std::unique_lock<std::mutex>& lock) {
  Entry entry = std::move(queue_.front());
  queue_.pop_front();
  run_here(lock, entry.name, entry.at, [](void* f, FailureSlot& slot) { (*static_cast<Task*>(f))(slot); }, &entry.task);
}

void Stream::refuse_inside() {
  if (inside_external())
    throw KernelError({}, "a host function that kernels call cannot launch, copy or wait on a device; compute in plain C++");
}

void Stream::submit(const std::string& name, Task task, bool small, Loc at) {
  refuse_inside();
  std::unique_lock lock(mutex_);
  if (!failure_.empty()) return;
  if (small && !busy_ && queue_.empty()) {
    run_here(lock, name, at, [](void* f, FailureSlot& slot) { (*static_cast<Task*>(f))(slot); }, &task);
    return;
  }
  queue_.push_back({name, std::move(task), at});
  if (!thread_.joinable() && !stopping_) thread_ = std::thread([this] { loop(); });
  changed_.notify_all();
}

void Stream::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return (!busy_ && !queue_.empty()) || (stopping_ && !busy_); });
    if (queue_.empty()) return;
    run_front(lock);
  }
}

// The waiting thread runs pending tasks itself rather than sleep while another wakes up.
void Stream::wait(Loc at, const std::string& next) {
  refuse_inside();
  std::unique_lock lock(mutex_);
  while (busy_ || !queue_.empty()) {
    if (busy_) changed_.wait(lock);
    else run_front(lock);
  }
  if (failure_.empty()) {
    if (!cancelled()) return;
    resume();
    throw Cancelled(at, next.empty() ? "cancelled" : fmt::format("{} was cancelled before it started", next));
  }
  const std::string name = std::move(failed_);
  failed_.clear();
  try {
    failure_.rethrow();
  } catch (const KernelError& e) { throw_named(e, name); } catch (const ShapeError& e) {
    throw_named(e, name);
  } catch (const DeviceError& e) { throw_named(e, name); } catch (const Cancelled& e) {
    resume();
    throw_named(e, name);
  }
}

}  // namespace fluxion::detail
