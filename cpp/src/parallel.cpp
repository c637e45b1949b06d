// Joins torch's OpenMP pool when torch is loaded: a second pool beside it costs 1.7x when operators alternate, and a
// bundled libgomp can hang a forked child. After a fork, and without torch, a small pool of std::threads serves.
#include "fastmrcnn/parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#include <pthread.h>
#define FASTMRCNN_POSIX 1
#endif

namespace fastmrcnn {
namespace {

// One parallel region: the threads draw task numbers until none is left.
class Region {
 public:
  Region(TaskFunction function, void* closure, std::int64_t tasks)
      : function_(function), closure_(closure), tasks_(tasks) {}

  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

  void work() noexcept {
    for (std::int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) {
      try {
        function_(closure_, task);
      } catch (...) {
        fail(task);
      }
    }
  }

 private:
  // Tasks below this one have all been handed out, so the lowest that fails is always among those seen here.
  void fail(std::int64_t task) {
    next_.store(tasks_, std::memory_order_relaxed);
    std::lock_guard<std::mutex> lock(error_mutex_);
    if (error_ && failed_task_ < task) return;
    failed_task_ = task;
    error_ = std::current_exception();
  }

  TaskFunction function_;
  void* closure_;
  std::int64_t tasks_;
  std::atomic<std::int64_t> next_{0};
  std::mutex error_mutex_;
  std::int64_t failed_task_ = 0;
  std::exception_ptr error_;
};

class ThreadPool {
 public:
  // Runs the region on `threads` threads, the caller being one of them. A caller that finds the pool busy works alone.
  void run(Region& region, int threads) {
    if (busy_.test_and_set(std::memory_order_acquire)) return region.work();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      grow(threads - 1);
      region_ = &region;
      wanted_ = std::min(threads - 1, size());
      running_ = wanted_;
      ++generation_;
    }
    start_.notify_all();
    region.work();
    {
      std::unique_lock<std::mutex> lock(mutex_);
      done_.wait(lock, [this] { return running_ == 0; });
      region_ = nullptr;
    }
    busy_.clear(std::memory_order_release);
  }

 private:
  int size() const { return static_cast<int>(threads_.size()); }

  // Where the system refuses more threads, those there are do the work.
  void grow(int count) noexcept {
    try {
      while (size() < count) {
        threads_.emplace_back([this, id = size()] { loop(id); });
      }
    } catch (const std::exception&) {
    }
  }

  void loop(int id) {
    std::uint64_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      start_.wait(lock, [&] { return generation_ != seen; });
      seen = generation_;
      if (id >= wanted_ || region_ == nullptr) continue;
      Region* region = region_;
      lock.unlock();
      region->work();
      lock.lock();
      if (--running_ == 0) done_.notify_one();
    }
  }

  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  std::vector<std::thread> threads_;
  Region* region_ = nullptr;
  int wanted_ = 0;
  int running_ = 0;
  std::uint64_t generation_ = 0;
};

// Never destroyed: its threads sleep until the process ends. A forked child inherits no threads, so it starts anew.
std::atomic<ThreadPool*> pool{nullptr};
std::atomic<bool> forked{false};

ThreadPool& thread_pool() {
  ThreadPool* found = pool.load();
  if (found == nullptr) {
    auto* made = new ThreadPool;
    if (pool.compare_exchange_strong(found, made)) return *made;
    delete made;
  }
  return *found;
}

using GompParallel = void (*)(void (*)(void*), void*, unsigned, unsigned);

#if FASTMRCNN_POSIX
// libtorch_cpu's own OpenMP entry, or null while torch is not loaded.
GompParallel torch_parallel() {
  static std::atomic<GompParallel> entry{nullptr};
  GompParallel found = entry.load(std::memory_order_acquire);
  if (found != nullptr) return found;
  void* torch = dlopen("libtorch_cpu.so", RTLD_NOLOAD | RTLD_LAZY);
  if (torch == nullptr) return nullptr;
  found = reinterpret_cast<GompParallel>(dlsym(torch, "GOMP_parallel"));
  dlclose(torch);
  entry.store(found, std::memory_order_release);
  return found;
}

const bool registered = [] {
  pthread_atfork(nullptr, nullptr, [] {
    forked.store(true);
    pool.store(nullptr);
  });
  return true;
}();
#else
GompParallel torch_parallel() {
  return nullptr;
}
#endif

GompParallel usable_torch_parallel() {
  return forked.load() ? nullptr : torch_parallel();
}

}  // namespace

void run_tasks(const Context& context, std::int64_t tasks, TaskFunction function, void* closure) {
  if (tasks <= 0) return;
  const int threads = static_cast<int>(std::min<std::int64_t>(std::max(context.num_threads, 1), tasks));
  if (threads == 1) {
    for (std::int64_t task = 0; task < tasks; ++task) function(closure, task);
    return;
  }
  Region region(function, closure, tasks);
  if (GompParallel parallel = usable_torch_parallel()) {
    parallel([](void* data) { static_cast<Region*>(data)->work(); }, &region, static_cast<unsigned>(threads), 0);
  } else {
    thread_pool().run(region, threads);
  }
  region.rethrow();
}

Context limit_threads(const Context& context, std::int64_t nanoseconds) {
  constexpr std::int64_t kWorthAThread = 20'000;  // to wake one took 15 to 60 us where the parallel pools were measured
  Context limited = context;
  limited.num_threads =
      static_cast<int>(std::clamp<std::int64_t>(nanoseconds / kWorthAThread, 1, std::max(context.num_threads, 1)));
  return limited;
}

const char* thread_backend() {
  return usable_torch_parallel() != nullptr ? "torch" : "threads";
}

}  // namespace fastmrcnn
