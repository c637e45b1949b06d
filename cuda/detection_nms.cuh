// The second kernel of select_detections: decoding and greedy suppression within each class of each image.
#pragma once

#include "detection_parts.cuh"
#include "fastmrcnn/geometry/box_coding.h"

namespace fastmrcnn::cuda {
namespace {

constexpr int kSuppressingWarps = 8;

using geometry::Deltas;

template <class S, class T = Accumulator<S>>
struct Regions {
  const S* deltas;
  const Box<T>* proposals;
  const std::int64_t* image_sizes;
  bool class_agnostic;
  geometry::BoxCoding<T> coding;

  __device__ Box<T> box(const Sizes& sizes, std::int64_t image, std::int64_t label, std::uint32_t row) const {
    const std::int64_t region = image * sizes.regions + row;
    const S* delta = deltas + 4 * (class_agnostic ? region : region * sizes.columns + label);
    const Deltas<T> values{value_of(delta[0]), value_of(delta[1]), value_of(delta[2]), value_of(delta[3])};
    const Box<T> decoded = geometry::decode(values, proposals[region], coding);
    return geometry::clip(decoded, T(image_sizes[2 * image + 1]), T(image_sizes[2 * image]));
  }
};

template <class T>
struct DetectionRule {
  T nms_iou, min_size;

  __device__ bool large_enough(const Box<T>& box) const {
    return box.x2 - box.x1 >= min_size && box.y2 - box.y1 >= min_size;
  }
  __device__ bool suppresses(const Box<T>& better, const Box<T>& box) const {
    return geometry::iou(better, geometry::area(better), box, geometry::area(box)) > nms_iou;
  }
};

template <class T>
__device__ Box<T> box_of_lane(const Box<T>& box, int lane) {
  return {__shfl_sync(kAllLanes, box.x1, lane), __shfl_sync(kAllLanes, box.y1, lane),
          __shfl_sync(kAllLanes, box.x2, lane), __shfl_sync(kAllLanes, box.y2, lane)};
}

// The class's candidates in any order. Ends with a barrier.
template <class T>
__device__ std::uint32_t collect(const T* scores, std::int64_t regions, Ranked<T>* candidates) {
  __shared__ std::uint32_t count;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  for (std::uint32_t row = threadIdx.x; row < regions; row += blockDim.x) {
    const T score = scores[row];
    if (score >= 0) candidates[atomicAdd(&count, 1)] = Ranked<T>::of(score, row);
  }
  __syncthreads();
  return count;
}

// Which of a tile's boxes, one in each lane of every warp, are kept beside the `kept_count` boxes `kept`: the same in
// every thread. The warps share the tests.
template <class T>
__device__ std::uint32_t keep_of_tile(const Box<T>& box, bool candidate, const DetectionRule<T>& rule,
                                      const Box<T>* kept, std::uint32_t kept_count) {
  __shared__ std::uint32_t rejected[kSuppressingWarps], suppressed_by[kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  bool gone = !candidate;
  for (std::uint32_t k = warp; k < kept_count; k += kSuppressingWarps) gone |= rule.suppresses(kept[k], box);
  const std::uint32_t all_gone = __ballot_sync(kAllLanes, gone);
  if (lane == 0) rejected[warp] = all_gone;
  for (int better = warp; better < kWarp; better += kSuppressingWarps) {
    const Box<T> other = box_of_lane(box, better);
    const std::uint32_t overlapping = __ballot_sync(kAllLanes, lane > better && rule.suppresses(other, box));
    if (lane == 0) suppressed_by[better] = overlapping;
  }
  __syncthreads();
  std::uint32_t keep = kAllLanes;
  for (int k = 0; k < kSuppressingWarps; ++k) keep &= ~rejected[k];
  for (int k = 0; k < kWarp; ++k) {
    if (keep >> k & 1) keep &= ~suppressed_by[k];
  }
  return keep;
}

// A block for each image and class.
template <class S, class T = Accumulator<S>>
__global__ void __launch_bounds__(kSuppressingWarps* kWarp, 2)
    keep_in_class(Regions<S> regions, Sizes sizes, DetectionRule<T> rule, Parts<T> parts) {
  __shared__ Ranked<T> nearby[Parts<T>::kNearby];
  const std::int64_t segment = blockIdx.x, image = segment / sizes.classes(), label = segment % sizes.classes() + 1;
  const std::int64_t capacity = sizes.capacity();
  Ranked<T>* candidates =
      sizes.regions <= Parts<T>::kNearby ? nearby : parts.sorted + segment * sorting_room(sizes.regions);
  const std::uint32_t n = collect(parts.scores + segment * sizes.regions, sizes.regions, candidates);
  sort_by_block(candidates, n);

  Ranked<T>* kept = parts.kept + segment * capacity;
  Box<T>* boxes = parts.boxes + segment * capacity;
  const std::uint32_t lane = threadIdx.x % kWarp;
  std::uint32_t count = 0;
  for (std::uint32_t begin = 0; begin < n && count < capacity; begin += kWarp) {
    const bool present = begin + lane < n;
    const Ranked<T> candidate = present ? candidates[begin + lane] : Ranked<T>::last();
    const Box<T> box = present ? regions.box(sizes, image, label, candidate.row) : Box<T>{};
    const std::uint32_t keep = keep_of_tile(box, present && rule.large_enough(box), rule, boxes, count);
    const std::uint32_t place = count + __popc(keep & ((1u << lane) - 1));
    if (threadIdx.x < kWarp && (keep >> lane & 1) && place < capacity) {
      kept[place] = candidate;
      boxes[place] = box;
    }
    count = geometry::min_of<std::int64_t>(count + __popc(keep), capacity);
    __syncthreads();
  }
  if (threadIdx.x == 0) parts.counts[segment] = count;
}

}  // namespace
}  // namespace fastmrcnn::cuda
