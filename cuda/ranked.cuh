// Candidates in the order of detections, and their sorting by one block.
#pragma once

#include <cstdint>
#include <type_traits>

#include "fastmrcnn/half.h"

namespace fastmrcnn::cuda {

// A score (no less than zero, no NaN) and the row that it belongs to: sorted by descending score, equal ones by row.
template <class T>
struct alignas(2 * sizeof(T)) Ranked {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

  Bits key;  // ascends where the score descends
  Bits row;  // no padding: that would be copied without having been written

  static __device__ Ranked of(T score, std::uint32_t row) { return {Bits(~half_bits::bit_cast<Bits>(score)), row}; }
  // Behind every candidate.
  static __device__ Ranked last() { return {Bits(~Bits{0}), Bits(~Bits{0})}; }

  __device__ T score() const { return half_bits::bit_cast<T>(Bits(~key)); }
};

template <class T>
__device__ bool operator<(const Ranked<T>& a, const Ranked<T>& b) {
  return a.key < b.key || (a.key == b.key && a.row < b.row);
}

// The least power of two that is not below n: what sorting n candidates needs room for.
__host__ __device__ constexpr std::int64_t sorting_room(std::int64_t n) {
  std::int64_t room = 1;
  while (room < n) room *= 2;
  return room;
}

// Sorts the n candidates by the threads of the block (Batcher's bitonic network: no memory but their own, and every
// step the same for all threads), with the room that `sorting_room` says. Begins and ends with a barrier.
template <class T>
__device__ void sort_by_block(Ranked<T>* ranked, std::uint32_t n) {
  const auto padded = static_cast<std::uint32_t>(sorting_room(n));
  for (std::uint32_t k = n + threadIdx.x; k < padded; k += blockDim.x) ranked[k] = Ranked<T>::last();
  __syncthreads();
  for (std::uint64_t run = 2; run <= padded; run *= 2) {
    for (auto distance = static_cast<std::uint32_t>(run / 2); distance > 0; distance /= 2) {
      for (std::uint32_t pair = threadIdx.x; pair < padded / 2; pair += blockDim.x) {
        const std::uint32_t low = 2 * pair - (pair & (distance - 1)), high = low + distance;
        const Ranked<T> first = ranked[low], second = ranked[high];
        const bool ascending = (low & run) == 0;
        if ((second < first) == ascending) {
          ranked[low] = second;
          ranked[high] = first;
        }
      }
      __syncthreads();
    }
  }
}

}  // namespace fastmrcnn::cuda
