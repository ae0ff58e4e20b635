#ifndef KUDARI_LAB_TRAIN_PREFETCH_H_
#define KUDARI_LAB_TRAIN_PREFETCH_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace kudari::lab {

/// A queue of values that threads make ahead of their use, in the order of the queue. One thread
/// owns it and calls its methods.
template <class T>
class Prefetch {
 public:
  /// `threads` of them, at least one, which call `at_start` first. Throws std::system_error if the
  /// system has no thread left.
  explicit Prefetch(int64_t threads, const std::function<void()>& at_start = {}) {
    try {
      for (int64_t i = 0; i < threads; ++i) {
        threads_.emplace_back([this, at_start] {
          if (at_start) at_start();
          Work();
        });
      }
    } catch (...) {
      End();
      throw;
    }
  }
  /// Does not wait for values that no thread has begun to make.
  ~Prefetch() { End(); }
  Prefetch(const Prefetch&) = delete;
  Prefetch& operator=(const Prefetch&) = delete;

  /// The values that were pushed and not popped.
  int64_t size() const { return static_cast<int64_t>(queue_.size()); }

  /// Adds a value, made by `make` in one of the threads.
  void Push(std::function<T()> make) {
    auto job = std::make_shared<Job>(Job{.make = std::move(make)});
    queue_.push_back(job);
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(std::move(job));
    }
    changed_.notify_all();
  }

  /// Removes the oldest value, waiting until it is made, and throws what making it threw.
  T Pop() {
    const std::shared_ptr<Job> job = std::move(queue_.front());
    queue_.pop_front();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return job->value.has_value() || job->error != nullptr; });
    if (job->error) std::rethrow_exception(job->error);
    return *std::move(job->value);
  }

  /// Forgets all values. Those that are being made are made to the end, for nothing.
  void Clear() {
    queue_.clear();
    const std::lock_guard lock(mutex_);
    waiting_.clear();
  }

 private:
  struct Job {
    std::function<T()> make;
    std::optional<T> value = std::nullopt;
    std::exception_ptr error = nullptr;
  };

  void End() {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void Work() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return ends_ || !waiting_.empty(); });
      if (ends_) return;
      const std::shared_ptr<Job> job = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      std::optional<T> value;
      std::exception_ptr error;
      try {
        value = job->make();
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      job->value = std::move(value);
      job->error = error;
      changed_.notify_all();
    }
  }

  std::deque<std::shared_ptr<Job>> queue_;  // of the owner alone
  std::mutex mutex_;                        // of all that follows, and of what jobs became
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Job>> waiting_;  // for a thread
  bool ends_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_PREFETCH_H_
