// Stable orders of scores and of groups.
#pragma once

#include <cstdint>

namespace fastmrcnn::cpu {

// What these functions sort: a key in the upper half, an index below 2^32 in the lower.
using Keyed = std::uint64_t;

inline Keyed keyed(std::uint32_t key, std::uint32_t index) {
  return static_cast<Keyed>(key) << 32 | index;
}

inline std::uint32_t index_of(Keyed item) {
  return static_cast<std::uint32_t>(item);
}

// Sorts by key, equal keys in the order in which they stand. `spare` has room for n; the result is in `items`.
void sort_by_key(Keyed* items, Keyed* spare, std::int64_t n);

// Writes the n indices in descending order of score: equal scores by index, both zeros alike, NaN first. n < 2^32.
void descending_order(const float* scores, std::int64_t n, std::uint32_t* order);
void descending_order(const double* scores, std::int64_t n, std::uint32_t* order);

}  // namespace fastmrcnn::cpu
