// The first kernel of select_detections: which classes of which regions are candidates.
#pragma once

#include "detection_parts.cuh"
#include "fastmrcnn/geometry/exponential.h"
#include "fastmrcnn/geometry/softmax.h"

namespace fastmrcnn::cuda {
namespace {

using geometry::kSoftmaxLanes;

constexpr int kScoredRegions = 16;

template <class T>
__device__ T greatest_of_lanes(T value) {
  for (int distance = kSoftmaxLanes / 2; distance > 0; distance /= 2) {
    value = geometry::max_of(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// As geometry::sum_of_lanes: each lane adds what lies at the distance, in every lane the same sum.
template <class T>
__device__ T sum_of_lanes(T value) {
  for (int distance = kSoftmaxLanes / 2; distance > 0; distance /= 2) {
    value = value + __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

// Lanes in x, regions in y.
template <class S, class T = Accumulator<S>>
__global__ void __launch_bounds__(kSoftmaxLanes* kScoredRegions, 2)
    score_regions(const S* __restrict__ logits, const std::int64_t* __restrict__ counts, Sizes sizes, T threshold,
                  T* __restrict__ scores) {
  constexpr int kClasses = 4 * kSoftmaxLanes;  // that are turned at a time
  __shared__ T turned[kClasses][kScoredRegions + 1];
  const std::int64_t blocks = (sizes.regions + kScoredRegions - 1) / kScoredRegions;
  const std::int64_t image = blockIdx.x / blocks, first = blockIdx.x % blocks * kScoredRegions;
  const std::int64_t region = first + threadIdx.y;
  const bool real = region < count_of(counts, image, sizes.regions);
  const std::int64_t columns = real ? sizes.columns : 0;
  const S* row = logits + (image * sizes.regions + region) * sizes.columns;

  T greatest = -T(__builtin_inf()), sum = 0;
  for (std::int64_t k = threadIdx.x; k < columns; k += kSoftmaxLanes) {
    greatest = geometry::max_of(greatest, value_of(row[k]));
  }
  greatest = greatest_of_lanes(greatest);
  for (std::int64_t k = threadIdx.x; k < columns; k += kSoftmaxLanes) {
    sum = sum + geometry::exponential(value_of(row[k]) - greatest);
  }
  sum = sum_of_lanes(sum);

  const int thread = threadIdx.y * kSoftmaxLanes + threadIdx.x;
  const int to_region = thread % kScoredRegions;
  for (std::int64_t begin = 1; begin < sizes.columns; begin += kClasses) {
    for (int k = threadIdx.x; k < kClasses; k += kSoftmaxLanes) {
      T score = -1;
      if (begin + k < columns) score = geometry::exponential(value_of(row[begin + k]) - greatest) / sum;
      turned[k][threadIdx.y] = score > threshold ? score : T(-1);
    }
    __syncthreads();
    for (int k = thread / kScoredRegions; k < kClasses; k += kSoftmaxLanes) {
      if (begin + k >= sizes.columns || first + to_region >= sizes.regions) continue;
      const std::int64_t segment = image * sizes.classes() + begin - 1 + k;
      scores[segment * sizes.regions + first + to_region] = turned[k][to_region];
    }
    __syncthreads();
  }
}

}  // namespace
}  // namespace fastmrcnn::cuda
