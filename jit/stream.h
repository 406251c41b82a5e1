// A device's queue: tasks run one at a time in the order they came, on a thread of their own or, when the
// queue is empty and the task is small, on the caller's. After a failure tasks are dropped until a waiting call
// has thrown it.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "fluxion/backend.h"

namespace fluxion::detail {

class Stream {
 public:
  using Task = std::function<void(FailureSlot&)>;
  ~Stream();

  /// `name` is what an error of the task is reported under. Small tasks run at once when nothing is pending.
  void submit(const std::string& name, Task task, bool small, Loc at = {});
  /// Runs `task` on this thread if nothing is pending; false when it was not run.
  template <class F> bool try_inline(const std::string& name, F&& task, Loc at = {}) {
    refuse_inside();
    std::unique_lock lock(mutex_);
    if (busy_ || !queue_.empty()) return false;
    run_here(lock, name, at, [](void* f, FailureSlot& slot) { (*static_cast<std::remove_reference_t<F>*>(f))(slot); }, &task);
    return true;
  }
  /// Returns when everything submitted so far has run; throws the first failure and clears it, or Cancelled when there is a request
  /// (cancel.h). That was before `next`, at this place of the user's, if anything.
  void wait(Loc at = {}, const std::string& next = {});
  /// Stops the thread after the pending tasks; for the end of the process.
  void finish();

 private:
  struct Entry {
    std::string name;
    Task task;
    Loc at;  // the user's call, where it is known
  };
  /// Throws KernelError on a thread that is in a host function: what it waits for might be the launch that called it.
  static void refuse_inside();
  void run_here(std::unique_lock<std::mutex>& lock, const std::string& name, Loc at, void (*call)(void*, FailureSlot&), void* f);
  void run_front(std::unique_lock<std::mutex>& lock);
  void loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Entry> queue_;
  bool busy_ = false;  // a task is running, on whatever thread
  bool stopping_ = false;
  FailureSlot failure_;
  std::string failed_;  // the name of the task that failed first
  std::thread thread_;  // started by the first task that is not run inline
};

}  // namespace fluxion::detail
