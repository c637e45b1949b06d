// The third kernel of select_detections: the best of what all classes of an image kept, in order.
#pragma once

#include "detection_parts.cuh"

namespace fastmrcnn::cuda {
namespace {

template <class T>
struct Detections {
  Box<T>* boxes;
  T* scores;
  std::int64_t *labels, *rows, *found;

  __device__ void write(std::int64_t k, const Box<T>& box, T score, std::int64_t label, std::int64_t row) const {
    boxes[k] = box;
    scores[k] = score;
    labels[k] = label;
    rows[k] = row;
  }
};

// How many of the `count` boxes that a class kept come before `candidate`, where `wins_ties` says that the class does.
template <class T>
__device__ std::uint32_t places_before(const Ranked<T>& candidate, const Ranked<T>* kept, std::uint32_t count,
                                       bool wins_ties) {
  std::uint32_t low = 0, high = count;
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    const bool before = wins_ties ? !(candidate < kept[middle]) : kept[middle] < candidate;
    (before ? low : high) = before ? middle + 1 : middle;
  }
  return low;
}

constexpr int kRankingWarps = 8;

// A warp for each place of an image: the k-th of the boxes that its classes may have kept, and the k-th output row,
// which it clears if no detection goes there. The first place is there whatever D is, and writes the count.
template <class T>
__global__ void __launch_bounds__(kRankingWarps* kWarp)
    rank_detections(Sizes sizes, std::int64_t places, Parts<T> parts, Detections<T> output) {
  const std::int64_t index = std::int64_t{blockIdx.x} * kRankingWarps + threadIdx.x / kWarp;
  const std::int64_t image = index / places, place = index % places;
  if (image >= sizes.images) return;
  const std::int64_t classes = sizes.classes(), capacity = sizes.capacity();
  const std::uint32_t lane = threadIdx.x % kWarp;
  const std::uint32_t* counts = parts.counts + image * classes;

  if (place == 0 || place < sizes.detections) {
    std::int64_t total = 0;
    for (std::int64_t k = lane; k < classes; k += kWarp) total += counts[k];
    total = sum_of_warp(total);
    if (lane == 0 && place == 0) output.found[image] = geometry::min_of(total, sizes.detections);
    if (lane == 0 && place >= total && place < sizes.detections) {
      output.write(image * sizes.detections + place, {}, 0, 0, 0);
    }
  }
  if (place >= classes * capacity) return;
  const std::int64_t own = place / capacity, nth = place % capacity;
  if (nth >= counts[own]) return;

  const Ranked<T>* kept = parts.kept + image * classes * capacity;
  const Ranked<T> candidate = kept[place];
  std::int64_t rank = 0;
  for (std::int64_t k = lane; k < classes; k += kWarp) {
    rank += k == own ? nth : places_before(candidate, kept + k * capacity, counts[k], k < own);
  }
  rank = sum_of_warp(rank);
  if (lane != 0 || rank >= sizes.detections) return;
  const Box<T> box = parts.boxes[image * classes * capacity + place];
  output.write(image * sizes.detections + rank, box, candidate.score(), own + 1, candidate.row);
}

}  // namespace
}  // namespace fastmrcnn::cuda
