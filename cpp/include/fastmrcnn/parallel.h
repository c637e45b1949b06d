// Threads for the CPU kernels: torch's own pool where torch is loaded, a small one of ours elsewhere.
#pragma once

#include <cstdint>

#include "fastmrcnn/tensor.h"

namespace fastmrcnn {

using TaskFunction = void (*)(void* closure, std::int64_t task);

// Runs `function(closure, task)` for every task in [0, tasks) on at most `context.num_threads` threads and returns when
// all are done. Tasks are handed out one by one, in order. Of the exceptions that tasks throw, that of the lowest task
// is rethrown here, whatever the number of threads; tasks not yet handed out are dropped.
void run_tasks(const Context& context, std::int64_t tasks, TaskFunction function, void* closure);

template <class Body>
void parallel_for(const Context& context, std::int64_t tasks, const Body& body) {
  run_tasks(
      context, tasks, [](void* closure, std::int64_t task) { (*static_cast<const Body*>(closure))(task); },
      const_cast<Body*>(&body));
}

// `context` without the threads that a region of this much work would not repay: to wake one takes as long as many
// microseconds of work. `nanoseconds` is a rough estimate of the whole region on one thread. For small inputs, whose
// callers would otherwise wait for the system's scheduler.
Context limit_threads(const Context& context, std::int64_t nanoseconds);

// "torch" or "threads": which pool the next parallel region joins.
const char* thread_backend();

}  // namespace fastmrcnn
