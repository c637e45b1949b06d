// Sorting by the threads of one block. Runs of a warp come from a bitonic network in registers; then two runs at a time
// are merged, where each item finds its place by a binary search in the other run. The work follows the number of
// items, with two barriers a merge: on an H200 some 4 us are predicted for 2,000 items of 8 bytes in shared memory.
#pragma once

#include <cstdint>

#include "warp.cuh"

namespace fastmrcnn::cuda {

__device__ inline unsigned long long exchange(unsigned long long item, int distance) {
  return __shfl_xor_sync(kAllLanes, item, distance);
}

__device__ inline unsigned __int128 exchange(unsigned __int128 item, int distance) {
  const auto high = exchange(static_cast<unsigned long long>(item >> 64), distance);
  return static_cast<unsigned __int128>(high) << 64 | exchange(static_cast<unsigned long long>(item), distance);
}

// Batcher's network over the lanes of a warp.
template <class Item>
__device__ Item sort_by_warp(Item mine) {
  const unsigned lane = threadIdx.x % 32;
  for (unsigned run = 2; run <= 32; run *= 2) {
    for (unsigned distance = run / 2; distance > 0; distance /= 2) {
      const Item other = exchange(mine, static_cast<int>(distance));
      const bool takes_lesser = ((lane & distance) == 0) == ((lane & run) == 0);
      mine = (other < mine) == takes_lesser ? other : mine;
    }
  }
  return mine;
}

// Where the k-th of n items goes when the sorted runs of length `run` are merged two by two. No two items are equal.
template <class Item>
__device__ std::uint32_t merged_place(const Item* items, std::uint32_t n, std::uint32_t run, std::uint32_t k) {
  const Item item = items[k];
  const std::uint32_t sibling = min((k / run ^ 1) * run, n);
  std::uint32_t low = sibling, high = min(sibling + run, n);
  while (low < high) {
    const std::uint32_t middle = (low + high) / 2;
    const bool before = items[middle] < item;
    (before ? low : high) = before ? middle + 1 : middle;
  }
  return k / run / 2 * 2 * run + k % run + (low - sibling);
}

// Sorts n <= kThreads * kEach distinct items of shared memory, by kThreads threads. Begins and ends with a barrier.
template <int kThreads, int kEach, class Item>
__device__ void sort_nearby(Item* items, std::uint32_t n) {
  __syncthreads();
  for (std::uint32_t k = threadIdx.x; k - threadIdx.x % 32 < n; k += kThreads) {  // by whole warps
    const Item sorted = sort_by_warp(k < n ? items[k] : Item(~Item(0)));
    if (k < n) items[k] = sorted;
  }
  __syncthreads();
  for (std::uint32_t run = 32; run < n; run *= 2) {
    Item mine[kEach];
    std::uint32_t places[kEach];
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const std::uint32_t k = j * kThreads + threadIdx.x;
      if (k >= n) break;
      mine[j] = items[k];
      places[j] = merged_place(items, n, run, k);
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      if (j * kThreads + threadIdx.x < n) items[places[j]] = mine[j];
    }
    __syncthreads();
  }
}

// Sorts any number of distinct items of global memory, and returns where they are then: in `items` or in `spare`, which
// has as much room. `nearby`: room for kThreads * kEach items in shared memory. Begins and ends with a barrier.
template <int kThreads, int kEach, class Item>
__device__ Item* sort_anywhere(Item* items, Item* spare, std::uint32_t n, Item* nearby) {
  constexpr std::uint32_t kNearby = kThreads * kEach;
  __syncthreads();
  for (std::uint32_t begin = 0; begin < n; begin += kNearby) {
    const std::uint32_t count = min(n - begin, kNearby);
    for (std::uint32_t k = threadIdx.x; k < count; k += kThreads) nearby[k] = items[begin + k];
    sort_nearby<kThreads, kEach>(nearby, count);
    for (std::uint32_t k = threadIdx.x; k < count; k += kThreads) items[begin + k] = nearby[k];
    __syncthreads();
  }
  for (std::uint32_t run = kNearby; run < n; run *= 2) {
    for (std::uint32_t k = threadIdx.x; k < n; k += kThreads) spare[merged_place(items, n, run, k)] = items[k];
    __syncthreads();
    Item* const merged = spare;
    spare = items;
    items = merged;
  }
  return items;
}

}  // namespace fastmrcnn::cuda
