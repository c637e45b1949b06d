#pragma once

#include <algorithm>
#include <cstdint>

#include "tap_tables.h"

namespace fastmrcnn {

// How much of a map one task owns: enough to repay the tables that it makes of every RoI, little enough to stay in a
// core's cache and to give every thread some tasks. Results do not depend on it.
struct TaskSize {
  std::int64_t channels, threads;

  std::int64_t planes(const PooledShape& shape) const {
    return clamped(channels / (kTasksPerThread * threads), kCacheElements / (shape.height * shape.width + 1), 4, 32);
  }
  std::int64_t rows(const PooledShape& shape) const {
    return clamped(shape.height / (kTasksPerThread * threads), kCacheElements / (shape.width * channels + 1), 8, 64);
  }

 private:
  static constexpr std::int64_t kTasksPerThread = 4;
  static constexpr std::int64_t kCacheElements = std::int64_t{1} << 18;

  static std::int64_t clamped(std::int64_t a, std::int64_t b, std::int64_t least, std::int64_t most) {
    return std::clamp(std::min(a, b), least, most);
  }
};

}  // namespace fastmrcnn
