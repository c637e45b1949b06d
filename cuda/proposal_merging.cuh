// The last kernel of generate_proposals: the best of what NMS kept on all levels of an image, in order.
#pragma once

#include "proposal_selection.cuh"

namespace fastmrcnn::cuda {
namespace {

// Lists the places and keys of what NMS kept of a segment; returns how many they are. Ends with a barrier.
template <class Bits, class T>
__device__ unsigned list_kept(const Candidates<Bits, T>& candidates, std::int64_t segment) {
  __shared__ typename BlockScan::TempStorage scan;
  const std::int64_t first = segment * candidates.room;
  const auto count = static_cast<unsigned>(candidates.counts[segment]);
  unsigned listed = 0;
  for (unsigned begin = 0; begin < count; begin += kSelectThreads) {
    const unsigned place = begin + threadIdx.x;
    const unsigned kept = place < count && candidates.keep[first + place];
    unsigned rank, all;
    BlockScan(scan).ExclusiveSum(kept, rank, all);
    if (kept) {
      candidates.kept_keys[first + listed + rank] = candidates.keys[first + place];
      candidates.kept_places[first + listed + rank] = place;
    }
    listed += all;
    __syncthreads();
  }
  return listed;
}

// How many of the ascending keys are below `key`, or not above it.
template <class Bits>
__device__ unsigned count_before(const Bits* keys, unsigned count, Bits key, bool with_equal) {
  unsigned low = 0, high = count;
  while (low < high) {
    const unsigned middle = (low + high) / 2;
    const bool before = with_equal ? keys[middle] <= key : keys[middle] < key;
    (before ? low : high) = before ? middle + 1 : middle;
  }
  return low;
}

template <class T>
struct Proposals {
  Box<T>* boxes;
  T* scores;
  std::int64_t* counts;
  std::int64_t capacity;
};

template <class Storage, class T = Accumulator<Storage>, class Bits = typename FloatFormat<Storage>::Bits>
__global__ void __launch_bounds__(kSelectThreads, 1)
    merge_levels(int levels, Candidates<Bits, T> candidates, Proposals<T> proposals) {
  __shared__ unsigned counts[kMostLevels];
  const std::int64_t image = blockIdx.x, first_row = image * proposals.capacity;
  unsigned total = 0;
  for (int level = 0; level < levels; ++level) {
    const unsigned count = list_kept(candidates, image * levels + level);
    if (threadIdx.x == 0) counts[level] = count;
    total += count;
  }
  __syncthreads();

  for (int level = 0; level < levels; ++level) {
    const std::int64_t first = (image * levels + level) * candidates.room;
    for (unsigned k = threadIdx.x; k < counts[level]; k += kSelectThreads) {
      const Bits key = candidates.kept_keys[first + k];
      std::int64_t row = k;
      for (int other = 0; other < levels && row < proposals.capacity; ++other) {
        const Bits* keys = candidates.kept_keys + (image * levels + other) * candidates.room;
        if (other != level) row += count_before(keys, counts[other], key, other < level);
      }
      if (row >= proposals.capacity) continue;
      proposals.boxes[first_row + row] = candidates.boxes[first + candidates.kept_places[first + k]];
      proposals.scores[first_row + row] = geometry::sigmoid(value_of_key<Storage>(key));
    }
  }
  const std::int64_t count = geometry::min_of<std::int64_t>(total, proposals.capacity);
  for (std::int64_t row = count + threadIdx.x; row < proposals.capacity; row += kSelectThreads) {
    proposals.boxes[first_row + row] = {};
    proposals.scores[first_row + row] = 0;
  }
  if (threadIdx.x == 0) proposals.counts[image] = count;
}

}  // namespace
}  // namespace fastmrcnn::cuda
