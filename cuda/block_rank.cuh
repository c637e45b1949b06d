// Which threads of a block want something, counted in the order of the threads: lists made so are the same in every
// run.
#pragma once

#include "warp.cuh"

namespace fastmrcnn::cuda {

struct Rank {
  int before;  // threads ahead of this one that want it
  int total;   // of the block
};

// Called by all threads of a block of so many warps. Synchronises the block; so must the caller, before it calls again.
template <int warps>
__device__ __forceinline__ Rank rank_in_block(bool wanted) {
  __shared__ int in_warp[warps];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const unsigned lanes = __ballot_sync(kAllLanes, wanted);
  if (lane == 0) in_warp[warp] = __popc(lanes);
  __syncthreads();
  Rank rank{__popc(lanes & ((1u << lane) - 1)), 0};
#pragma unroll
  for (int k = 0; k < warps; ++k) {
    if (k < warp) rank.before += in_warp[k];
    rank.total += in_warp[k];
  }
  return rank;
}

}  // namespace fastmrcnn::cuda
